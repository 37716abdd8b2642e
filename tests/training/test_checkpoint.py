"""Any damage to a step on disk is found; any mesh opens what any other has saved."""

import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from polaris_jax.errors import RunError
from polaris_jax.sharding import make_mesh
from polaris_jax.training.checkpoint import Checkpoints
from polaris_jax.training.fingerprint import fingerprint
from polaris_jax.training.state import TrainState


def state_of(step, devices=8, dtype=jnp.float32):
    """A state whose numbers depend on the step only, spread over so many devices."""
    mesh = make_mesh({"fsdp": devices}, devices=jax.devices()[:devices])
    draws = np.random.default_rng(step)

    def array(*shape, spec=P("fsdp")):
        return jax.device_put(draws.normal(size=shape).astype(dtype), NamedSharding(mesh, spec))

    return TrainState(
        jax.device_put(jnp.int32(step), NamedSharding(mesh, P())),
        {"w": array(16, 24), "scale": array(8, spec=P())},
        {"w": array(16, 24), "scale": array(8)},
    )


def abstract_of(state):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)


def same(a, b):
    return all(np.array_equal(np.asarray(x), np.asarray(y)) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a run with steps 2 and 4."""
    folder = tmp_path_factory.mktemp("runs")
    checkpoints = Checkpoints(folder, asynchronous=False)
    for step in (2, 4):
        checkpoints.save(step, state_of(step), {"step": step}, held_out_loss=1.0 / step)
    checkpoints.close()
    return folder


def files_of(folder, step):
    root = Path(folder) / "checkpoints" / str(step)
    return sorted(str(file.relative_to(root)) for file in root.rglob("*") if file.is_file())


def flip(file):
    content = bytearray(file.read_bytes())
    for place in range(0, len(content), max(1, len(content) // 3)):
        content[place] ^= 0x10
    file.write_bytes(bytes(content))


DAMAGE = {
    "deleted": Path.unlink,
    "cut": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "emptied": lambda file: file.write_bytes(b""),
    "flipped": flip,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_to_any_file_of_the_newest_step_never_yields_other_numbers(saved, tmp_path, damage):
    """Each file in turn: the step is refused and the one before comes back, or what comes back is what was saved."""
    fell_back = 0
    for number, name in enumerate(files_of(saved, 4)):
        folder = tmp_path / str(number)
        shutil.copytree(saved, folder)
        DAMAGE[damage](folder / "checkpoints" / "4" / name)
        said = []
        checkpoints = Checkpoints(folder, asynchronous=False)
        state, data = checkpoints.restore_newest(abstract_of(state_of(0)), said.append)
        checkpoints.close()
        step = int(state.step)
        assert data == {"step": step}, name
        assert same(state, state_of(step)), name
        if step == 2:
            assert len(said) <= 1, name
            assert not any("\n" in line for line in said), name
            fell_back += 1
    assert fell_back >= 2


def test_when_every_step_is_damaged_one_line_says_so_and_nothing_is_deleted(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "run")
    for step in (2, 4):
        for file in (tmp_path / "run" / "checkpoints" / str(step) / "params").rglob("d/*"):
            flip(file)
    checkpoints = Checkpoints(tmp_path / "run", asynchronous=False)
    with pytest.raises(RunError, match=r"no checkpoint of .* can be used") as caught:
        checkpoints.restore_newest(abstract_of(state_of(0)), lambda line: None)
    assert "\n" not in str(caught.value)
    assert checkpoints.steps[0] == 2


def test_a_number_that_changed_without_a_trace_is_found_by_the_fingerprint(saved, tmp_path):
    """Rewritten as a valid array with one bit changed: no checksum of the format can know."""
    import orbax.checkpoint as ocp

    shutil.copytree(saved, tmp_path / "run")
    params = state_of(4).params
    wrong = np.asarray(params["scale"]).copy()
    wrong.view(np.uint32)[3] ^= 1
    place = tmp_path / "run" / "checkpoints" / "4" / "params"
    shutil.rmtree(place)
    with ocp.StandardCheckpointer() as writer:
        writer.save(place.resolve(), params | {"scale": jax.device_put(wrong, params["scale"].sharding)})
    said = []
    checkpoints = Checkpoints(tmp_path / "run", asynchronous=False)
    assert int(checkpoints.restore_newest(abstract_of(state_of(0)), said.append)[0].step) == 2
    assert "its numbers are not those that were saved" in said[0]
    assert checkpoints.steps == [2]


@pytest.mark.parametrize("devices", [8, 4, 2, 1])
def test_a_step_comes_back_on_any_number_of_devices_and_in_another_dtype(saved, devices):
    checkpoints = Checkpoints(saved, read_only=True)
    state, _ = checkpoints.restore(4, abstract_of(state_of(0, devices)))
    assert same(state, state_of(4))
    assert len(state.params["w"].sharding.device_set) == devices
    half = checkpoints.restore(4, abstract_of(state_of(0, devices, jnp.bfloat16)))[0]
    assert same(half.params, jax.tree.map(lambda x: x.astype(jnp.bfloat16), state_of(4).params))


def test_the_step_with_the_smallest_held_out_loss_is_kept_besides_the_newest(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1, asynchronous=False)
    for step, loss in ((1, 5.0), (2, 3.0), (3, 4.0), (4, None), (5, 3.5)):
        checkpoints.save(step, state_of(step), {}, held_out_loss=loss)
    assert (checkpoints.steps, checkpoints.best, checkpoints.latest) == ([2, 5], 2, 5)
    checkpoints.close()
    assert Checkpoints(tmp_path, read_only=True).best == 2


@pytest.mark.parametrize("spec", [P(), P("fsdp"), P(None, "context"), P("context", "fsdp")], ids=str)
def test_the_fingerprint_sees_any_single_bit_and_no_mesh(spec):
    mesh = make_mesh({"fsdp": 2, "context": 4})
    draws = np.random.default_rng(0)
    for dtype in (np.float32, jnp.bfloat16, np.int32, np.int8):
        plain = draws.integers(-100, 100, (8, 16)).astype(dtype)
        want = fingerprint([jnp.asarray(plain)])
        assert fingerprint([jax.device_put(plain, NamedSharding(mesh, spec))]) == want
        for _ in range(20):
            bits = plain.copy().view(np.uint8)
            bits.reshape(-1)[draws.integers(bits.size)] ^= 1 << draws.integers(8)
            assert fingerprint([jax.device_put(bits.view(dtype), NamedSharding(mesh, spec))]) != want
        swapped = plain[::-1].copy()
        assert fingerprint([jnp.asarray(swapped)]) != want

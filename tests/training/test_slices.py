"""Several slices are one run; when one is lost, the others go on with the same batches in more microbatches."""

import shutil
import signal

import jax
import numpy as np
import pytest
from processes import Processes, assert_same_weights, lines

from polaris_jax.data import place
from polaris_jax.errors import InputError
from polaris_jax.sharding import group_by_slice
from polaris_jax.training import train, train_config
from polaris_jax.training.config import StepConfig, replace
from polaris_jax.training.events import read_events
from polaris_jax.training.input_pipeline import open_training_data
from polaris_jax.training.setup import set_up
from polaris_jax.training.slices import fit_to_slices, require_all_slices

EIGHT = {"slices": 2, "data": 2, "fsdp": 2, "context": 2}


@pytest.fixture
def planned(make_config):
    """Two slices of four devices, four rows a step."""
    config = make_config()
    config.mesh.update(EIGHT)
    config.data.batch_size = 4
    return config


def attached(monkeypatch, slices, of=8):
    monkeypatch.setenv("MEGASCALE_NUM_SLICES", str(of))
    devices = jax.devices()[: slices * 8 // of]
    return len(group_by_slice(devices)), len(devices)


@pytest.mark.parametrize(
    ("mesh", "batch", "microbatches", "planned", "left", "wanted"),
    [
        ({"data": 2, "fsdp": 2, "context": 2}, 4, 1, 2, 1, (1, 2, 2)),
        ({"data": -1, "fsdp": 2, "context": 2}, 8, 2, 2, 1, (1, 2, 4)),
        ({"data": 1, "fsdp": 4, "context": 2}, 8, 1, 2, 1, (1, 2, 2)),
        ({"data": 4, "fsdp": 2, "context": 1}, 8, 1, 4, 2, (2, 2, 2)),
        ({"data": 4, "fsdp": 2, "context": 1}, 8, 1, 4, 3, (3, 2, 2)),  # twelve places for eight rows
        ({"data": 2, "fsdp": 4, "context": 1}, 24, 1, 4, 3, (3, 2, 2)),  # which divide 24 rows without padding
        ({"data": 4, "fsdp": 2, "context": 1}, 8, 1, 4, 4, (4, 2, 1)),
    ],
)
def test_the_mesh_shrinks_and_no_device_takes_more_rows_at_a_time(
    make_config, monkeypatch, mesh, batch, microbatches, planned, left, wanted
):
    config = make_config()
    config.mesh.update(mesh | {"slices": planned})
    config.data.batch_size, config.train.microbatches = batch, microbatches
    changed, said = fit_to_slices(train_config(config), *attached(monkeypatch, left, planned))
    assert (changed.mesh.data, changed.mesh.fsdp, changed.train.microbatches) == wanted
    assert changed.mesh.context == mesh["context"]
    assert changed.data == train_config(config).data
    assert (said is None) == (left == planned)
    if said:
        assert f"{left} of {planned} slices" in said


def test_more_slices_than_planned_are_refused(planned, monkeypatch):
    with pytest.raises(InputError, match=r"mesh\.slices=2: 4 slices.*slices=4"):
        fit_to_slices(train_config(planned), *attached(monkeypatch, 4, 4))


def test_post_training_needs_all_its_slices(monkeypatch):
    config, devices = replace(StepConfig(), {"mesh.slices": 2}), jax.devices()
    monkeypatch.setenv("MEGASCALE_NUM_SLICES", "2")
    require_all_slices(config, devices)
    with pytest.raises(InputError, match=r"mesh\.slices=2: 1 are attached.*--config\.mesh\.slices=1"):
        require_all_slices(config, devices[:4])


def test_rows_of_padding_follow_the_last_row(planned, tmp_path):
    config = train_config(planned)
    mesh = set_up(config).mesh
    data = open_training_data(config, mesh)
    whole = data.batch(0)
    placed = place(data, 0, mesh, multiple=12)
    for name, array in placed.items():
        assert array.shape == (12, 2048)
        np.testing.assert_array_equal(array[:4], whole[name])
        assert not np.asarray(array[4:]).any()


@pytest.mark.slow
def test_two_slices_in_one_process_give_the_losses_of_one(planned, monkeypatch, tmp_path):
    """The same eight devices at other places of the mesh, so that only the order of sums differs."""
    planned.train.steps = 2
    runs = {}
    for slices in (1, 2):
        monkeypatch.setenv("MEGASCALE_NUM_SLICES", str(slices))
        planned.mesh.slices = slices
        assert train(planned, tmp_path / str(slices)).finished
        runs[slices] = [line["loss"] for line in lines(tmp_path / str(slices))]
    np.testing.assert_allclose(runs[2], runs[1], rtol=1e-5)


@pytest.mark.slow
def test_a_padded_run_of_three_slices_has_the_losses_of_four(make_config, monkeypatch, tmp_path):
    """Four rows on three devices are two microbatches of three, with two rows of padding."""
    config = make_config()
    config.mesh.update({"data": 4, "fsdp": 1, "context": 1, "slices": 4})
    config.data.batch_size = 4
    config.train.steps = 2
    config.eval.update({"every": 2, "split": "", "rows": 3})
    found = {}
    devices = jax.devices()
    for slices in (4, 3):
        monkeypatch.setenv("MEGASCALE_NUM_SLICES", "8")
        monkeypatch.setattr(jax, "devices", lambda *a, n=slices: devices if a else devices[:n])
        said = []
        assert train(config, tmp_path / str(slices), say=said.append).finished
        assert bool(said) == (slices == 3)
        found[slices] = lines(tmp_path / str(slices))
    for name in ("loss", "tokens", "supervised", "eval/loss", "eval/tokens", "seen_keys"):
        np.testing.assert_allclose(
            *([line[name] for line in found[n] if name in line] for n in (3, 4)), rtol=1e-5, err_msg=name
        )


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_when_a_slice_is_killed_the_other_goes_on_by_itself(planned, tmp_path, victim):
    """It equals an undisturbed run on one slice from the same checkpoint, bit for bit."""
    planned.mesh.fsdp = 1
    planned.train.update({"steps": 6, "checkpoint_every": 2, "keep_checkpoints": 9, "async_checkpoints": False})
    run = tmp_path / "run"
    ran = Processes(planned, run, tmp_path, devices=2, options=("--slices=2", "--restarts=1"))
    ran.signal_at(3, victim, signal.SIGKILL)
    assert ran.wait(900) == 0, ran.said(0)
    said = " ".join(ran.said(0).split())
    assert "1 of 2 slices are attached: going on with data=1 fsdp=1 and 2 microbatches in the place of 1" in said
    found = lines(run)
    assert [line["step"] for line in found] == list(range(1, 7))

    start = [event["step"] for event in read_events(run) if event["event"] == "start"][-1]
    assert start in (2, 4)

    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(run, undisturbed)
    for folder in (undisturbed / "checkpoints").iterdir():
        if int(folder.name) > start:
            shutil.rmtree(folder)
    (tmp_path / "second").mkdir()
    assert Processes(planned, undisturbed, tmp_path / "second", processes=1, devices=2).wait(900) == 0
    assert lines(run) == lines(undisturbed)
    assert_same_weights(run, undisturbed)

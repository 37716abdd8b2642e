"""Muon orthogonalises every matrix of every stack once on any mesh, and equals a plain numpy reference."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tolerances
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from polaris_jax.errors import InputError
from polaris_jax.optim import attention_splits, make_optimizer, muon, orthogonalize
from polaris_jax.optim.muon import newton_schulz_flops
from polaris_jax.optim.resharding import share_out
from polaris_jax.sharding import make_mesh

HEADS, KV = 4, 2
EXACT = tolerances.newton_schulz(inner=80)  # 80 is the longest side of a matrix here
SHAPES = {
    "attention": {"q": (3, 32, 32), "k": (3, 32, 16), "o": (3, 32, 32)},
    "mlp": {"up": (3, 32, 80), "down": (3, 80, 32)},
}
SPREAD = {"attention": {"q": "et", "k": "et", "o": "te"}, "mlp": {"up": "et", "down": "te"}}
MESHES = [
    {"fsdp": 8},
    {"context": 8},
    {"data": 8},
    {"data": 2, "fsdp": 4},
    {"tensor": 2, "data": 4},
    {"fsdp": 2, "context": 2, "tensor": 2},
]


def matrices(seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32),
        SHAPES,
        is_leaf=lambda leaf: isinstance(leaf, tuple),
    )


def shardings(mesh):
    axes = {"e": ("fsdp", "context"), "t": "tensor"}
    return jax.tree.map(lambda entry: NamedSharding(mesh, P(None, *(axes[letter] for letter in entry))), SPREAD)


def numpy_polar(matrix, steps=5):
    x = np.asarray(matrix, np.float64)
    wide = x.T if x.shape[0] > x.shape[1] else x
    wide = wide / np.linalg.norm(wide)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = 3.4445 * wide + (-4.7750 * gram + 2.0315 * gram @ gram) @ wide
    return wide.T if x.shape[0] > x.shape[1] else wide


def numpy_heads(stack, name):
    """The matrices of a stack, one per head."""
    if name == "o":
        return [block for layer in stack for block in np.split(layer, HEADS, axis=0)]
    return [block for layer in stack for block in np.split(layer, HEADS if name == "q" else KV, axis=1)]


def test_singular_values_lie_in_the_published_band_and_directions_are_the_polar_factor():
    """The quintic maps singular values that are not tiny to about [0.7, 1.2] (Jordan 2024), small ones to 0.6."""
    tree = jax.tree.leaves(matrices())
    for stack, moved in zip(tree, jax.tree.leaves(orthogonalize(matrices())), strict=True):
        for before, after in zip(stack, moved, strict=True):
            values = np.linalg.svd(np.asarray(after), compute_uv=False)
            large = np.linalg.svd(np.asarray(before), compute_uv=False) > 0.02 * np.linalg.norm(before)
            assert values.max() < 1.22
            assert np.sort(values)[::-1][: large.sum()].min() > 0.65
            assert tolerances.distance(after, numpy_polar(before)) < EXACT
            u, _, vt = np.linalg.svd(np.asarray(before), full_matrices=False)
            cosine = np.sum((u @ vt) * np.asarray(after)) / np.linalg.norm(u @ vt) / np.linalg.norm(after)
            assert cosine > 0.95


def reference(params, gradients, rate, decay, *, per_head):
    """Muon over the steps of ``gradients`` in float64."""
    value = jax.tree.map(lambda p: np.asarray(p, np.float64), params)
    momentum = jax.tree.map(np.zeros_like, value)

    def leaf(path, p, m, g):
        m[...] = 0.95 * m + np.asarray(g, np.float64)
        ahead, name = np.asarray(g, np.float64) + 0.95 * m, path[-1].key
        if per_head and name in "qko":
            blocks = [0.2 * max(block.shape) ** 0.5 * numpy_polar(block) for block in numpy_heads(ahead, name)]
            parts, axis = len(blocks) // 3, 0 if name == "o" else 1
            moved = np.stack([np.concatenate(blocks[i * parts : (i + 1) * parts], axis) for i in range(3)])
        else:
            moved = np.stack([0.2 * max(p.shape[-2:]) ** 0.5 * numpy_polar(matrix) for matrix in ahead])
        return p - rate * (moved + decay * p)

    for step in gradients:
        value = jax.tree_util.tree_map_with_path(leaf, value, momentum, step)
    return value


@pytest.mark.parametrize("per_head", [False, True])
def test_three_steps_equal_a_plain_numpy_muon_on_every_mesh(per_head):
    """Whole matrices are orthogonalised one by one whichever device owns them; compilers may round each otherwise."""
    splits = attention_splits(HEADS, KV) if per_head else ()
    start, gradients = matrices(1), [matrices(10 + step) for step in range(3)]

    def three(where):
        optimizer = muon(0.1, weight_decay=0.5, shardings=where, splits=splits)
        params = start if where is None else jax.device_put(start, where)

        @jax.jit
        def step(params, state, g):
            updates, state = optimizer.update(g, state, params)
            return optax.apply_updates(params, updates), state

        state = jax.jit(optimizer.init)(params)
        for g in gradients:
            params, state = step(params, state, g if where is None else jax.device_put(g, where))
        return params

    def far(got, want):
        """The largest relative difference between the two movements of a parameter."""
        apart = jax.tree.map(lambda ours, other, p: tolerances.distance(ours - p, other - p), got, want, start)
        return max(jax.tree.leaves(apart))

    alone = three(None)
    assert far(alone, reference(start, gradients, 0.1, 0.5, per_head=per_head)) < EXACT
    for shape in MESHES:
        assert far(jax.tree.map(np.asarray, three(shardings(make_mesh(shape)))), alone) < EXACT, shape


@pytest.mark.parametrize("shape", [{"fsdp": 8}, {"fsdp": 2, "context": 2, "tensor": 2}], ids=str)
def test_no_device_orthogonalises_more_than_its_share_and_each_matrix_travels_once(shape):
    mesh = make_mesh(shape)
    where = shardings(mesh)
    program = (
        jax.jit(lambda t: orthogonalize(t, shardings=where), out_shardings=where)
        .lower(jax.device_put(matrices(), where))
        .compile()
        .as_text()
    )
    # 3 + 3 matrices of 32x32 (rows or columns spread), 6 of 32x80 and 3 of 16x32 for 8 devices: all left over.
    assert len(re.findall(r" dot\(", program)) == 4 * 3 * 5
    assert len(re.findall(r" all-to-all\(", program)) == 2  # in and out
    assert not re.search(r" all-gather\(| all-reduce\(", program)


def test_whole_rounds_are_dealt_evenly_and_only_what_is_left_is_mixed():
    mesh = make_mesh({"fsdp": 2, "data": 4})
    stacks = {"up": jax.random.normal(jax.random.key(1), (9, 16, 24)), "k": jnp.ones((2, 16, 8)).at[0, 3].set(-2.0)}
    where = {"up": NamedSharding(mesh, P(None, "fsdp", None)), "k": NamedSharding(mesh, P(None, "fsdp", None))}
    program = jax.jit(lambda t: orthogonalize(t, shardings=where), out_shardings=where)
    spread = program(jax.device_put(stacks, where))
    for name, stack in stacks.items():
        alone = jax.jit(lambda s: jnp.stack([orthogonalize({"m": x})["m"] for x in s]))(stack)
        assert tolerances.distance(spread[name], alone) < EXACT
    text = program.lower(jax.device_put(stacks, where)).compile().as_text()
    assert len(re.findall(r" all-to-all\(", text)) == 2 * 2  # eight of the nine, and the ninth with the other two


@pytest.mark.parametrize(
    ("heads", "kv", "layers", "widths", "devices", "most"),
    [
        (4096, 1024, 40, (5120, 16384), 64, 1.05),  # 14B; its least is two of the largest: 1.022
        (576, 192, 30, (576, 1536), 64, 1.15),  # 135M; its least is two of the largest: 1.059
        (4096, 1024, 40, (5120, 16384), 256, 1.83),  # fewer large matrices than devices: one of them each is the least
    ],
)
def test_the_busiest_device_has_little_more_than_the_mean(heads, kv, layers, widths, devices, most):
    embed, inner = widths
    groups = [(3 * layers, embed, inner), (2 * layers, min(heads, embed), max(heads, embed)), (2 * layers, kv, embed)]
    flops = [newton_schulz_flops(rows, cols) for _, rows, cols in groups]
    sizes = [rows * cols for _, rows, cols in groups]
    rest = [count % devices for count, _, _ in groups]
    shares = share_out(rest, flops, sizes, devices)
    assert sum(share.devices for share in shares) == devices
    assert [sum(s.devices * s.matrices[g] for s in shares) for g in range(3)] == rest
    even = sum(count // devices * f for (count, _, _), f in zip(groups, flops, strict=True))
    busiest = even + max(sum(m * f for m, f in zip(s.matrices, flops, strict=True)) for s in shares)
    assert busiest * devices < most * sum(count * f for (count, _, _), f in zip(groups, flops, strict=True))
    longest = max(sum(m * size for m, size in zip(s.matrices, sizes, strict=True)) for s in shares)
    assert longest == max(sizes)  # a bundle is no longer than the largest matrix


def test_cheap_matrices_of_many_bytes_do_not_pile_up_on_one_device():
    shares = share_out([63, 63], [6_000_000_000, 40_000_000], [1_000_000, 1_000_000], 64)
    assert max(sum(share.matrices) for share in shares) == 2


def test_experts_are_batch_and_may_lie_on_different_devices():
    experts = jax.random.normal(jax.random.key(0), (2, 4, 16, 24))  # layers, experts, rows, columns
    alone = orthogonalize({"up": experts})["up"]
    assert tolerances.distance(alone[1, 2], numpy_polar(experts[1, 2])) < EXACT
    mesh = make_mesh({"fsdp": 2, "tensor": 4})
    where = {"up": NamedSharding(mesh, P(None, "tensor", "fsdp", None))}
    spread = jax.jit(lambda t: orthogonalize(t, shardings=where))(jax.device_put({"up": experts}, where))["up"]
    assert tolerances.distance(spread, alone) < EXACT


def test_heads_that_would_be_cut_by_the_mesh_are_refused():
    where = shardings(make_mesh({"tensor": 8}))
    with pytest.raises(InputError, match="4 whole blocks"):
        orthogonalize(matrices(), shardings=where, splits=attention_splits(HEADS, HEADS))


def test_vectors_are_refused_and_slow_averages_in_bfloat16_too():
    with pytest.raises(ValueError, match="label it adamw"):
        muon(0.1).init({"scale": jnp.zeros(4)})
    with pytest.raises(InputError, match=r"b2=0\.999.*stands still"):
        make_optimizer({}, lambda step: 0.1, b2=0.999, state_dtype=jnp.bfloat16)

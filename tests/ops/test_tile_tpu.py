"""The TPU kernels, interpreted on the CPU, give what the portable loop and plain attention give."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.pallas.mosaic.interpret import interpret_pallas_call
from jax.experimental.pallas import tpu as pltpu

from polaris_jax.ops import (
    attention,
    ring_attention,
    tile_tpu,
    tile_tpu_backward,
    tile_tpu_backward_transposed,
    tile_tpu_forward,
    tile_tpu_forward_transposed,
    tile_xla,
)
from polaris_jax.ops.attention import SoftmaxState
from polaris_jax.ops.tile_tpu_parts import units_of
from polaris_jax.ops.tile_tpu_table import kernels_of
from polaris_jax.ops.tiles import (
    CAUSAL,
    EDGE,
    FULL,
    MASKED_TILE,
    SKIP,
    TokenMetadata,
    summarise,
    tile_kinds,
)
from polaris_jax.sharding import make_mesh

BLOCK = 128


def side(B, length, documents):
    segments, positions = np.zeros((B, length), np.int32), np.zeros((B, length), np.int32)
    start = 0
    for number, size in enumerate(documents, 1):
        segments[:, start : start + size], positions[:, start : start + size] = number, np.arange(size)
        start += size
    return TokenMetadata(jnp.asarray(positions), jnp.asarray(segments))


def random(*shapes, dtype=jnp.float32):
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes)


# documents per batch row, window, query heads, kv heads, head width, rows of the batch, dtype, tolerance
CASES = {
    "causal, bfloat16": ((384,), None, 2, 1, 128, 1, jnp.bfloat16, 2e-2),
    "window": ((384,), 150, 4, 2, 64, 1, jnp.float32, 2e-5),
    "packed": ((130, 100, 90), None, 3, 1, 128, 2, jnp.float32, 2e-5),
    "narrow window, packed": ((200, 184), 20, 2, 2, 256, 1, jnp.float32, 2e-5),
}


CHIPS = ("TPU v5p", "TPU v6 lite")  # two cores, and the other layout


def hop(by, q, kv, dout, lse, delta, q_ids, kv_ids, state, dq):
    """Forward state and gradients of one hop, in the common layout."""
    after = by.take(by.forward(by.queries(q), kv, q_ids, kv_ids, by.take(state)))
    dq, dkv = by.backward(by.prepare(q, dout, lse, delta), kv, q_ids, kv_ids, by.dq(dq))
    return after, by.dq(dq), by.dkv(dkv)


@pytest.mark.parametrize(
    ("chip", "schedule"),
    [
        ("TPU v5p", tile_tpu.SCHEDULE),
        pytest.param("TPU v6 lite", tile_tpu.SCHEDULE, marks=pytest.mark.slow),
        ("TPU v6 lite", 3),  # a row of tiles at a time
        pytest.param("TPU v5p", 3, marks=pytest.mark.slow),
        pytest.param("TPU v5 lite", 3, marks=pytest.mark.slow),
        pytest.param("TPU v5 lite", tile_tpu.SCHEDULE, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("name", CASES)
def test_one_hop_equals_the_portable_loop(name, chip, schedule, monkeypatch):
    monkeypatch.setattr(tile_tpu, "SCHEDULE", schedule)
    documents, window, H, G, D, B, dtype, tolerance = CASES[name]
    S = 384
    rows, wide = (B, H, S), (B, H, S, D)
    q, kv, dout, lse, delta, dq = random(wide, (2, B, G, S, D), wide, rows, rows, wide)
    q, kv, dout = (x.astype(dtype) for x in (q, kv, dout))
    state = SoftmaxState(*random(rows, rows, wide))
    state = state._replace(
        denominator=jnp.abs(state.denominator)
    )  # what an earlier hop left: it must be merged, not replaced
    ids = side(B, S, documents)
    if B > 1:  # the rows of a batch have schedules of different lengths
        ids = TokenMetadata(*(x.at[1].set(side(1, S, (384,))[i][0]) for i, x in enumerate(ids)))

    def run(by):
        return jax.jit(lambda: hop(by, q, kv, dout, lse + 8.0, delta, ids, ids, state, dq))()

    want = run(tile_xla.XlaHops(D**-0.5, window, BLOCK))
    have = run(tile_tpu.TpuHops(D**-0.5, window, BLOCK, chip, blocks=(BLOCK, BLOCK), interpret=True))
    names = ("running_max", "denominator", "out", "dq", "dkv")
    for part, a, b in zip(names, jax.tree.leaves(want), jax.tree.leaves(have), strict=True):
        assert b.dtype == jnp.float32
        # Scaled queries are rounded once more: that much of the largest number, not of each.
        atol = tolerance * max(1.0, float(jnp.abs(a).max())) if dtype == jnp.bfloat16 else tolerance
        np.testing.assert_allclose(b, a, atol=atol, rtol=tolerance, err_msg=part)


@pytest.mark.parametrize("chip", CHIPS)
def test_every_kind_of_tile_and_tiles_of_several_units(chip, monkeypatch):
    """Under a window whose two edges cross tiles, in loops over smaller units than a chip takes."""
    small = {"keys": 128, "queries": 128, "steps": 2}
    for module in (tile_tpu_forward_transposed, tile_tpu_backward_transposed):
        monkeypatch.setattr(module, "cut", lambda *blocks: units_of(*blocks, **small))
    for module in (tile_tpu_forward, tile_tpu_backward):
        monkeypatch.setattr(module, "STEP", 128)
    jax.clear_caches()  # kernels are traced once per shape, and units are not part of it
    S, D, window = 1024, 64, 600
    rows, wide = (1, 1, S), (1, 1, S, D)
    q, kv, dout, lse, delta, dq = random(wide, (2, 1, 1, S, D), wide, rows, rows, wide)
    state = SoftmaxState(*random(rows, rows, wide))
    state = state._replace(denominator=jnp.abs(state.denominator))
    ids = side(1, S, (1020,))
    kinds = {int(kind) for kind in np.unique(tile_kinds(summarise(ids, 256), summarise(ids, 256), window))}
    assert kinds == {SKIP, FULL, CAUSAL, EDGE, MASKED_TILE}

    def run(by):
        return jax.jit(lambda: hop(by, q, kv, dout, lse + 8.0, delta, ids, ids, state, dq))()

    want = run(tile_xla.XlaHops(D**-0.5, window, 256))
    have = run(tile_tpu.TpuHops(D**-0.5, window, 256, chip, blocks=(256, 256), interpret=True))
    jax.clear_caches()
    for a, b in zip(jax.tree.leaves(want), jax.tree.leaves(have), strict=True):
        np.testing.assert_allclose(b, a, atol=3e-5, rtol=3e-5)


@pytest.mark.parametrize(
    ("chip", "which", "width", "window", "found"),
    [
        ("TPU v6 lite", "forward", 256, 1024, (1024, 1024)),  # swept: benchmarks/window_blocks.py
        ("TPU v6 lite", "forward", 256, 1023, (512, 512)),
        ("TPU v6 lite", "backward", 128, 1536, (512, 512)),
        ("TPU v6 lite", "backward", 128, 2048, (1024, 1024)),
        ("TPU v6 lite", "backward", 128, 4096, (1024, 1024)),
        ("TPU v6 lite", "backward", 256, 8192, (1024, 1024)),
        ("TPU v6 lite", "backward", 128, 16_384, (2048, 2048)),
        ("TPU v5p", "forward", 128, 1024, (512, 512)),
        ("TPU v5p", "forward", 128, 4096, (1024, 1024)),
        ("TPU v5p", "forward", 128, 16_384, (2048, 1024)),
        ("TPU v5p", "backward", 128, 2048, (512, 512)),
        ("TPU v5p", "backward", 128, 4096, (512, 512)),
        ("TPU v5p", "backward", 128, 8192, (1024, 1024)),
    ],
)
def test_blocks_under_a_window(chip, which, width, window, found):
    assert kernels_of(chip).blocks(which, width, window) == found


@pytest.mark.slow
def test_the_forward_in_blocks_as_long_as_the_window():
    """In the table's own blocks: two tiles to a query block, an edge and the diagonal, packed documents and padding."""
    S, D, window = 2048, 256, 1024
    rows, wide = (1, 1, S), (1, 1, S, D)
    q, kv = random(wide, (2, 1, 1, S, D))
    state = SoftmaxState(*random(rows, rows, wide))
    state = state._replace(denominator=jnp.abs(state.denominator))
    ids = side(1, S, (1500, 500))
    by = tile_tpu.TpuHops(D**-0.5, window, 128, "TPU v6 lite", interpret=True)
    assert (by.plan("forward", D, S, S)["q_block"], by.plan("forward", D, S, S)["kv_block"]) == (1024, 1024)
    want = tile_xla.XlaHops(D**-0.5, window, 256)

    def run(by):
        return jax.jit(lambda: by.take(by.forward(by.queries(q), kv, ids, ids, by.take(state))))()

    for a, b in zip(run(want), run(by), strict=True):
        np.testing.assert_allclose(b, a, atol=3e-5, rtol=3e-5)


@pytest.mark.parametrize(
    ("length", "block", "wanted", "found"),
    [
        (8192, 1024, 2048, 2048),
        (3072, 1024, 2048, 1024),
        (4224, 1408, 1024, 128),
        (896, 896, 512, 128),
        (256, 256, 2048, 256),
    ],
)
def test_blocks_divide_the_row_and_are_at_most_what_is_wanted(length, block, wanted, found):
    assert tile_tpu.fit_block(length, block, wanted) == found
    assert length % found == 0
    assert found % 128 == 0


@pytest.mark.parametrize("chip", CHIPS)
def test_keys_nobody_sees_change_nothing(chip):
    q, kv, dq = random((1, 2, 256, 128), (2, 1, 1, 256, 128), (1, 2, 256, 128))
    state = SoftmaxState(*random((1, 2, 256), (1, 2, 256), (1, 2, 256, 128)))
    earlier = side(1, 256, (256,))
    later = TokenMetadata(earlier.positions + 256, jnp.ones((1, 256), jnp.int32))
    by = tile_tpu.TpuHops(1.0, None, BLOCK, chip, blocks=(BLOCK, BLOCK), interpret=True)
    rows = state.running_max
    new, same, dkv = jax.jit(lambda: hop(by, q, kv, q, rows, rows, earlier, later, state, dq))()
    for before, after in zip(state, new, strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-6)
    np.testing.assert_array_equal(same, dq)
    assert not np.any(dkv)


@pytest.mark.parametrize(
    ("S", "heads", "block", "chip"),
    [  # a block returns at once, after one step, after two, after more
        (256, 1, 256, "TPU v5 lite"),
        (384, 1, 128, "TPU v6 lite"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [(384, 1, 128, "TPU v5 lite"), (256, 2, 128, "TPU v6 lite"), (512, 3, 256, "TPU v5 lite")]
        ),
    ],
)
def test_the_query_gradient_never_races(S, heads, block, chip):
    """Its blocks are fetched and written by hand; the TPU interpreter delays transfers and reports conflicts."""
    q, kv, dout, lse, delta, dq = random(
        (1, heads, S, 128), (2, 1, 1, S, 128), (1, heads, S, 128), (1, heads, S), (1, heads, S), (1, heads, S, 128)
    )
    ids, state = side(1, S, (S,)), SoftmaxState(lse, jnp.abs(delta), dq)

    def run(by):
        return jax.jit(lambda: hop(by, q, kv, dout, lse + 8.0, delta, ids, ids, state, dq))()[1:]

    want = run(tile_xla.XlaHops(128**-0.5, None, 128))
    checked = pltpu.InterpretParams(detect_races=True, dma_execution_mode="on_wait")
    have = run(tile_tpu.TpuHops(128**-0.5, None, 128, chip, blocks=(block, 128), interpret=checked))
    jax.block_until_ready(have)
    assert not interpret_pallas_call.races.races_found
    for a, b in zip(want, have, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("shards", "length", "documents", "window", "chip"),
    [
        (2, 512, (300, 150), None, "TPU v5p"),
        (2, 512, (300, 150), None, "TPU v6 lite"),
        *(pytest.param(4, 1040, (1040,), 200, chip, marks=pytest.mark.slow) for chip in ("TPU v5p", "TPU v6 lite")),
    ],
)
def test_ring_of_kernels_equals_attention(shards, length, documents, window, chip):
    q, k, v, cotangent = random((1, length, 4, 64), (1, length, 2, 64), (1, length, 2, 64), (1, length, 4, 64))
    ids = side(1, length, documents)
    chunk = length // (2 * shards)
    chunks = [c for i in range(shards) for c in (i, 2 * shards - 1 - i)]
    order = np.concatenate([np.arange(c * chunk, (c + 1) * chunk) for c in chunks])
    mesh = make_mesh({"context": shards}, devices=jax.devices()[:shards])

    def run(fn, ids, q, k, v, cotangent, **options):
        out, pull = jax.vjp(
            lambda q, k, v: fn(
                q,
                k,
                v,
                q_positions=ids.positions,
                kv_positions=ids.positions,
                q_segments=ids.segments,
                kv_segments=ids.segments,
                window=window,
                **options,
            ),
            q,
            k,
            v,
        )
        return (out, *pull(cotangent))

    kernels = functools.partial(ring_attention, mesh=mesh, block=128, implementation="pallas_interpret", chip=chip)
    want = jax.jit(lambda *a: run(attention, *a))(ids, q, k, v, cotangent)
    have = jax.jit(lambda *a: run(kernels, *a))(
        TokenMetadata(*(x[:, order] for x in ids)), *(x[:, order] for x in (q, k, v, cotangent))
    )
    for name, a, b in zip(("out", "dq", "dk", "dv"), want, have, strict=True):
        np.testing.assert_allclose(b, a[:, order], atol=3e-5, err_msg=name)

"""The TPU kernels, interpreted on the CPU, give what the portable loop and plain attention give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.pallas.mosaic.interpret import interpret_pallas_call
from jax.experimental.pallas import tpu as pltpu

from polaris_jax.ops import attention, ring_attention, tile_tpu, tile_xla
from polaris_jax.ops.tile_state import State
from polaris_jax.ops.tiles import Side
from polaris_jax.sharding import make_mesh

BLOCK = 128


def side(B, length, documents):
    segments, positions = np.zeros((B, length), np.int32), np.zeros((B, length), np.int32)
    start = 0
    for number, size in enumerate(documents, 1):
        segments[:, start:start + size], positions[:, start:start + size] = number, np.arange(size)
        start += size
    return Side(jnp.asarray(positions), jnp.asarray(segments))


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


@pytest.mark.parametrize("schedule", [tile_tpu.SCHEDULE, 3], ids=["whole", "in parts"])
@pytest.mark.parametrize("name", CASES)
def test_one_hop_equals_the_portable_loop(name, schedule, monkeypatch):
    monkeypatch.setattr(tile_tpu, "SCHEDULE", schedule)  # of three: a row of tiles at a time
    documents, window, H, G, D, B, dtype, tolerance = CASES[name]
    S = 384
    rows, wide = (B, H, S), (B, H, S, D)
    q, kv, dout, lse, delta, dq = random(wide, (2, B, G, S, D), wide, rows, rows, wide)
    q, kv, dout = (x.astype(dtype) for x in (q, kv, dout))
    state = State(*random(rows, rows, wide))
    state = state._replace(total=jnp.abs(state.total))  # what an earlier hop left: it must be merged, not replaced
    ids = side(B, S, documents)
    if B > 1:  # the rows of a batch have schedules of different lengths
        ids = Side(*(x.at[1].set(side(1, S, (384,))[i][0]) for i, x in enumerate(ids)))
    options = {"scale": D**-0.5, "window": window, "q_block": BLOCK, "kv_block": BLOCK}
    lse = lse + 8.0

    def both(executor, **more):
        return jax.jit(lambda *a: (executor.forward(q, kv, ids, ids, state, **options, **more),
                                   executor.backward(q, kv, dout, lse, delta, ids, ids, dq, **options, **more)))()

    want, have = both(tile_xla), both(tile_tpu, interpret=True)
    names = ("top", "total", "out", "dq", "dkv")
    for part, a, b in zip(names, jax.tree.leaves(want), jax.tree.leaves(have), strict=True):
        assert b.dtype == jnp.float32
        np.testing.assert_allclose(b, a, atol=tolerance, rtol=tolerance, err_msg=part)


def test_keys_nobody_sees_change_nothing():
    q, kv, dq = random((1, 2, 256, 128), (2, 1, 1, 256, 128), (1, 2, 256, 128))
    state = State(*random((1, 2, 256), (1, 2, 256), (1, 2, 256, 128)))
    later = Side(side(1, 256, (256,)).positions + 256, jnp.ones((1, 256), jnp.int32))
    options = {"scale": 1.0, "window": None, "q_block": BLOCK, "kv_block": BLOCK, "interpret": True}
    new = jax.jit(lambda: tile_tpu.forward(q, kv, side(1, 256, (256,)), later, state, **options))()
    for before, after in zip(state, new, strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-6)
    same, dkv = jax.jit(lambda: tile_tpu.backward(q, kv, q, state.top, state.top, side(1, 256, (256,)), later, dq,
                                                  **options))()
    np.testing.assert_array_equal(same, dq)
    assert not np.any(dkv)


@pytest.mark.parametrize(("S", "heads", "blocks"), [  # a block returns at once, after one step, after two, after more
    (256, 1, (256, 128)), (384, 1, (128, 128)),
    *(pytest.param(*case, marks=pytest.mark.slow) for case in [(256, 2, (256, 128)), (512, 1, (128, 256))]),
])
def test_the_query_gradient_never_races(S, heads, blocks):
    """Its blocks are fetched and written by hand; the TPU interpreter delays transfers and tells of conflicts."""
    q, kv, dout, lse, delta, dq = random((1, heads, S, 128), (2, 1, 1, S, 128), (1, heads, S, 128), (1, heads, S),
                                         (1, heads, S), (1, heads, S, 128))
    options = {"scale": 128**-0.5, "window": None, "q_block": blocks[0], "kv_block": blocks[1]}
    ids = side(1, S, (S,))
    want = jax.jit(lambda: tile_xla.backward(q, kv, dout, lse + 8.0, delta, ids, ids, dq, **options))()
    have = jax.jit(lambda: tile_tpu.backward(
        q, kv, dout, lse + 8.0, delta, ids, ids, dq, **options,
        interpret=pltpu.InterpretParams(detect_races=True, dma_execution_mode="on_wait")))()
    jax.block_until_ready(have)
    assert not interpret_pallas_call.races.races_found
    for a, b in zip(want, have, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("shards", "length", "documents", "window"), [
    (2, 512, (300, 150), None), pytest.param(4, 1040, (1040,), 200, marks=pytest.mark.slow),
])
def test_ring_of_kernels_equals_attention(shards, length, documents, window):
    q, k, v, cotangent = random((1, length, 4, 64), (1, length, 2, 64), (1, length, 2, 64), (1, length, 4, 64))
    ids = side(1, length, documents)
    chunk = length // (2 * shards)
    chunks = [c for i in range(shards) for c in (i, 2 * shards - 1 - i)]
    order = np.concatenate([np.arange(c * chunk, (c + 1) * chunk) for c in chunks])
    mesh = make_mesh({"context": shards}, devices=jax.devices()[:shards])

    def run(fn, ids, q, k, v, cotangent, **options):
        out, pull = jax.vjp(lambda q, k, v: fn(
            q, k, v, q_positions=ids.positions, kv_positions=ids.positions, q_segments=ids.segments,
            kv_segments=ids.segments, window=window, **options), q, k, v)
        return (out, *pull(cotangent))

    want = jax.jit(lambda *a: run(attention, *a))(ids, q, k, v, cotangent)
    have = jax.jit(lambda *a: run(ring_attention, *a, mesh=mesh, block=128, implementation="pallas_interpret"))(
        Side(*(x[:, order] for x in ids)), *(x[:, order] for x in (q, k, v, cotangent)))
    for name, a, b in zip(("out", "dq", "dk", "dv"), want, have, strict=True):
        np.testing.assert_allclose(b, a[:, order], atol=3e-5, err_msg=name)

"""The TPU kernels, interpreted with a race detector: no two accesses of a buffer are unordered, on one core or two."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.pallas.mosaic.interpret import interpret_pallas_call
from jax.experimental.pallas import tpu as pltpu

from polaris_jax.ops import tile_tpu, tile_xla
from polaris_jax.ops.attention import SoftmaxState
from polaris_jax.ops.tile_tpu_table import kernels_of
from polaris_jax.ops.tiles import TokenMetadata

pytestmark = pytest.mark.slow  # every access of a buffer is compared with those before it


def packed(rows, length):
    """Token metadata of rows of documents with these lengths."""
    positions, segments = np.zeros((len(rows), length), np.int32), np.zeros((len(rows), length), np.int32)
    for row, documents in enumerate(rows):
        start = 0
        for number, size in enumerate(documents, 1):
            positions[row, start : start + size], segments[row, start : start + size] = np.arange(size), number
            start += size
    return TokenMetadata(jnp.asarray(positions), jnp.asarray(segments))


@pytest.mark.parametrize(
    ("documents", "kv_heads", "repeats", "window", "schedule", "chip", "transfers"),
    [
        (((300, 100), (512,)), 2, 2, None, tile_tpu.SCHEDULE, "TPU v5p", "on_wait"),
        (((300, 100), (512,)), 2, 2, None, tile_tpu.SCHEDULE, "TPU v6 lite", "on_wait"),
        (((200,), (60, 300, 90)), 1, 3, 90, 3, "TPU v5 lite", "on_wait"),
        (((200,), (60, 300, 90)), 1, 3, 90, 3, "TPU v6 lite", "on_wait"),
        (((384,),), 1, 1, 40, 6, "TPU v5p", "eager"),
        (((512,),), 1, 3, None, tile_tpu.SCHEDULE, "TPU v5p", "on_wait"),
    ],
    ids=["packed", "packed, transposed", "in parts", "in parts, transposed", "one head, window, eager", "one key head"],
)
def test_no_race_and_the_numbers_of_the_portable_loop(
    documents, kv_heads, repeats, window, schedule, chip, transfers, monkeypatch
):
    monkeypatch.setattr(tile_tpu, "SCHEDULE", schedule)
    B, H, S, D = len(documents), kv_heads * repeats, -(-max(map(sum, documents)) // 128) * 128, 64
    rng = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    q, kv, dout, dq = normal(B, H, S, D), normal(2, B, kv_heads, S, D), normal(B, H, S, D), normal(B, H, S, D)
    lse, delta = normal(B, H, S) + 8, normal(B, H, S)
    state, ids = SoftmaxState(normal(B, H, S), jnp.abs(normal(B, H, S)), normal(B, H, S, D)), packed(documents, S)
    checked = pltpu.InterpretParams(
        detect_races=True,
        dma_execution_mode=transfers,
        num_cores_or_threads=kernels_of(chip).cores,
        uninitialized_memory="nan",
    )
    races = []

    def both(by, watched=False):
        def forward():
            return by.take(by.forward(by.queries(q), kv, ids, ids, by.take(state)))

        def backward():
            prepared = by.prepare(q, dout, lse, delta)
            dq_after, dkv = by.backward(prepared, kv, ids, ids, by.dq(dq))
            return by.dq(dq_after), by.dkv(dkv)

        found = []
        for call in (forward, backward):
            found += jax.tree.leaves(jax.block_until_ready(jax.jit(call)()))
            if watched:
                races.append(interpret_pallas_call.races.races_found)
        return found

    want = both(tile_xla.XlaHops(D**-0.5, window, 128))
    have = both(tile_tpu.TpuHops(D**-0.5, window, 128, chip, blocks=(128, 128), interpret=checked), watched=True)
    for a, b in zip(want, have, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=2e-5 * float(jnp.abs(a).max()))
    assert races == [False, False]

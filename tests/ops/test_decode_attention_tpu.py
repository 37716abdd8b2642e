"""The kernels of decoding, interpreted, give plain attention's numbers and write exactly its slots."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tolerances
from jax._src.pallas.mosaic.interpret import interpret_pallas_call
from jax.experimental.pallas import tpu as pltpu
from slow_cases import others_slow

from polaris_jax.errors import InputError
from polaris_jax.ops.cached_attention import (
    BLOCK,
    BlockShard,
    WriteIndex,
    attention_over,
    cached_attention_reference,
    write_and_attend,
)
from polaris_jax.ops.decode_attention_tpu import decode_attention, fits, read_block
from polaris_jax.sharding import make_mesh

LAYERS, ROWS, G, R, D = 2, 5, 2, 3, 128
OVER = 17 * BLOCK  # a prime number of blocks: no larger read block divides it


def case(capacity, dtype=jnp.float32, rows=ROWS):
    draw = np.random.default_rng(0)
    normal = lambda *shape: jnp.asarray(draw.normal(size=shape), dtype)  # noqa: E731
    cache = {name: normal(LAYERS, rows, G, capacity, D) for name in ("k", "v")}
    return normal(rows, 1, G * R, D), normal(rows, 1, G, D), normal(rows, 1, G, D), cache


def within(dtype):
    """Products of float32 sums; bfloat16 rounds the weights of the values once, to 8 bits."""
    return tolerances.sums(OVER, in_a_row=3) * 16 if dtype == jnp.float32 else 2.0**-7


@pytest.mark.parametrize(
    ("capacity", "window", "dtype"),
    others_slow(
        product([64, BLOCK, 5 * BLOCK, OVER], [None, 1, 700], [jnp.float32, jnp.bfloat16]),
        lambda capacity, window, dtype: (dtype == jnp.float32) == (capacity > BLOCK),
    ),
)
def test_one_token_of_every_row(capacity, window, dtype):
    """At the edges of stretches, blocks and the capacity; a row of nothing but its token; a row that reads none."""
    q, k, v, cache = case(capacity, dtype)
    start = jnp.asarray([0, 15, min(capacity, BLOCK) - 1, capacity - 1, capacity // 2])
    index = WriteIndex(1, start, jnp.asarray([1, 1, 1, 1, 0]))
    assert fits(q, cache, index)
    attend = attention_over(None, ROWS, G, "pallas_interpret")
    got, kept = jax.jit(attend, static_argnames="window")(q, k, v, cache, index, window=window)
    want, wanted = cached_attention_reference(q, k, v, cache, index, window=window)
    for name in cache:
        np.testing.assert_array_equal(kept[name], wanted[name])
    np.testing.assert_allclose(got[:4].astype(jnp.float32), want[:4].astype(jnp.float32), rtol=0, atol=within(dtype))


@pytest.mark.parametrize("shards", [2, 3])
def test_a_shard_has_the_state_and_the_slots_of_the_portable_one(shards):
    q, k, v, cache = case(2 * BLOCK)
    start = jnp.asarray([0, BLOCK - 1, BLOCK, 2 * BLOCK + 5, 2 * shards * BLOCK - 1])
    index = WriteIndex(0, start, jnp.ones(ROWS, jnp.int32))
    for window in (None, 900):
        for offset in range(shards):
            where = BlockShard(offset, shards)
            got, kept = decode_attention(q, k, v, cache, index, window, where, interpret=True)
            want, wanted = write_and_attend(q, k, v, cache, index, window, where)
            for name in cache:
                np.testing.assert_array_equal(kept[name], wanted[name])
            for mine, theirs in zip(got, want, strict=True):
                np.testing.assert_allclose(mine, theirs, rtol=within(jnp.float32), atol=within(jnp.float32) * BLOCK)


def test_over_a_mesh():
    mesh = make_mesh({"data": 2, "context": 2, "tensor": 2})
    q, k, v, cache = case(4 * BLOCK, rows=4)
    blocks = np.arange(4).reshape(-1, 2).T.reshape(-1)
    slots = (blocks[:, None] * BLOCK + np.arange(BLOCK)).reshape(-1)
    sharded = {name: x[:, :, :, slots] for name, x in cache.items()}
    index = WriteIndex(1, jnp.asarray([3, 1500, 511, 1023]), jnp.ones(4, jnp.int32))
    got, kept = jax.jit(attention_over(mesh, 4, G, "pallas_interpret"))(q, k, v, sharded, index)
    want, wanted = cached_attention_reference(q, k, v, cache, index)
    for name in cache:
        np.testing.assert_array_equal(kept[name], wanted[name][:, :, :, slots])
    np.testing.assert_allclose(got, want, rtol=0, atol=within(jnp.float32))


def test_what_lies_behind_the_end_of_the_cache_is_not_read():
    """A block that extends beyond the end holds arbitrary numbers there; the interpreter makes them NaN."""
    q, k, v, cache = case(OVER)
    assert OVER % read_block(OVER, 8 * D)
    index = WriteIndex(0, jnp.full(ROWS, OVER - 200), jnp.ones(ROWS, jnp.int32))
    got, _ = attention_over(None, ROWS, G, "pallas_interpret")(q, k, v, cache, index)
    assert np.isfinite(got).all()


@pytest.mark.parametrize(
    ("capacity", "count"), [(BLOCK, 1), (5 * BLOCK, 5), (16 * BLOCK, 8), (17 * BLOCK, 6), (512 * BLOCK, 8)]
)
def test_blocks_hang_over_the_end_by_little(capacity, count):
    assert read_block(capacity, 1024) == count * BLOCK


def test_other_calls_are_left_to_xla():
    q, _, _, cache = case(BLOCK)
    every = jnp.ones(ROWS, jnp.int32)
    assert not fits(jnp.concatenate([q, q], axis=1), cache, WriteIndex(0, every, every))
    assert not fits(q[:1], cache, WriteIndex(0, every[:1], every[:1], every[:1]))
    assert not fits(q.astype(jnp.bfloat16), cache, WriteIndex(0, every, every))
    assert not fits(q[..., :64], {name: x[..., :64] for name, x in cache.items()}, WriteIndex(0, every, every))
    with pytest.raises(InputError, match="implementation"):
        attention_over(None, ROWS, G, "cuda")


@pytest.mark.slow  # every access of a buffer is compared with those before it
def test_no_race_on_two_cores():
    q, k, v, cache = case(9 * BLOCK)
    index = WriteIndex(1, jnp.asarray([0, 15, BLOCK, 9 * BLOCK - 1, 2000]), jnp.ones(ROWS, jnp.int32))
    checked = pltpu.InterpretParams(detect_races=True, num_cores_or_threads=2, uninitialized_memory="nan")
    state, kept = jax.jit(lambda *given: decode_attention(*given, interpret=checked))(q, k, v, cache, index)
    jax.block_until_ready((state, kept))
    assert not interpret_pallas_call.races.races_found
    want, wanted = write_and_attend(q, k, v, cache, index)
    for name in cache:
        np.testing.assert_array_equal(kept[name], wanted[name])
    for mine, theirs in zip(state, want, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=within(jnp.float32), atol=within(jnp.float32) * BLOCK)

"""Attention over a cache equals the plain one over all slots, in blocks, in int8 and on every mesh."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tolerances
from slow_cases import others_slow

from polaris_jax.ops.cached_attention import (
    BLOCK,
    BlockShard,
    WriteIndex,
    attention_over,
    cached_attention,
    cached_attention_reference,
    quantise,
    store,
    store_reference,
)
from polaris_jax.sharding import make_mesh

N, B, G, H, D = 2, 4, 2, 4, 8


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def cache_of(length, dtype=jnp.float32, rows=B, seed=0):
    """A cache with numbers in every slot, as texts leave it that have been shortened since."""
    k, v = (3 * normal(seed + i, N, rows, G, length, D) for i in range(2))
    if dtype != jnp.int8:
        return {"k": k.astype(dtype), "v": v.astype(dtype)}
    (k, k_scale), (v, v_scale) = quantise(k), quantise(v)
    return {"k": k, "v": v, "k_scale": k_scale, "v_scale": v_scale}


def new_tokens(n, T):
    return normal(7, n, T, H, D), normal(8, n, T, G, D), normal(9, n, T, G, D)


@pytest.mark.parametrize(
    ("T", "shards", "dtype"),
    others_slow(
        product([1, 8, 100, 700], [1, 2, 3], [jnp.float32, jnp.int8]),
        lambda T, shards, dtype: dtype == jnp.float32 or (T, shards) in ((1, 2), (100, 3)),
    ),
)
def test_new_tokens_are_stored_as_slot_by_slot(T, shards, dtype):
    """At every edge: of blocks, of the capacity, of the padding, for one text or all, on every shard."""
    length = 2 * BLOCK
    cache = cache_of(length, dtype)
    capacity = shards * length
    _, k, v = new_tokens(B, T)
    both = jax.jit(
        lambda index, start, valid: [
            function(cache, WriteIndex(1, start, valid), k, v, BlockShard(index, shards))
            for function in (store, store_reference)
        ]
    )
    one = jax.jit(
        lambda index, start, valid, row: [
            function(cache, WriteIndex(0, start, valid, row), k[:1], v[:1], BlockShard(index, shards))
            for function in (store, store_reference)
        ]
    )
    edges = [0, 1, BLOCK - 8, BLOCK - 1, BLOCK, BLOCK + 3, capacity - BLOCK - 1, capacity - 9, capacity - 1, capacity]
    for index in range(shards):
        for first, start in enumerate(edges):
            starts = jnp.asarray([start, *edges[first:], *edges][:B], jnp.int32)
            assert_same(*both(index, starts, jnp.asarray([T, 0, T // 2, T][:B], jnp.int32)))
            assert_same(*one(index, starts[:1], jnp.asarray([T], jnp.int32), jnp.asarray([2], jnp.int32)))


def assert_same(ours, plain):
    for name, part in plain.items():
        np.testing.assert_array_equal(ours[name], part, err_msg=name)


@pytest.mark.parametrize(
    ("T", "row", "dtype", "window"),
    others_slow(
        product([1, 9], [None, 2], [jnp.float32, jnp.int8], [None, 40]),
        lambda T, row, dtype, window: (dtype == jnp.float32) == (window is None),
    ),
)
def test_blocks_equal_all_slots(T, row, dtype, window):
    start, valid = jnp.asarray([3, 700, 255, 0]), jnp.asarray([T, T - 1, T, 0])
    cache, rows = cache_of(4 * BLOCK, dtype), None
    if row is not None:
        start, valid, rows = start[row : row + 1], valid[row : row + 1], jnp.asarray([row])
    where = WriteIndex(1, start, valid, rows)
    q, k, v = new_tokens(len(start), T)
    got, kept = jax.jit(cached_attention, static_argnames="window")(q, k, v, cache, where, window=window)
    want, wanted = cached_attention_reference(q, k, v, cache, where, window=window)
    for name in cache:
        np.testing.assert_array_equal(kept[name], wanted[name])
    for b, real in enumerate(valid):
        np.testing.assert_allclose(got[b, :real], want[b, :real], atol=2e-5)


def test_neighbours_do_not_change_a_bit_and_room_nothing_but_rounding():
    """A cache of another length is another program, with the same results up to the order of sums."""
    q, k, v = new_tokens(B, 1)
    alone = WriteIndex(0, jnp.asarray([100, 0, 0, 0]), jnp.asarray([1, 0, 0, 0]))
    beside = WriteIndex(0, jnp.asarray([100, 900, 5, 0]), jnp.asarray([1, 1, 1, 0]))
    small, large = cache_of(BLOCK), cache_of(4 * BLOCK, seed=5)
    large = {name: x.at[:, :, :, :BLOCK].set(small[name]) for name, x in large.items()}
    outs = [cached_attention(q, k, v, *case)[0][0] for case in ((small, alone), (large, alone), (large, beside))]
    np.testing.assert_array_equal(outs[1], outs[2])
    small, large = (np.asarray(out) for out in outs[:2])
    np.testing.assert_allclose(small, large, rtol=0, atol=tolerances.sums(101, in_a_row=3) * np.abs(large).max())


@pytest.mark.parametrize(
    ("shape", "dtype", "by_row"),
    [
        ({"context": 8}, jnp.float32, False),
        ({"context": 4, "data": 2}, jnp.float32, True),
        ({"data": 2, "context": 2, "tensor": 2}, jnp.int8, False),
        ({"data": 2, "context": 2, "tensor": 2}, jnp.int8, True),
    ],
    ids=["context", "rows", "three-ways", "three-ways-rows"],
)
def test_shards_merge_to_the_whole(shape, dtype, by_row):
    mesh = make_mesh(shape)
    attend = attention_over(mesh, B, G)
    shards, groups = mesh.shape["context"], mesh.shape["data"]
    length = 8 * BLOCK
    cache = cache_of(length, dtype)
    # A shard's blocks lie together: block number b is on shard b % shards.
    blocks = np.arange(8).reshape(-1, shards).T.reshape(-1)
    index = (blocks[:, None] * BLOCK + np.arange(BLOCK)).reshape(-1)
    sharded = {name: x[:, :, :, index] for name, x in cache.items()}
    start, valid, rows = jnp.asarray([3, 3000, 511, 1023]), jnp.asarray([5, 4, 5, 2]), None
    where = chosen = WriteIndex(1, start, valid)
    if by_row:
        rows = jnp.asarray([1, 0][:groups])
        whole = jnp.asarray([group * B // groups + int(row) for group, row in enumerate(rows)])
        where, chosen = (
            WriteIndex(1, start[whole], valid[whole], whole),
            WriteIndex(1, start[whole], valid[whole], rows),
        )
    q, k, v = new_tokens(len(where.start), 5)
    got, kept = jax.jit(attend)(q, k, v, sharded, chosen)
    want, wanted = cached_attention_reference(q, k, v, cache, where)
    for name in cache:
        np.testing.assert_array_equal(kept[name], wanted[name][:, :, :, index])
    for b, real in enumerate(where.valid):
        np.testing.assert_allclose(got[b, :real], want[b, :real], atol=2e-5)


def test_int8_is_off_by_half_a_scale_at_most_and_keeps_zeros():
    x = normal(0, 50, D) * jnp.exp(3 * normal(1, 50, 1))
    x = x.at[7].set(0.0)
    numbers, scale = quantise(x)
    error = np.abs(np.asarray(numbers, np.float32) * scale[:, None] - x)
    assert (error <= np.asarray(scale)[:, None] * 0.5001).all()
    np.testing.assert_allclose(scale, np.abs(x).max(-1) / 127, rtol=1e-6)
    assert not numbers[7].any()
    assert np.abs(numbers).max() == 127


def test_a_quarter_of_a_million_tokens():
    """The longest text there is: positions, blocks and the last slot."""
    length = 262_144
    cache = {name: x[:1] for name, x in cache_of(length, jnp.int8, rows=1).items()}
    where = WriteIndex(0, jnp.asarray([length - 3]), jnp.asarray([3]))
    q, k, v = new_tokens(1, 3)
    got, _ = jax.jit(cached_attention)(q, k, v, cache, where)
    want, _ = cached_attention_reference(q, k, v, cache, where)
    np.testing.assert_allclose(got, want, atol=2e-5)

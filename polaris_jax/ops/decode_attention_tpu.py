"""Attention of one new token per row over a key-value cache, on TPU: as ``cached_attention``, in two Pallas kernels.

The first writes the new keys and values: an aligned stretch of each row is read, changed and written back, all rows in
one pipeline. The second reads every row's own tokens once, up to its own length, in blocks; XLA's loop reads as many of
all rows as the longest has.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from polaris_jax.ops.attention import MASKED, NOTHING, SoftmaxState
from polaris_jax.ops.cached_attention import BLOCK, BlockShard, KVCache, WriteIndex, slots_before

SLOTS = 16  # of a stretch that is written: a tile of bfloat16
# Keys and values that are read at a time, twice in VMEM: long transfers, and short steps beside them.
READ_BYTES = 4 << 20


def fits(q: jax.Array, cache: KVCache, index: WriteIndex) -> bool:
    """Whether the kernels take this call: one new token of every row, heads of whole lanes, one dtype."""
    capacity, width = cache["k"].shape[3:]
    single = q.shape[1] == 1 and index.rows is None
    return single and cache["k"].dtype == q.dtype and not (width % 128 or capacity % SLOTS)


def read_block(capacity: int, bytes_per_token: int) -> int:
    """Tokens that are read at a time: as many as ``READ_BYTES`` hold or down to half, so that least hangs over the end.

    Args:
      capacity: slots of a row. bytes_per_token: keys and values of a head.
    """
    if capacity <= BLOCK:
        return capacity
    most = max(1, READ_BYTES // (bytes_per_token * BLOCK))
    whole = -(-capacity // BLOCK)
    return BLOCK * min(range(max(1, most // 2), most + 1), key=lambda count: (-(-whole // count) * count, -count))


def decode_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    cache: KVCache,
    index: WriteIndex,
    window: int | None = None,
    shard: BlockShard = BlockShard(),
    *,
    interpret: Any = False,
) -> tuple[SoftmaxState, KVCache]:
    """As ``cached_attention.write_and_attend``, of calls that ``fits``.

    Args:
      interpret: run the kernels on any host; True, or ``pltpu.InterpretParams``.
    """
    capacity = index.capacity(cache)
    slot = slots_before(index.start, shard)
    mine = (index.start // BLOCK % shard.stride == shard.offset) & (index.valid > 0) & (slot < capacity)
    layer = jnp.asarray(index.layer, jnp.int32).reshape(1)
    slot = jnp.where(mine, slot, -1)
    cache = _write(layer, *_place(index, slot), k, v, cache, interpret)
    stop = jnp.minimum(slots_before(index.start + 1, shard), capacity)
    first = jnp.zeros_like(stop) if window is None else slots_before(jnp.maximum(index.start + 1 - window, 0), shard)
    return _read(layer, first, stop, index, q, cache, interpret), cache


def _place(index: WriteIndex, slot: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where ``slot [n]`` of every row lies: index along the cache's second axis, and slot there (negative: none)."""
    if index.pages is None:
        return jnp.arange(len(slot), dtype=jnp.int32), slot
    block = jnp.maximum(slot, 0)[:, None] // BLOCK
    return jnp.take_along_axis(index.pages, block, axis=1)[:, 0], jnp.where(slot < 0, -1, slot % BLOCK)


def _write(
    layer: jax.Array, row: jax.Array, slot: jax.Array, k: jax.Array, v: jax.Array, cache: KVCache, interpret: Any
) -> KVCache:
    """``cache`` with ``k, v [n, 1, G, d]`` in ``slot [n]`` of ``row [n]``, ``layer [1]``; nowhere if it is negative."""
    n, _, G, d = k.shape
    new = pl.BlockSpec((1, 1, 1, d), lambda b, g, *_: (b, g, 0, 0))
    stretch = pl.BlockSpec((1, 1, 1, SLOTS, d), lambda b, g, layer, row, at, _: (layer[0], row[b], g, at[b], 0))
    names = ("k", "v")
    written = pl.pallas_call(
        _write_kernel,
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=4,
            grid=(n, G),
            in_specs=[new, new, stretch, stretch],
            out_specs=[stretch, stretch],
        ),
        out_shape=[jax.ShapeDtypeStruct(cache[name].shape, cache[name].dtype) for name in names],
        input_output_aliases={6: 0, 7: 1},
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel")),
        interpret=interpret,
        name="decode_write",
    )(
        layer,
        row,
        jnp.maximum(slot, 0) // SLOTS,
        jnp.where(slot < 0, -1, slot % SLOTS),
        *(x.swapaxes(1, 2).astype(cache["k"].dtype) for x in (k, v)),
        *(cache[name] for name in names),
    )
    return dict(zip(names, written, strict=True))


def _write_kernel(layer, row, stretches, place, new_k, new_v, old_k, old_v, k, v):
    del layer, row, stretches
    here = jax.lax.broadcasted_iota(jnp.int32, k.shape[3:], 0) == place[pl.program_id(0)]
    for new, old, out in ((new_k, old_k, k), (new_v, old_v, v)):
        out[0, 0, 0] = jnp.where(here, new[0, 0], old[0, 0, 0])


def _read(
    layer: jax.Array,
    first: jax.Array,
    stop: jax.Array,
    index: WriteIndex,
    q: jax.Array,
    cache: KVCache,
    interpret: Any,
) -> SoftmaxState:
    """The softmax state of ``q [n, 1, H, d]`` over slots ``first [n]`` to ``stop [n] - 1`` of ``layer [1]``.

    A step reads a block of one head, long transfers; or a page of all heads, which lie together.
    """
    n, _, H, d = q.shape
    G, capacity, paged = cache["k"].shape[2], index.capacity(cache), index.pages is not None
    R, block = H // G, BLOCK if paged else read_block(capacity, 2 * d * cache["k"].dtype.itemsize)
    heads = G if paged else 1  # of a step
    pages = jnp.zeros(1, jnp.int32) if index.pages is None else index.pages.reshape(-1)
    begin = jnp.minimum(first, capacity - 1) // block
    blocks = begin, jnp.maximum(-(-stop // block) - 1, begin)  # that a row has something in
    queries = pl.BlockSpec((1, heads, R, d), lambda b, g, i, *_: (b, g, 0, 0))
    number = pl.BlockSpec((1, heads, R, 1), lambda b, g, i, *_: (b, g, 0, 0))

    def lies_at(b, g, i, layer, pages, begin, end, *_):
        # Outside of them the nearest one stays: what is the same as in the step before is not read again.
        at = jnp.clip(i, begin[b], end[b])
        return (layer[0], pages[b * (capacity // BLOCK) + at], g, 0, 0) if paged else (layer[0], b, g, at, 0)

    tokens = pl.BlockSpec((1, 1, heads, block, d), lies_at)
    grouped = q.reshape(n, G, R, d)
    top, total, out = pl.pallas_call(
        functools.partial(_read_kernel, block=block, capacity=capacity),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=6,
            grid=(n, G // heads, pl.cdiv(capacity, block)),
            in_specs=[queries, tokens, tokens],
            out_specs=[number, number, queries],
        ),
        out_shape=[
            jax.ShapeDtypeStruct((n, G, R, 1), jnp.float32),
            jax.ShapeDtypeStruct((n, G, R, 1), jnp.float32),
            jax.ShapeDtypeStruct((n, G, R, d), jnp.float32),
        ],
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "arbitrary")),
        interpret=interpret,
        name="decode_read",
    )(layer, pages, *blocks, first, stop, grouped, cache["k"], cache["v"])
    return SoftmaxState(top[..., 0], total[..., 0], out)


def _read_kernel(layer, pages, blocks_begin, blocks_end, first, stop, q, k, v, top, total, out, *, block, capacity):
    del layer, pages, blocks_begin, blocks_end
    b, i = pl.program_id(0), pl.program_id(2)
    begin, end = first[b], stop[b]

    @pl.when(i == 0)
    def _():
        top[...] = jnp.full_like(top, NOTHING)
        total[...] = jnp.zeros_like(total)
        out[...] = jnp.zeros_like(out)

    @pl.when((i * block < end) & ((i + 1) * block > begin))
    def _():
        slots = i * block + jax.lax.broadcasted_iota(jnp.int32, (1, block), 1)
        seen = (slots >= begin) & (slots < end)
        for g in range(q.shape[1]):
            keys, values = k[0, 0, g], v[0, 0, g]
            scores = jax.lax.dot_general(q[0, g], keys, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)
            scores = jnp.where(seen, scores * keys.shape[1] ** -0.5, MASKED)
            if capacity % block:  # what lies behind the end may be anything, also no number
                there = i * block + jax.lax.broadcasted_iota(jnp.int32, (block, 1), 0) < end
                values = jnp.where(there, values, jnp.zeros_like(values))
            old = top[0, g]
            new = jnp.maximum(old, scores.max(axis=1, keepdims=True))
            weights, shrink = jnp.exp(scores - new), jnp.exp(old - new)
            top[0, g] = new
            total[0, g] = total[0, g] * shrink + weights.sum(axis=1, keepdims=True)
            product = jnp.dot(weights.astype(values.dtype), values, preferred_element_type=jnp.float32)
            out[0, g] = out[0, g] * shrink + product

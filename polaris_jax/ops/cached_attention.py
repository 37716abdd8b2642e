"""Attention of a few new tokens over a key-value cache, in blocks, on one device or over the mesh.

The cache of one kind of layer is a dict of arrays: ``k`` and ``v``, each ``[N, B, G, L, d]`` (``N`` layers, ``B`` rows,
``G`` heads, ``L`` slots for tokens), and when they are int8 also ``k_scale`` and ``v_scale``, each
``[N, B, G, L] float32``: one scale per head and token, so that the error of a number is at most half a scale, 1/254 of
the largest beside it.

Only blocks that hold tokens of the longest row in the call are read, whatever the capacity. A block in which a row sees
nothing leaves its softmax state as it is, bit for bit: the other rows do not change a result, and ``L`` only as far as
the compiler adds in another order for it.

Over the mesh, rows are spread over ``data`` and ``fsdp``, heads over ``tensor``, and blocks over ``context`` round
robin, so that every shard has its part of any length. Each shard attends to its own blocks; their unfinished softmax
states are merged by one maximum and two sums (FlashAttention-2, arXiv 2307.08691; as in ``attention.SoftmaxState``).

Where a row's slots lie is said by ``WriteIndex.pages``. Without it they are the row's own, ``L`` in a run. With it the
arrays have pages in the place of rows, each one block of slots, ``[N, P, G, BLOCK, d]``, and ``pages`` names those of a
row in order: rows may then be of any length together, and share what they have in common. The arithmetic is the same,
block by block. Pages are not spread over ``context``.

On TPU a single new token per row is read by kernels of its own (``decode_attention_tpu``).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from polaris_jax.errors import InputError
from polaris_jax.ops.attention import MASKED, NOTHING, SoftmaxState, attention
from polaris_jax.ops.attention_backends import AUTO

BLOCK = 512
# Slots that a write changes at least: with a single one the TPU compiler would choose another layout for the cache.
MINIMUM_SLOTS = 8
ROWS, CONTEXT, HEADS = ("data", "fsdp"), "context", "tensor"

KVCache = dict[str, jax.Array]


class WriteIndex(NamedTuple):
    """Where new tokens are written.

    Attributes:
      layer: int32 scalar, index along ``N``.
      start: ``[n] int32``, tokens that the rows hold already; valid: ``[n] int32``, how many of the new are real.
      rows: None when there are new tokens for all ``B`` rows (``n == B``); else ``[n] int32``: the ``B`` rows are
        ``n`` equal groups (one per shard of the rows), and this is the position of one row in each group.
      pages: ``[n, M] int32``, the pages of the ``n`` rows, block by block; None: a row's slots are its own. Rows may
        name the same page, but where one of them writes no other may look.
    """

    layer: jax.Array | int
    start: jax.Array
    valid: jax.Array
    rows: jax.Array | None = None
    pages: jax.Array | None = None

    def capacity(self, cache: KVCache) -> int:
        """Slots of a row on this shard."""
        return cache["k"].shape[3] if self.pages is None else self.pages.shape[1] * BLOCK


class BlockShard(NamedTuple):
    """Which blocks a shard holds: number ``offset``, ``offset + stride``, ``offset + 2 stride``, ..."""

    offset: jax.Array | int = 0
    stride: int = 1


def quantise(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``x [..., d]`` to int8 and a float32 scale ``[...]``: ``|x - int8 * scale| <= scale / 2``, plus rounding."""
    x = x.astype(jnp.float32)
    scale = jnp.max(jnp.abs(x), axis=-1) / 127.0
    return jnp.round(x / jnp.where(scale > 0, scale, 1.0)[..., None]).astype(jnp.int8), scale


def store(cache: KVCache, index: WriteIndex, k: jax.Array, v: jax.Array, shard: BlockShard = BlockShard()) -> KVCache:
    """Writes ``k, v [n, T, G, d]``; padding, and what the cache has no slots for, is dropped.

    The new tokens of a row fill adjacent slots, also on a shard that has every third block. So for each row one slice
    is read, changed and written back: with a scatter, the TPU compiler would convert the whole cache to another layout
    and back at every token.
    """
    new = _as_stored(cache, k, v)
    n, T = k.shape[:2]

    def write(i: jax.Array | int, cache: KVCache) -> KVCache:
        if index.pages is None:
            row = i if index.rows is None else index.rows[i]
            return change(cache, i, row, *_target_slots(index.start[i], T, cache["k"].shape[3], shard))
        for block in range((T + BLOCK - 2) // BLOCK + 1):  # that ``T`` tokens may lie in
            cache = change(cache, i, *_target_page(index.pages[i], index.start[i], T, block))
        return cache

    def change(cache: KVCache, i: jax.Array | int, row: jax.Array | int, first: jax.Array, token: jax.Array) -> KVCache:
        real = (token >= 0) & (token < index.valid[i])
        token = jnp.clip(token, 0, T - 1)
        changed = {}
        for name, whole in cache.items():
            at = (index.layer, row, 0, first, *(0,) * (whole.ndim - 4))
            old = jax.lax.dynamic_slice(whole, at, (1, 1, whole.shape[2], len(token), *whole.shape[4:]))
            part = jnp.swapaxes(new[name][i][token], 0, 1)  # [G, slots, ...]
            mask = real.reshape((1, -1) + (1,) * (part.ndim - 2))
            changed[name] = jax.lax.dynamic_update_slice(whole, jnp.where(mask, part, old[0, 0])[None, None], at)
        return changed

    return write(0, cache) if n == 1 else jax.lax.fori_loop(0, n, write, cache)


def _as_stored(cache: KVCache, k: jax.Array, v: jax.Array) -> KVCache:
    """``k, v [n, T, G, d]`` as the cache stores them: in its dtype, with scales where it is quantised."""
    new = {"k": k, "v": v}
    if "k_scale" in cache:
        (k, k_scale), (v, v_scale) = quantise(k), quantise(v)
        new = {"k": k, "v": v, "k_scale": k_scale, "v_scale": v_scale}
    return {name: part.astype(cache[name].dtype) for name, part in new.items()}


def slots_before(position: jax.Array, shard: BlockShard) -> jax.Array:
    """How many of a shard's slots belong to positions before ``position``; they are its first ones."""
    block, inside = position // BLOCK, position % BLOCK
    blocks = jnp.maximum(block - shard.offset + shard.stride - 1, 0) // shard.stride
    return blocks * BLOCK + jnp.where(block % shard.stride == shard.offset, inside, 0)


def _target_slots(start: jax.Array, tokens: int, capacity: int, shard: BlockShard) -> tuple[jax.Array, jax.Array]:
    """The slots, of ``capacity`` on a shard, that ``tokens`` new ones from position ``start`` on may fill.

    Returns:
      ``(first slot, token [slots])``: which of the new tokens each slot would hold; none where that is negative or not
      below ``tokens``. There are as many slots as tokens, or ``MINIMUM_SLOTS`` if that is more.
    """
    first = slots_before(start, shard)
    length = min(max(tokens, MINIMUM_SLOTS), capacity)
    first = jnp.minimum(first, capacity - length)
    slots = first + jnp.arange(length, dtype=jnp.int32)
    return first, (slots // BLOCK * shard.stride + shard.offset) * BLOCK + slots % BLOCK - start


def _target_page(pages: jax.Array, start: jax.Array, tokens: int, block: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """``_target_slots`` in one of the pages that ``tokens`` new ones may lie in: ``(page, first slot, token [slots])``.

    Args:
      pages: ``[M] int32``, of the row. block: how many pages after that of ``start``.
    """
    number = start // BLOCK + block
    length = min(max(tokens, MINIMUM_SLOTS), BLOCK)
    first = jnp.clip(start - number * BLOCK, 0, BLOCK - length)
    token = number * BLOCK + first + jnp.arange(length, dtype=jnp.int32) - start
    there = jnp.minimum(number, len(pages) - 1)
    return pages[there], first, jnp.where(number < len(pages), token, -1)


def partial_attention(
    q: jax.Array, cache: KVCache, index: WriteIndex, window: int | None = None, shard: BlockShard = BlockShard()
) -> SoftmaxState:
    """The softmax state of ``q [n, T, H, d]`` over this shard's blocks: arrays ``[n, G, R*T]``, ``out [.., d]``."""
    n, T, H, d = q.shape
    G, L = cache["k"].shape[2], index.capacity(cache)
    grouped = q.reshape(n, T, G, H // G, d).transpose(0, 2, 3, 1, 4).reshape(n, G, -1, d)
    positions = jnp.tile(index.start[:, None] + jnp.arange(T, dtype=jnp.int32), (1, H // G))[:, None, :, None]
    block = min(BLOCK, L)
    row, rows = (0, n) if index.rows is None else (index.rows[0], 1)

    def cut(name: str, i: jax.Array) -> jax.Array:
        x = cache[name]
        if index.pages is not None:
            page = jax.lax.dynamic_index_in_dim(index.pages, i, axis=1, keepdims=False)
            x = x.at[index.layer, page].get(mode="promise_in_bounds")
        else:
            at = (index.layer, row, 0, i * block, *(0,) * (x.ndim - 4))
            x = jax.lax.dynamic_slice(x, at, (1, rows, G, block, *x.shape[4:]))[0]
        return x.astype(q.dtype) if x.ndim == 4 else x[:, :, None]

    def step(i: jax.Array, state: SoftmaxState) -> SoftmaxState:
        seen = (i * shard.stride + shard.offset) * block + jnp.arange(block, dtype=jnp.int32)
        mask = seen <= positions
        if window is not None:
            mask &= positions - seen < window
        scores = jnp.einsum("ngqd,ngkd->ngqk", grouped, cut("k", i), preferred_element_type=jnp.float32) * d**-0.5
        if "k_scale" in cache:
            scores *= cut("k_scale", i)
        scores = jnp.where(mask, scores, MASKED)
        top = jnp.maximum(state.running_max, scores.max(axis=-1))
        weights, shrink = jnp.exp(scores - top[..., None]), jnp.exp(state.running_max - top)
        total = state.denominator * shrink + weights.sum(axis=-1)
        if "v_scale" in cache:
            weights *= cut("v_scale", i)
        values = cut("v", i)
        out = jnp.einsum("ngqk,ngkd->ngqd", weights.astype(values.dtype), values, preferred_element_type=jnp.float32)
        return SoftmaxState(top, total, state.out * shrink[..., None] + out)

    # Global blocks that hold anything a query may see, and which of them are this shard's.
    stop = jnp.max(jnp.where(index.valid > 0, index.start + index.valid + block - 1, 0)) // block
    first = 0 if window is None else jnp.maximum(jnp.min(index.start) - window + 1, 0) // block
    mine = [jnp.maximum(at - shard.offset + shard.stride - 1, 0) // shard.stride for at in (first, stop)]
    empty = SoftmaxState(
        jnp.full((n, G, grouped.shape[2]), NOTHING, jnp.float32),
        jnp.zeros((n, G, grouped.shape[2]), jnp.float32),
        jnp.zeros(grouped.shape, jnp.float32),
    )
    return jax.lax.fori_loop(mine[0], jnp.minimum(mine[1], L // block), step, empty)


def write_and_attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    cache: KVCache,
    index: WriteIndex,
    window: int | None = None,
    shard: BlockShard = BlockShard(),
) -> tuple[SoftmaxState, KVCache]:
    """``store``, then ``partial_attention``: what a shard does, by XLA."""
    cache = store(cache, index, k, v, shard)
    return partial_attention(q, cache, index, window, shard), cache


def _steps(platform: str, implementation: str) -> Callable[..., tuple[SoftmaxState, KVCache]]:
    """``write_and_attend``, or in its place the kernels where a call fits them."""
    if implementation == "xla" or (implementation == AUTO and platform != "tpu"):
        return write_and_attend
    if implementation not in (AUTO, "pallas_interpret"):
        raise InputError("implementation", implementation, "choose auto, xla or pallas_interpret")
    from polaris_jax.ops.decode_attention_tpu import decode_attention, fits  # not importable on every host

    kernels = partial(decode_attention, interpret=implementation == "pallas_interpret")

    def either(q, k, v, cache, index, window=None, shard=BlockShard()):
        steps = kernels if fits(q, cache, index) else write_and_attend
        return steps(q, k, v, cache, index, window, shard)

    return either


def _finish(state: SoftmaxState, q: jax.Array) -> jax.Array:
    n, T, H, d = q.shape
    G = state.out.shape[1]
    out = state.out / jnp.where(state.denominator > 0, state.denominator, 1.0)[..., None]
    return out.reshape(n, G, H // G, T, d).transpose(0, 3, 1, 2, 4).reshape(q.shape).astype(q.dtype)


def attention_over(
    mesh: Mesh | None, rows: int, heads: int, implementation: str = AUTO
) -> Callable[..., tuple[jax.Array, KVCache]]:
    """``cached_attention`` for a cache of ``rows`` rows and ``heads`` kv heads, on one device or spread over ``mesh``.

    Args:
      implementation: ``xla``; ``auto``: on TPU ``decode_attention_tpu`` for calls that fit it; ``pallas_interpret``:
        the same on any host.

    Raises:
      InputError: an unknown implementation.
    """
    platform = jax.default_backend() if mesh is None else mesh.devices.flat[0].platform
    steps = _steps(platform, implementation)
    return partial(cached_attention, steps=steps) if mesh is None else _sharded(mesh, rows, heads, steps)


def cached_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    cache: KVCache,
    index: WriteIndex,
    *,
    window: int | None = None,
    steps: Callable[..., tuple[SoftmaxState, KVCache]] = write_and_attend,
) -> tuple[jax.Array, KVCache]:
    """Stores the new keys and values, then attends to all there are.

    Args:
      q: ``[n, T, H, d]``; k, v: ``[n, T, G, d]``; query head ``h`` reads kv head ``h // (H // G)``.
      cache: its ``L`` is at most ``BLOCK`` or a multiple of it.
      index: where the new tokens go.
      window: sliding window in tokens, or None.
      steps: in the place of ``write_and_attend``.

    Returns:
      ``(out [n, T, H, d] in q's dtype, cache)``; ``out`` is meaningless for padding.
    """
    state, cache = steps(q, k, v, cache, index, window)
    return _finish(state, q), cache


def _sharded(
    mesh: Mesh, rows: int, heads: int, steps: Callable[..., tuple[SoftmaxState, KVCache]]
) -> Callable[..., tuple[jax.Array, KVCache]]:
    by_row, by_head = row_axes(mesh, rows), head_axis(mesh, heads)
    token, single = P(by_row, None, by_head), P(by_row)

    def attend(
        q: jax.Array, k: jax.Array, v: jax.Array, cache: KVCache, index: WriteIndex, *, window: int | None = None
    ) -> tuple[jax.Array, KVCache]:
        def shard_program(
            q: jax.Array, k: jax.Array, v: jax.Array, cache: KVCache, *at: Any
        ) -> tuple[jax.Array, KVCache]:
            shard = BlockShard(jax.lax.axis_index(CONTEXT), mesh.shape[CONTEXT])
            local = WriteIndex(*at)
            state, cache = steps(q, k, v, cache, local, window, shard)
            top = jax.lax.pmax(state.running_max, CONTEXT)
            shrink = jnp.exp(state.running_max - top)
            total, out = jax.lax.psum((state.denominator * shrink, state.out * shrink[..., None]), CONTEXT)
            return _finish(SoftmaxState(top, total, out), q), cache

        kept = {name: P(None, by_row, by_head, CONTEXT) for name in cache}
        if index.pages is not None:
            kept = dict.fromkeys(cache, P(None, None, by_head))
        rows, pages = (None if part is None else single for part in (index.rows, index.pages))
        specs = (token, token, token, kept, P(), single, single, rows, pages)
        program = jax.shard_map(shard_program, mesh=mesh, in_specs=specs, out_specs=(token, kept), check_vma=False)
        return program(q, k, v, cache, jnp.asarray(index.layer, jnp.int32), *index[1:])

    return attend


def row_axes(mesh: Mesh, rows: int) -> tuple[str, ...] | None:
    """The mesh axes that rows are spread over, or None when their number does not divide."""
    return ROWS if rows % (mesh.shape["data"] * mesh.shape["fsdp"]) == 0 else None


def head_axis(mesh: Mesh, heads: int) -> str | None:
    """The mesh axis that kv heads are spread over, or None when their number does not divide."""
    return HEADS if heads % mesh.shape[HEADS] == 0 else None


def store_reference(
    cache: KVCache, index: WriteIndex, k: jax.Array, v: jax.Array, shard: BlockShard = BlockShard()
) -> KVCache:
    """``store`` slot by slot: what it is tested against."""
    n, T = k.shape[:2]
    offset = jnp.arange(T, dtype=jnp.int32)
    positions = index.start[:, None] + offset
    turn, mine = jnp.divmod(positions // BLOCK, shard.stride)
    stored = (offset < index.valid[:, None]) & (mine == shard.offset)
    slots = jnp.where(stored, turn * BLOCK + positions % BLOCK, cache["k"].shape[3])
    rows = (jnp.arange(n, dtype=jnp.int32) if index.rows is None else index.rows)[:, None]
    return {
        name: cache[name].at[index.layer, rows, :, slots].set(part, mode="drop")
        for name, part in _as_stored(cache, k, v).items()
    }


def cached_attention_reference(
    q: jax.Array, k: jax.Array, v: jax.Array, cache: KVCache, index: WriteIndex, *, window: int | None = None
) -> tuple[jax.Array, KVCache]:
    """``cached_attention`` by the plain attention over all slots: what the others are tested against."""
    if index.pages is not None:
        return _over_pages_reference(q, k, v, cache, index, window)
    cache = store_reference(cache, index, k, v)
    whole = {name: part[index.layer] for name, part in cache.items()}
    if index.rows is not None:
        whole = {name: part[index.rows] for name, part in whole.items()}
    if "k_scale" in cache:
        whole = {name: whole[name] * whole[f"{name}_scale"][..., None] for name in ("k", "v")}
    keys, values = (whole[name].astype(q.dtype).swapaxes(1, 2) for name in ("k", "v"))
    offset = jnp.arange(q.shape[1], dtype=jnp.int32)
    slots = jnp.broadcast_to(jnp.arange(keys.shape[1], dtype=jnp.int32), keys.shape[:2])
    out = attention(
        q,
        keys,
        values,
        q_positions=index.start[:, None] + offset,
        kv_positions=slots,
        window=window,
        q_segments=(offset < index.valid[:, None]).astype(jnp.int32),
        kv_segments=(slots < (index.start + index.valid)[:, None]).astype(jnp.int32),
    )
    return out, cache


def _over_pages_reference(
    q: jax.Array, k: jax.Array, v: jax.Array, cache: KVCache, index: WriteIndex, window: int | None
) -> tuple[jax.Array, KVCache]:
    """``cached_attention_reference`` of rows whose pages are first laid side by side, and put back behind it."""
    pages = index.pages
    assert pages is not None
    M = pages.shape[1]
    blocks = {name: x[:, pages].swapaxes(2, 3) for name, x in cache.items()}  # [N, n, G, M, BLOCK, ...]
    rows = {name: x.reshape(*x.shape[:3], M * BLOCK, *x.shape[5:]) for name, x in blocks.items()}
    out, rows = cached_attention_reference(q, k, v, rows, index._replace(rows=None, pages=None), window=window)
    blocks = {name: x.reshape(*x.shape[:3], M, BLOCK, *x.shape[4:]).swapaxes(2, 3) for name, x in rows.items()}
    # Only the pages that a row writes to: others may be shared, and hold what they held.
    first, last = index.start // BLOCK, (index.start + index.valid - 1) // BLOCK
    number = jnp.arange(M)
    written = (number >= first[:, None]) & (number <= last[:, None]) & (index.valid > 0)[:, None]
    target = jnp.where(written, pages, cache["k"].shape[1])
    return out, {name: x.at[:, target].set(blocks[name], mode="drop") for name, x in cache.items()}

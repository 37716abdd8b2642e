"""Attention of a few new tokens over everything a cache holds, in blocks, on one device or over the mesh.

A cache of one kind of layer is a dict of arrays: ``k`` and ``v``, each ``[N, B, G, L, d]`` (``N`` layers of ``B``
texts, ``G`` heads, room for ``L`` tokens), and when they are int8 also ``k_scale`` and ``v_scale``, each
``[N, B, G, L] float32``: one scale per head and token, so that a number is off by at most half a scale, 1/254 of the
largest beside it.

Only blocks that hold tokens of the longest text in the call are read, whatever there is room for. A block in which a
text sees nothing leaves its state as it is, bit for bit: neither ``L`` nor the other texts change a result.

Over the mesh, rows are spread over ``data`` and ``fsdp``, heads over ``tensor``, and blocks dealt out over ``context``
like cards, so that every shard has its part of any length. Each shard attends to its own blocks; their unfinished
softmax states are merged by one maximum and two sums (FlashAttention-2, arXiv 2307.08691; as in ``tile_state``).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from polaris_jax.ops.attention import MASKED, attention
from polaris_jax.ops.tile_state import NOTHING, State

BLOCK = 512
# Slots that are changed at least: a single one would again have the TPU compiler choose another layout for the cache.
STRETCH = 8
ROWS, CONTEXT, HEADS = ("data", "fsdp"), "context", "tensor"

Memory = dict[str, jax.Array]


class Place(NamedTuple):
    """Where new tokens go.

    Attributes:
      layer: int32 scalar, index along ``N``.
      start: ``[n] int32``, tokens that the texts hold already; valid: ``[n] int32``, how many of the new are real.
      rows: None when the new tokens belong to all ``B`` texts (``n == B``); else ``[n] int32``: the ``B`` texts are
        ``n`` equal groups (one per shard of the rows), and these are the positions in each group of the text meant.
    """

    layer: jax.Array | int
    start: jax.Array
    valid: jax.Array
    rows: jax.Array | None = None


class Shard(NamedTuple):
    """Which blocks a cache holds: number ``index``, ``index + count``, ``index + 2 count``, ..."""

    index: jax.Array | int = 0
    count: int = 1


def quantise(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``x [..., d]`` to int8 and a float32 scale ``[...]``: ``|x - int8 * scale| <= scale / 2``, plus rounding."""
    x = x.astype(jnp.float32)
    scale = jnp.max(jnp.abs(x), axis=-1) / 127.0
    return jnp.round(x / jnp.where(scale > 0, scale, 1.0)[..., None]).astype(jnp.int8), scale


def store(memory: Memory, place: Place, k: jax.Array, v: jax.Array, shard: Shard = Shard()) -> Memory:
    """Writes ``k, v [n, T, G, d]``; padding, and what the cache has no room for, is dropped.

    A text's new tokens fill one stretch of the slots, also on a shard that has every third block. So each text is one
    slice read, changed and put back where it was: a scatter would have the TPU compiler turn the whole cache over to
    another layout and back, at every token.
    """
    new = _as_stored(memory, k, v)
    n, T = k.shape[:2]

    def put(i: jax.Array | int, memory: Memory) -> Memory:
        row = i if place.rows is None else place.rows[i]
        first, token = _stretch(place.start[i], T, memory["k"].shape[3], shard)
        real = (token >= 0) & (token < place.valid[i])
        token = jnp.clip(token, 0, T - 1)
        changed = {}
        for name, whole in memory.items():
            at = (place.layer, row, 0, first, *(0,) * (whole.ndim - 4))
            old = jax.lax.dynamic_slice(whole, at, (1, 1, whole.shape[2], len(token), *whole.shape[4:]))
            part = jnp.swapaxes(new[name][i][token], 0, 1)  # [G, slots, ...]
            mask = real.reshape((1, -1) + (1,) * (part.ndim - 2))
            changed[name] = jax.lax.dynamic_update_slice(whole, jnp.where(mask, part, old[0, 0])[None, None], at)
        return changed

    return put(0, memory) if n == 1 else jax.lax.fori_loop(0, n, put, memory)


def _as_stored(memory: Memory, k: jax.Array, v: jax.Array) -> Memory:
    """``k, v [n, T, G, d]`` as the cache keeps them: in its dtype, with scales where it is quantised."""
    new = {"k": k, "v": v}
    if "k_scale" in memory:
        (k, k_scale), (v, v_scale) = quantise(k), quantise(v)
        new = {"k": k, "v": v, "k_scale": k_scale, "v_scale": v_scale}
    return {name: part.astype(memory[name].dtype) for name, part in new.items()}


def _stretch(start: jax.Array, tokens: int, room: int, shard: Shard) -> tuple[jax.Array, jax.Array]:
    """The slots of a shard with ``room`` that ``tokens`` new ones from position ``start`` on may fill.

    Returns:
      ``(first slot, token [slots])``: which of the new tokens each slot would hold; none of them where that is negative
      or not below ``tokens``. There are as many slots as tokens, or ``STRETCH`` if that is more.
    """
    block, inside = start // BLOCK, start % BLOCK
    before = jnp.maximum(block - shard.index + shard.count - 1, 0) // shard.count  # this shard's blocks before
    first = before * BLOCK + jnp.where(block % shard.count == shard.index, inside, 0)
    length = min(max(tokens, STRETCH), room)
    first = jnp.minimum(first, room - length)
    slots = first + jnp.arange(length, dtype=jnp.int32)
    return first, (slots // BLOCK * shard.count + shard.index) * BLOCK + slots % BLOCK - start


def partial_attention(
    q: jax.Array, memory: Memory, place: Place, window: int | None = None, shard: Shard = Shard()
) -> State:
    """The softmax state of ``q [n, T, H, d]`` over this shard's blocks: ``top, total [n, G, R*T]``, ``out [.., d]``."""
    n, T, H, d = q.shape
    G, L = memory["k"].shape[2:4]
    grouped = q.reshape(n, T, G, H // G, d).transpose(0, 2, 3, 1, 4).reshape(n, G, -1, d)
    positions = jnp.tile(place.start[:, None] + jnp.arange(T, dtype=jnp.int32), (1, H // G))[:, None, :, None]
    block = min(BLOCK, L)
    row, rows = (0, n) if place.rows is None else (place.rows[0], 1)

    def cut(name: str, at: jax.Array) -> jax.Array:
        x = memory[name]
        zeros = (0,) * (x.ndim - 4)
        x = jax.lax.dynamic_slice(x, (place.layer, row, 0, at, *zeros), (1, rows, G, block, *x.shape[4:]))[0]
        return x.astype(q.dtype) if x.ndim == 4 else x[:, :, None]

    def step(i, state):
        at = i * block
        seen = (i * shard.count + shard.index) * block + jnp.arange(block, dtype=jnp.int32)
        mask = seen <= positions
        if window is not None:
            mask &= positions - seen < window
        scores = jnp.einsum("ngqd,ngkd->ngqk", grouped, cut("k", at), preferred_element_type=jnp.float32) * d**-0.5
        if "k_scale" in memory:
            scores *= cut("k_scale", at)
        scores = jnp.where(mask, scores, MASKED)
        top = jnp.maximum(state.top, scores.max(axis=-1))
        weights, shrink = jnp.exp(scores - top[..., None]), jnp.exp(state.top - top)
        total = state.total * shrink + weights.sum(axis=-1)
        if "v_scale" in memory:
            weights *= cut("v_scale", at)
        values = cut("v", at)
        out = jnp.einsum("ngqk,ngkd->ngqd", weights.astype(values.dtype), values, preferred_element_type=jnp.float32)
        return State(top, total, state.out * shrink[..., None] + out)

    # Global blocks that hold anything a query may see, and which of them are this shard's.
    stop = jnp.max(jnp.where(place.valid > 0, place.start + place.valid + block - 1, 0)) // block
    first = 0 if window is None else jnp.maximum(jnp.min(place.start) - window + 1, 0) // block
    mine = [jnp.maximum(at - shard.index + shard.count - 1, 0) // shard.count for at in (first, stop)]
    empty = State(jnp.full((n, G, grouped.shape[2]), NOTHING, jnp.float32),
                  jnp.zeros((n, G, grouped.shape[2]), jnp.float32), jnp.zeros(grouped.shape, jnp.float32))
    return jax.lax.fori_loop(mine[0], jnp.minimum(mine[1], L // block), step, empty)


def _finish(state: State, q: jax.Array) -> jax.Array:
    n, T, H, d = q.shape
    G = state.out.shape[1]
    out = state.out / jnp.where(state.total > 0, state.total, 1.0)[..., None]
    return out.reshape(n, G, H // G, T, d).transpose(0, 3, 1, 2, 4).reshape(q.shape).astype(q.dtype)


def cached_attention(
    q: jax.Array, k: jax.Array, v: jax.Array, memory: Memory, place: Place, *, window: int | None = None
) -> tuple[jax.Array, Memory]:
    """Stores the new keys and values, then attends to all there are.

    Args:
      q: ``[n, T, H, d]``; k, v: ``[n, T, G, d]``; query head ``h`` reads kv head ``h // (H // G)``.
      memory: whose ``L`` is at most ``BLOCK`` or a multiple of it.
      window: sliding window in tokens, or None.

    Returns:
      ``(out [n, T, H, d] in q's dtype, memory)``; ``out`` is meaningless for padding.
    """
    memory = store(memory, place, k, v)
    return _finish(partial_attention(q, memory, place, window), q), memory


def sharded_cached_attention(mesh: Mesh, rows: int, heads: int):
    """``cached_attention`` for a cache of ``rows`` texts and ``heads`` kv heads spread over ``mesh``."""
    by_row, by_head = row_axes(mesh, rows), head_axis(mesh, heads)
    token, single = P(by_row, None, by_head), P(by_row)

    def attend(q, k, v, memory: Memory, place: Place, *, window: int | None = None):
        def shard_program(q, k, v, memory, layer, start, valid, rows):
            shard = Shard(jax.lax.axis_index(CONTEXT), mesh.shape[CONTEXT])
            here = Place(layer, start, valid, rows)
            memory = store(memory, here, k, v, shard)
            state = partial_attention(q, memory, here, window, shard)
            top = jax.lax.pmax(state.top, CONTEXT)
            shrink = jnp.exp(state.top - top)
            total, out = jax.lax.psum((state.total * shrink, state.out * shrink[..., None]), CONTEXT)
            return _finish(State(top, total, out), q), memory

        kept = {name: P(None, by_row, by_head, CONTEXT) for name in memory}
        specs = (token, token, token, kept, P(), single, single, None if place.rows is None else single)
        program = jax.shard_map(shard_program, mesh=mesh, in_specs=specs, out_specs=(token, kept), check_vma=False)
        return program(q, k, v, memory, jnp.asarray(place.layer, jnp.int32), *place[1:])

    return attend


def row_axes(mesh: Mesh, rows: int) -> tuple[str, ...] | None:
    """The mesh axes that texts are spread over, or None when their number does not divide."""
    return ROWS if rows % (mesh.shape["data"] * mesh.shape["fsdp"]) == 0 else None


def head_axis(mesh: Mesh, heads: int) -> str | None:
    """The mesh axis that kv heads are spread over, or None when their number does not divide."""
    return HEADS if heads % mesh.shape[HEADS] == 0 else None


def store_reference(memory: Memory, place: Place, k: jax.Array, v: jax.Array, shard: Shard = Shard()) -> Memory:
    """``store`` slot by slot: what it is tested against."""
    n, T = k.shape[:2]
    index = jnp.arange(T, dtype=jnp.int32)
    positions = place.start[:, None] + index
    turn, mine = jnp.divmod(positions // BLOCK, shard.count)
    stored = (index < place.valid[:, None]) & (mine == shard.index)
    slots = jnp.where(stored, turn * BLOCK + positions % BLOCK, memory["k"].shape[3])
    rows = (jnp.arange(n, dtype=jnp.int32) if place.rows is None else place.rows)[:, None]
    return {name: memory[name].at[place.layer, rows, :, slots].set(part, mode="drop")
            for name, part in _as_stored(memory, k, v).items()}


def cached_attention_reference(q, k, v, memory: Memory, place: Place, *, window: int | None = None):
    """``cached_attention`` by the plain attention over the whole room: what the others are tested against."""
    memory = store_reference(memory, place, k, v)
    whole = {name: part[place.layer] for name, part in memory.items()}
    if place.rows is not None:
        whole = {name: part[place.rows] for name, part in whole.items()}
    if "k_scale" in memory:
        whole = {name: whole[name] * whole[f"{name}_scale"][..., None] for name in ("k", "v")}
    keys, values = (whole[name].astype(q.dtype).swapaxes(1, 2) for name in ("k", "v"))
    index = jnp.arange(q.shape[1], dtype=jnp.int32)
    slots = jnp.broadcast_to(jnp.arange(keys.shape[1], dtype=jnp.int32), keys.shape[:2])
    out = attention(
        q, keys, values, q_positions=place.start[:, None] + index, kv_positions=slots, window=window,
        q_segments=(index < place.valid[:, None]).astype(jnp.int32),
        kv_segments=(slots < (place.start + place.valid)[:, None]).astype(jnp.int32),
    )  # fmt: skip
    return out, memory

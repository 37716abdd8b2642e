"""Attention over a list of tiles as a plain XLA loop: the portable executor, and the reference of the kernels.

One tile of scores exists at a time, in the forward and in the backward (FlashAttention, arXiv 2205.14135); its rows
are updated in place. All rows of a batch share one schedule, the union of theirs.

Shapes: ``q, dout: [B, H, Sq, D]``; ``kv: [2, B, G, Skv, D]`` (keys, values), query head ``h`` reads kv head
``h // (H // G)``; ``lse, delta: [B, H, Sq] float32`` (nats).
"""

import jax
import jax.numpy as jnp

from polaris_jax.ops.attention import MASKED, visible
from polaris_jax.ops.tile_state import State
from polaris_jax.ops.tiles import Side, column_of, row_of, summarise, tile_kinds, tile_list

UNIT = 1  # lengths need be multiples of the block only
BLOCK = 512


def _schedule(q_side: Side, kv_side: Side, q_block: int, kv_block: int, window: int | None):
    kinds = tile_kinds(summarise(q_side, q_block), summarise(kv_side, kv_block), window)
    tiles = tile_list(kinds.max(axis=0, keepdims=True), every_row=False)
    return tiles.codes[0], jnp.where(kinds.any(), tiles.count, 0)


def _cut(x: jax.Array, index, block: int, axis: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(x, index * block, block, axis)


def _put(x: jax.Array, part: jax.Array, index, block: int, axis: int) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(x, part, index * block, axis)


def _scores(q, k, q_side: Side, kv_side: Side, scale: float, window: int | None):
    """``[B, G, R, q, k] float32``, ``MASKED`` where the key is not visible."""
    scores = jnp.einsum("bgrqd,bgkd->bgrqk", q, k, preferred_element_type=jnp.float32) * scale
    mask = visible(q_side.positions, kv_side.positions, q_side.segments, kv_side.segments, window)[:, None, None]
    return jnp.where(mask, scores, MASKED)


def forward(q, kv, q_side: Side, kv_side: Side, state: State, *, scale: float, window: int | None, q_block: int,
            kv_block: int) -> State:
    """Adds the keys to the state of the queries."""
    B, H, G = *q.shape[:2], kv.shape[2]
    codes, count = _schedule(q_side, kv_side, q_block, kv_block, window)
    grouped = lambda x: x.reshape(B, G, H // G, *x.shape[2:])  # noqa: E731

    def tile(t, state):
        i, j = row_of(codes[t]), column_of(codes[t])
        k, v = _cut(kv, j, kv_block, 3)
        sides = (Side(*(_cut(x, i, q_block, 1) for x in q_side)), Side(*(_cut(x, j, kv_block, 1) for x in kv_side)))
        top, total, out = (_cut(x, i, q_block, 3) for x in state)
        scores = _scores(_cut(grouped(q), i, q_block, 3), k, *sides, scale, window)
        new_top = jnp.maximum(top, scores.max(axis=-1))
        weights = jnp.exp(scores - new_top[..., None])
        shrink = jnp.exp(top - new_top)
        update = jnp.einsum("bgrqk,bgkd->bgrqd", weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
        new = State(new_top, total * shrink + weights.sum(axis=-1), out * shrink[..., None] + update)
        return State(*(_put(x, part, i, q_block, 3) for x, part in zip(state, new, strict=True)))

    state = jax.lax.fori_loop(0, count, tile, State(*map(grouped, state)))
    return State(*(x.reshape(B, H, *x.shape[3:]) for x in state))


def backward(q, kv, dout, lse, delta, q_side: Side, kv_side: Side, dq, *, scale: float, window: int | None,
             q_block: int, kv_block: int):
    """Gradients of one call, its tiles recomputed from the final ``lse`` of the whole row.

    Args:
      delta: ``sum(dout * out, -1)`` (FlashAttention-2, eq. of dS).
      dq: ``[B, H, Sq, D] float32``, the sum so far, updated in place; the caller multiplies it by ``scale`` at the end.

    Returns:
      ``(dq, dkv [2, B, G, Skv, D] float32)``.
    """
    B, H, G = *q.shape[:2], kv.shape[2]
    codes, count = _schedule(q_side, kv_side, q_block, kv_block, window)
    grouped = lambda x: x.reshape(B, G, H // G, *x.shape[2:])  # noqa: E731
    # A row that saw nothing has no finite lse; any finite one makes its weights exactly 0.
    q_rows = tuple(map(grouped, (q, dout, jnp.where(lse == MASKED, 0.0, lse), delta)))

    def tile(t, sums):
        dq, dkv = sums
        i, j = row_of(codes[t]), column_of(codes[t])
        k, v = _cut(kv, j, kv_block, 3)
        sides = (Side(*(_cut(x, i, q_block, 1) for x in q_side)), Side(*(_cut(x, j, kv_block, 1) for x in kv_side)))
        q, dout, lse, delta = (_cut(x, i, q_block, 3) for x in q_rows)
        weights = jnp.exp(_scores(q, k, *sides, scale, window) - lse[..., None])
        dweights = jnp.einsum("bgrqd,bgkd->bgrqk", dout, v, preferred_element_type=jnp.float32)
        dscores = (weights * (dweights - delta[..., None])).astype(q.dtype)
        dq_tile = jnp.einsum("bgrqk,bgkd->bgrqd", dscores, k, preferred_element_type=jnp.float32)
        dk = jnp.einsum("bgrqk,bgrqd->bgkd", dscores, q, preferred_element_type=jnp.float32) * scale
        dv = jnp.einsum("bgrqk,bgrqd->bgkd", weights.astype(dout.dtype), dout, preferred_element_type=jnp.float32)
        return (_put(dq, _cut(dq, i, q_block, 3) + dq_tile, i, q_block, 3),
                _put(dkv, _cut(dkv, j, kv_block, 3) + jnp.stack([dk, dv]), j, kv_block, 3))

    dq, dkv = jax.lax.fori_loop(0, count, tile, (grouped(dq), jnp.zeros(kv.shape, jnp.float32)))
    return dq.reshape(q.shape), dkv

"""Attention over a list of tiles as a plain XLA loop: the portable attention backend, and the reference of the kernels.

One tile of scores exists at a time, in the forward and in the backward (FlashAttention, arXiv 2205.14135); its rows
are updated in place. All rows of a batch share one schedule, the union of theirs.

Shapes: ``q, dout: [B, H, Sq, D]``; ``kv: [2, B, G, Skv, D]`` (keys, values), query head ``h`` reads kv head
``h // (H // G)``; ``lse, delta: [B, H, Sq] float32`` (nats).
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from polaris_jax.ops.attention import MASKED, SoftmaxState, finish, visible
from polaris_jax.ops.tiles import TokenMetadata, column_of, row_of, summarise, tile_kinds, tile_list

UNIT = 1  # lengths need be multiples of the block only
BLOCK = 512


def _schedule(q_meta: TokenMetadata, kv_meta: TokenMetadata, q_block: int, kv_block: int, window: int | None):
    kinds = tile_kinds(summarise(q_meta, q_block), summarise(kv_meta, kv_block), window)
    tiles = tile_list(kinds.max(axis=0, keepdims=True), every_row=False)
    return tiles.codes[0], jnp.where(kinds.any(), tiles.used, 0)


def _cut(x: jax.Array, index, block: int, axis: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(x, index * block, block, axis)


def _put(x: jax.Array, part: jax.Array, index, block: int, axis: int) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(x, part, index * block, axis)


def _scores(q, k, q_meta: TokenMetadata, kv_meta: TokenMetadata, scale: float, window: int | None):
    """``[B, G, R, q, k] float32``, ``MASKED`` where the key is not visible."""
    scores = jnp.einsum("bgrqd,bgkd->bgrqk", q, k, preferred_element_type=jnp.float32) * scale
    mask = visible(q_meta.positions, kv_meta.positions, q_meta.segments, kv_meta.segments, window)[:, None, None]
    return jnp.where(mask, scores, MASKED)


def forward(
    q: jax.Array,
    kv: jax.Array,
    q_meta: TokenMetadata,
    kv_meta: TokenMetadata,
    state: SoftmaxState,
    *,
    scale: float,
    window: int | None,
    q_block: int,
    kv_block: int,
) -> SoftmaxState:
    """Adds the keys to the state of the queries."""
    B, H, G = *q.shape[:2], kv.shape[2]
    codes, count = _schedule(q_meta, kv_meta, q_block, kv_block, window)
    grouped = lambda x: x.reshape(B, G, H // G, *x.shape[2:])  # noqa: E731

    def tile(t, state):
        i, j = row_of(codes[t]), column_of(codes[t])
        k, v = _cut(kv, j, kv_block, 3)
        metadata = (
            TokenMetadata(*(_cut(x, i, q_block, 1) for x in q_meta)),
            TokenMetadata(*(_cut(x, j, kv_block, 1) for x in kv_meta)),
        )
        running_max, denominator, out = (_cut(x, i, q_block, 3) for x in state)
        scores = _scores(_cut(grouped(q), i, q_block, 3), k, *metadata, scale, window)
        new_top = jnp.maximum(running_max, scores.max(axis=-1))
        weights = jnp.exp(scores - new_top[..., None])
        shrink = jnp.exp(running_max - new_top)
        update = jnp.einsum("bgrqk,bgkd->bgrqd", weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
        new = SoftmaxState(new_top, denominator * shrink + weights.sum(axis=-1), out * shrink[..., None] + update)
        return SoftmaxState(*(_put(x, part, i, q_block, 3) for x, part in zip(state, new, strict=True)))

    state = jax.lax.fori_loop(0, count, tile, SoftmaxState(*map(grouped, state)))
    return SoftmaxState(*(x.reshape(B, H, *x.shape[3:]) for x in state))


def backward(
    q: jax.Array,
    kv: jax.Array,
    dout: jax.Array,
    lse: jax.Array,
    delta: jax.Array,
    q_meta: TokenMetadata,
    kv_meta: TokenMetadata,
    dq: jax.Array,
    *,
    scale: float,
    window: int | None,
    q_block: int,
    kv_block: int,
) -> tuple[jax.Array, jax.Array]:
    """Gradients of one call, its tiles recomputed from the final ``lse`` of the whole row.

    Args:
      delta: ``sum(dout * out, -1)`` (FlashAttention-2, eq. of dS).
      dq: ``[B, H, Sq, D] float32``, the sum so far, updated in place; the caller multiplies it by ``scale`` at the end.

    Returns:
      ``(dq, dkv [2, B, G, Skv, D] float32)``.
    """
    B, H, G = *q.shape[:2], kv.shape[2]
    codes, count = _schedule(q_meta, kv_meta, q_block, kv_block, window)
    grouped = lambda x: x.reshape(B, G, H // G, *x.shape[2:])  # noqa: E731
    # A row that saw nothing has no finite lse; any finite one makes its weights exactly 0.
    q_rows = tuple(map(grouped, (q, dout, jnp.where(lse == MASKED, 0.0, lse), delta)))

    def tile(t, sums):
        dq, dkv = sums
        i, j = row_of(codes[t]), column_of(codes[t])
        k, v = _cut(kv, j, kv_block, 3)
        metadata = (
            TokenMetadata(*(_cut(x, i, q_block, 1) for x in q_meta)),
            TokenMetadata(*(_cut(x, j, kv_block, 1) for x in kv_meta)),
        )
        q, dout, lse, delta = (_cut(x, i, q_block, 3) for x in q_rows)
        weights = jnp.exp(_scores(q, k, *metadata, scale, window) - lse[..., None])
        dweights = jnp.einsum("bgrqd,bgkd->bgrqk", dout, v, preferred_element_type=jnp.float32)
        dscores = (weights * (dweights - delta[..., None])).astype(q.dtype)
        dq_tile = jnp.einsum("bgrqk,bgkd->bgrqd", dscores, k, preferred_element_type=jnp.float32)
        dk = jnp.einsum("bgrqk,bgrqd->bgkd", dscores, q, preferred_element_type=jnp.float32) * scale
        dv = jnp.einsum("bgrqk,bgrqd->bgkd", weights.astype(dout.dtype), dout, preferred_element_type=jnp.float32)
        return (
            _put(dq, _cut(dq, i, q_block, 3) + dq_tile, i, q_block, 3),
            _put(dkv, _cut(dkv, j, kv_block, 3) + jnp.stack([dk, dv]), j, kv_block, 3),
        )

    dq, dkv = jax.lax.fori_loop(0, count, tile, (grouped(dq), jnp.zeros(kv.shape, jnp.float32)))
    return dq.reshape(q.shape), dkv


@dataclass(frozen=True)
class XlaHops:
    """The hops of one call: what ``ring`` asks of an attention backend.

    Attributes:
      scale: multiplies the scores. window: sliding window in tokens, or None. block: both lengths are multiples of it.
    """

    scale: float
    window: int | None
    block: int

    token_axis = 3  # of the tokens in the gradient of keys and values as ``backward`` gives it

    @property
    def _options(self) -> dict[str, Any]:
        return {"scale": self.scale, "window": self.window, "q_block": self.block, "kv_block": self.block}

    def take(self, state: SoftmaxState) -> SoftmaxState:
        """``state`` as ``forward`` wants it."""
        return state

    def finish(self, state: SoftmaxState, dtype: Any) -> tuple[jax.Array, jax.Array]:
        """``attention.finish`` of a state that ``forward`` gave."""
        return finish(state, dtype)

    def queries(self, q: jax.Array) -> jax.Array:
        """``q`` as ``forward`` wants it, made once for all hops."""
        return q

    def forward(
        self, q: jax.Array, kv: jax.Array, q_meta: TokenMetadata, kv_meta: TokenMetadata, state: SoftmaxState
    ) -> SoftmaxState:
        """Adds the keys to the state of the queries, in place."""
        return forward(q, kv, q_meta, kv_meta, state, **self._options)

    def prepare(self, q: jax.Array, dout: jax.Array, lse: jax.Array, delta: jax.Array) -> Any:
        """What ``backward`` wants of the queries, made once for all hops; arguments as in ``backward`` above."""
        return q, dout, lse, delta

    def dq(self, dq: jax.Array) -> jax.Array:
        """``[B, H, S, D]`` to what ``backward`` adds to, or back."""
        return dq

    def dkv(self, dkv: jax.Array) -> jax.Array:
        """What ``backward`` gave, as ``[2, B, G, S, D]``."""
        return dkv

    def backward(
        self, prepared: Any, kv: jax.Array, q_meta: TokenMetadata, kv_meta: TokenMetadata, dq: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Adds to ``dq`` in place and returns it with the gradients of the keys and values."""
        q, dout, lse, delta = prepared
        return backward(q, kv, dout, lse, delta, q_meta, kv_meta, dq, **self._options)


hops = XlaHops  # what every attention backend calls its own

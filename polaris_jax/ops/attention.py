"""Plain causal grouped-query attention on one device: the reference for every fast path.

Positions and segment ids alone decide visibility; storage order does not. Query ``i`` sees key ``j`` when both belong
to the same non-zero segment, ``positions[j] <= positions[i]`` and, with a window, ``positions[i] - positions[j] <
window``. Packed documents (positions restart, segments differ) and zigzag-permuted rows need nothing else.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike

# Large and finite: a row that sees nothing gives zeros, not NaN (also in its gradient).
MASKED = -1e30
# Far above MASKED, far below any score: masked scores weigh exactly 0 even in rows that have seen nothing yet.
NOTHING = MASKED / 2


def visible(
    q_positions: jax.Array,
    kv_positions: jax.Array,
    q_segments: jax.Array,
    kv_segments: jax.Array,
    window: int | None = None,
) -> jax.Array:
    """Visibility ``[B, Sq, Skv] bool`` from positions and segment ids, each ``[B, S*] int32`` (segment 0 = padding)."""
    i, j = q_positions[:, :, None], kv_positions[:, None, :]
    same = (q_segments[:, :, None] == kv_segments[:, None, :]) & (q_segments[:, :, None] != 0)
    mask = same & (j <= i)
    return mask if window is None else mask & (i - j < window)


def attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    q_positions: jax.Array,
    kv_positions: jax.Array,
    q_segments: jax.Array,
    kv_segments: jax.Array,
    scale: float | None = None,
    window: int | None = None,
) -> jax.Array:
    """Attention with scores and softmax in float32.

    Args:
      q: ``[B, Sq, H, D]``.
      k, v: ``[B, Skv, G, D]``; query head ``h`` reads kv head ``h // (H // G)`` (consecutive groups).
      q_positions, q_segments: ``[B, Sq] int32``; kv_positions, kv_segments: ``[B, Skv] int32``.
      scale: multiplies the scores; default ``D ** -0.5``.
      window: sliding window in tokens, or None.

    Returns:
      ``[B, Sq, H, D]`` in ``q.dtype``; rows that see no key are zero. Named ``attention_out`` for remat policies, as
      every attention here names its output itself (named again by a caller, it would be saved twice).
    """
    B, Sq, H, D = q.shape
    G = k.shape[2]
    scale = D**-0.5 if scale is None else scale
    grouped = q.reshape(B, Sq, G, H // G, D)
    scores = jnp.einsum("bqgrd,bkgd->bgrqk", grouped, k, preferred_element_type=jnp.float32) * scale
    mask = visible(q_positions, kv_positions, q_segments, kv_segments, window)[:, None, None]
    scores = jnp.where(mask, scores, MASKED)
    weights = jnp.exp(scores - scores.max(axis=-1, keepdims=True)) * mask
    weights /= jnp.maximum(weights.sum(axis=-1, keepdims=True), 1e-30)
    out = jnp.einsum("bgrqk,bkgd->bqgrd", weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
    return checkpoint_name(out.reshape(B, Sq, H, D).astype(q.dtype), "attention_out")


class SoftmaxState(NamedTuple):
    """The partial softmax that attention over parts of the keys (the hops of a ring) passes from part to part.

    Per query, the largest score so far, the sum of weights relative to it, and the weighted sum of values
    (FlashAttention-2, arXiv 2307.08691): ``denominator`` and ``out`` are relative to ``exp(running_max)``. Every
    attention backend takes this state and returns it updated in place, so nothing is merged outside.
    """

    running_max: jax.Array  # [B, H, S] float32, largest score (nats)
    denominator: jax.Array  # [B, H, S] float32
    out: jax.Array  # [B, H, S, D] float32


def empty_state(q: jax.Array) -> SoftmaxState:
    """The state of queries ``[B, H, S, D]`` that have seen no key."""
    return SoftmaxState(
        jnp.full(q.shape[:3], NOTHING, jnp.float32),
        jnp.zeros(q.shape[:3], jnp.float32),
        jnp.zeros(q.shape, jnp.float32),
    )


def finish(state: SoftmaxState, dtype: DTypeLike) -> tuple[jax.Array, jax.Array]:
    """``(out [B, H, S, D] dtype, lse [B, H, S] float32)``; queries that see no key: out 0, lse ``MASKED``."""
    seen = state.denominator > 0
    denominator = jnp.where(seen, state.denominator, 1.0)
    return (state.out / denominator[..., None]).astype(dtype), jnp.where(
        seen, state.running_max + jnp.log(denominator), MASKED
    )

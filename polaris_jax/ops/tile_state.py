"""The unfinished softmax that attention calls hand on to one another, and its completion.

Attention over keys that arrive in parts (the hops of a ring) keeps, per query, the largest score so far, the sum of
weights relative to it, and the weighted sum of values (FlashAttention-2, arXiv 2307.08691). Every executor takes this
state and returns it updated in place, so nothing is merged outside.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from polaris_jax.ops.attention import MASKED

# Far above MASKED, far below any score: masked scores weigh exactly 0 even in rows that have seen nothing yet.
NOTHING = MASKED / 2


class State(NamedTuple):
    """``total`` and ``out`` are relative to ``exp(top)``."""

    top: jax.Array  # [B, H, S] float32, largest score (nats)
    total: jax.Array  # [B, H, S] float32
    out: jax.Array  # [B, H, S, D] float32


def empty_state(q: jax.Array) -> State:
    """The state of queries ``[B, H, S, D]`` that have seen no key."""
    return State(jnp.full(q.shape[:3], NOTHING, jnp.float32), jnp.zeros(q.shape[:3], jnp.float32),
                 jnp.zeros(q.shape, jnp.float32))


def finish(state: State, dtype) -> tuple[jax.Array, jax.Array]:
    """``(out [B, H, S, D] dtype, lse [B, H, S] float32)``; queries that saw nothing: out 0, lse ``MASKED``."""
    seen = state.total > 0
    total = jnp.where(seen, state.total, 1.0)
    return (state.out / total[..., None]).astype(dtype), jnp.where(seen, state.top + jnp.log(total), MASKED)

"""What the forward and the backward TPU kernels share: layouts, the mask of a tile, limits and cost.

Per-query numbers (positions, segments, maxima, sums) are rows ``[1, block]`` in memory, one lane each: no array is
replicated over 128 lanes outside the kernels. Inside, ``as_column`` turns a row to one value per sublane.
"""

import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from polaris_jax.ops.tiles import Side, column_of, kind_of, row_of

LANES = 128
LOG2E = math.log2(math.e)
LN2 = math.log(2.0)

# Of 64 MiB (v5p, tpu7x) or 128 MiB (v6e) of vector memory; the compiler's default is 16 or 32.
VMEM_LIMIT = 56 * 2**20


def as_column(row: jax.Array) -> jax.Array:
    """``[1, n] → [n, 128]``, every lane the same."""
    return jnp.broadcast_to(row, (LANES, row.shape[1])).T


def across(column: jax.Array, lanes: int) -> jax.Array:
    """``[n, 128]`` with equal lanes → ``[n, lanes]``."""
    return column[:, :lanes] if lanes <= LANES else jnp.tile(column, (1, lanes // LANES))


def sees(q_position, q_segment, kv_position, kv_segment, window: int | None):
    """Visibility of broadcast positions and segments; padding queries have segment -1, padding keys 0."""
    mask = (q_segment == kv_segment) & (kv_position <= q_position)
    return mask if window is None else mask & (q_position - kv_position < window)


def packed_sides(q_side: Side, kv_side: Side) -> tuple[jax.Array, jax.Array]:
    """``[B, 2, S] int32`` each (positions, segments), so that one comparison of segments is enough."""
    q_segments = jnp.where(q_side.segments == 0, -1, q_side.segments)
    return jnp.stack([q_side.positions, q_segments], axis=1), jnp.stack(kv_side, axis=1)


class Walk:
    """Reads the prefetched schedule ``codes [B * capacity]`` of batch row ``b`` inside a kernel or an index map."""

    def __init__(self, codes, b, capacity: int):
        self.codes, self.start, self.capacity = codes, b * capacity, capacity

    def code(self, t):
        return self.codes[self.start + jnp.clip(t, 0, self.capacity - 1)]

    def row(self, t):
        return row_of(self.code(t))

    def column(self, t):
        return column_of(self.code(t))

    def kind(self, t):
        return kind_of(self.code(t))

    def first(self, t):
        """Whether tile ``t`` is the first of its row."""
        return (t == 0) | (self.row(t) != self.row(t - 1))

    def last(self, t, count):
        return (t == count - 1) | (self.row(t) != self.row(t + 1))


def cost(q: jax.Array, kv: jax.Array, *, matmuls: int, window: int | None, q_block: int, kv_block: int, tiles: int,
         tile_bytes: int) -> pl.CostEstimate:
    """What XLA should assume of a call, so that transfers are scheduled beside it.

    Half of the tiles are visible at every hop of a balanced causal ring, less within a window. ``tiles`` is how many of
    a batch row's are in the schedule, visible or not.
    """
    B, H, Sq, D = q.shape
    Skv = kv.shape[3]
    scores = B * H * Sq * (Skv // 2 if window is None else min(window, Skv // 2))
    scores = scores * tiles // ((Sq // q_block) * (Skv // kv_block))
    return pl.CostEstimate(flops=2 * matmuls * D * scores, transcendentals=scores,
                           bytes_accessed=tile_bytes * scores // (q_block * kv_block) + q.nbytes + kv.nbytes)

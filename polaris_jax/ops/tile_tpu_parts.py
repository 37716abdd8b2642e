"""What the forward and the backward TPU kernels share: layouts, the mask of a tile, limits and cost.

Per-query numbers (positions, segments, maxima, sums) are rows ``[1, block]`` in memory, one lane each: no array is
replicated over 128 lanes outside the kernels. Inside, ``as_column`` turns a row to one value per sublane.
"""

import functools
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from polaris_jax.ops.attention import MASKED
from polaris_jax.ops.tiles import CAUSAL, EDGE, FULL, MASKED_TILE, TokenMetadata, column_of, kind_of, row_of

LANES = 128
LOG2E = math.log2(math.e)
LN2 = math.log(2.0)

# Of 64 MiB (v5p, tpu7x) or 128 MiB (v6e) of vector memory; the compiler's default is 16 or 32.
VMEM_LIMIT = 56 * 2**20


def compiler_params(*semantics: Literal["parallel", "arbitrary"]) -> pltpu.CompilerParams:
    """Of a kernel with such grid axes.

    The compiler checks the bounds of every transfer by 20-25 scalar bundles, one after the other; a forward tile spends
    180 of them so (2 %), whose blocks come from ``Walk`` alone. In tests the TPU interpreter checks the same bounds.
    """
    return pltpu.CompilerParams(dimension_semantics=semantics, vmem_limit_bytes=VMEM_LIMIT, disable_bounds_checks=True)


def as_column(row: jax.Array) -> jax.Array:
    """``[1, n] → [n, 128]``, every lane the same."""
    return jnp.broadcast_to(row, (LANES, row.shape[1])).T


def across(column: jax.Array, lanes: int) -> jax.Array:
    """``[n, 128]`` with equal lanes → ``[n, lanes]``."""
    return column[:, :lanes] if lanes <= LANES else jnp.tile(column, (1, lanes // LANES))


def comparisons(
    kind: int,
    query: Callable[..., jax.Array],
    key: Callable[..., jax.Array],
    window: int | None,
) -> list[jax.Array]:
    """What must all be true where a query sees a key, within a tile of this kind: as few as the kind needs.

    Args:
      query, key: ``query(row, shift=0)`` gives the positions (row 0) or segments (row 1) plus ``shift`` as an array
        that broadcasts to the scores. Padding queries have segment -1, padding keys 0.
    """
    found = []
    if kind == MASKED_TILE:
        found.append(query(1) == key(1))
    if kind in (CAUSAL, MASKED_TILE):
        found.append(key(0) <= query(0))
    if window is not None and kind in (EDGE, MASKED_TILE):
        found.append(key(0) > query(0, -window))
    return found


def hide(scores: jax.Array, seen: list[jax.Array]) -> jax.Array:
    """``scores`` where all comparisons are true, else ``MASKED``."""
    return jnp.where(functools.reduce(operator.and_, seen), scores, MASKED) if seen else scores


def masked_kinds(window: int | None) -> tuple[int, ...]:
    """The kinds of tiles that need a mask."""
    return (CAUSAL, MASKED_TILE) if window is None else (CAUSAL, EDGE, MASKED_TILE)


def for_each_kind(kind: jax.Array, window: int | None, compute: Callable[[int], None]) -> None:
    """Runs ``compute(kind)``, which is told the kind when it is traced; skipped tiles run nothing."""
    for one in (FULL, *masked_kinds(window)):
        pl.when(kind == one)(functools.partial(compute, one))


def part_of(length: int, most: int) -> int:
    """The largest divisor of ``length`` that is a multiple of 128 and at most ``most``; both are multiples of 128."""
    return max(n for n in range(LANES, min(length, most) + 1, LANES) if length % n == 0)


def packed_metadata(q_meta: TokenMetadata, kv_meta: TokenMetadata) -> tuple[jax.Array, jax.Array]:
    """``[B, 2, S] int32`` each (positions, segments), so that one comparison of segments is enough."""
    q_segments = jnp.where(q_meta.segments == 0, -1, q_meta.segments)
    return jnp.stack([q_meta.positions, q_segments], axis=1), jnp.stack(kv_meta, axis=1)


def row_of_list(n: Any, rows: int) -> Any:
    """The row of the batch that schedule ``n`` is for, without a division where there is one row."""
    return 0 if rows == 1 else jax.lax.rem(n, rows)


def key_head_of(head: Any, group: int) -> Any:
    """``head // group``, by a shift where that does it."""
    if group & (group - 1) == 0:
        return head >> (group.bit_length() - 1)
    return jax.lax.div(head, group)


# Codes before and after each list, so that neighbours are read without a check of the bounds.
MARGIN = 2


class Walk:
    """Reads the prefetched schedule of list ``n`` inside a kernel or an index map.

    ``codes [lists * (capacity + 2 * MARGIN)]`` as ``flat_codes`` makes them; tiles from ``-MARGIN`` to the capacity
    plus ``MARGIN`` may be asked for, those outside the list mean nothing.
    """

    def __init__(self, codes: Any, n: Any, capacity: int):
        self.codes, self.start = codes, n * (capacity + 2 * MARGIN) + MARGIN

    def code(self, t: Any) -> jax.Array:
        return self.codes[self.start + t]

    def row(self, t: Any) -> jax.Array:
        return row_of(self.code(t))

    def column(self, t: Any) -> jax.Array:
        return column_of(self.code(t))

    def kind(self, t: Any) -> jax.Array:
        return kind_of(self.code(t))

    def first(self, t: Any) -> jax.Array:
        """Whether tile ``t`` is the first of its row."""
        return (t == 0) | (self.row(t) != self.row(t - 1))

    def last(self, t: Any, count: Any) -> jax.Array:
        return (t == count - 1) | (self.row(t) != self.row(t + 1))


def flat_codes(codes: jax.Array) -> jax.Array:
    """``[lists, capacity]`` to one row with margins, as ``Walk`` reads it."""
    return jnp.pad(codes, ((0, 0), (MARGIN, MARGIN))).reshape(-1)


def cost(
    q: jax.Array,
    kv: jax.Array,
    *,
    matmuls: int,
    window: int | None,
    q_block: int,
    kv_block: int,
    tiles: int,
    tile_bytes: int,
) -> pl.CostEstimate:
    """What XLA should assume of a call, so that transfers are scheduled beside it.

    Half of the tiles are visible at every hop of a balanced causal ring, less within a window. ``tiles`` is how many of
    a batch row's are in the schedule, visible or not.
    """
    B, H, Sq, D = q.shape
    Skv = kv.shape[3]
    scores = B * H * Sq * (Skv // 2 if window is None else min(window, Skv // 2))
    scores = scores * tiles // ((Sq // q_block) * (Skv // kv_block))
    return pl.CostEstimate(
        flops=2 * matmuls * D * scores,
        transcendentals=scores,
        bytes_accessed=tile_bytes * scores // (q_block * kv_block) + q.nbytes + kv.nbytes,
    )


@dataclass(frozen=True)
class Units:
    """How a tile is cut: ``trips`` of a loop, each over ``steps`` key steps times all parts of the query block.

    Attributes:
      keys, queries: tokens of a unit. steps: key steps of a trip. parts: query parts. trips: of the loop.
    """

    keys: int
    queries: int
    steps: int
    parts: int
    trips: int

    def places(self, trip: Any) -> list[tuple[Any, Any]]:
        """``(keys, queries)`` of the units of a trip, as slices of the blocks."""
        first = pl.multiple_of(trip * (self.keys * self.steps), self.keys * self.steps)
        return [
            (pl.ds(first + step * self.keys, self.keys), pl.ds(part * self.queries, self.queries))
            for step in range(self.steps)
            for part in range(self.parts)
        ]


def units_of(q_block: int, kv_block: int, *, keys: int = 512, queries: int = 512, steps: int = 1) -> Units:
    """Units of at most so many keys and queries, ``steps`` key steps in a trip where the block has as many."""
    keys, queries = part_of(kv_block, keys), part_of(q_block, queries)
    count = kv_block // keys
    steps = max(n for n in range(1, steps + 1) if count % n == 0)
    return Units(keys, queries, steps, q_block // queries, count // steps)

"""Which tiles of an attention matrix hold work: the block schedule that every attention backend follows.

The queries and the keys of a call are cut in blocks, and a *tile* is one query block against one key block. Whether a
tile can be skipped, can be computed without a mask, or needs its mask follows from a few numbers per block, so the
schedule of any layout (zigzag or contiguous shards, packed documents, sliding windows, padding) is computed at run
time from positions and segment ids, in memory ``(S / block)²`` integers and never larger than that.

    skip     no query of the tile sees a key of it
    full     every query sees every key
    causal   one document, within the window: a key is seen unless it comes later (the diagonal)
    edge     one document, all keys earlier: a key is seen unless it lies a window or more before (the window's edge)
    masked   the rest: document boundaries, padding, and tiles that the diagonal and the window's edge both cross

The kinds with one comparison are for the kernels. A loop may mask them like the rest.

The loop (``tile_xla``) and the kernels (``tile_tpu_*``) go through the list of the remaining tiles.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

SKIP, FULL, CAUSAL, EDGE, MASKED_TILE = range(5)
KINDS = ("skip", "full", "causal", "edge", "masked")

# A tile is one int32: row in the high bits, column, kind. Rows < 2¹⁴, columns < 2¹⁴.
ROW_SHIFT, COLUMN_SHIFT = 17, 3
_END = 2**31 - 1


class TokenMetadata(NamedTuple):
    """Positions and segment ids of the queries or of the keys, each ``[B, S] int32`` (segment 0 = padding)."""

    positions: jax.Array
    segments: jax.Array


class Blocks(NamedTuple):
    """What one block of tokens spans, each ``[B, n] int32``: its first and last token in (segment, position) order.

    A block of padding alone spans nothing: its first segment is larger than its last.
    """

    first_segment: jax.Array
    first_position: jax.Array
    last_segment: jax.Array
    last_position: jax.Array
    whole: jax.Array  # bool: one segment, no padding


class Tiles(NamedTuple):
    """The tiles to walk over, row by row; ``used`` of them hold for every batch row, the rest repeat the last."""

    codes: jax.Array  # [B, rows * columns] int32
    used: jax.Array  # [] int32, at least 1


def padded_length(length: int, target: int, unit: int) -> tuple[int, int]:
    """``(block, padded length)``: equal blocks of about ``target`` tokens, multiples of ``unit``."""
    blocks = -(-length // max(target, unit))
    block = -(-length // (blocks * unit)) * unit
    return block, block * blocks


def summarise(metadata: TokenMetadata, block: int) -> Blocks:
    """Spans of the consecutive blocks of ``block`` tokens."""
    positions, segments = (x.reshape(x.shape[0], -1, block) for x in metadata)
    real = segments != 0
    first = jnp.where(real, segments, _END).min(axis=-1)
    last = segments.max(axis=-1)
    return Blocks(
        first,
        jnp.where(segments == first[..., None], positions, _END).min(axis=-1),
        last,
        jnp.where(segments == last[..., None], positions, -1).max(axis=-1),
        (first == last) & real.all(axis=-1),
    )


def tile_kinds(queries: Blocks, keys: Blocks, window: int | None) -> jax.Array:
    """``[B, query blocks, key blocks] int32`` of ``SKIP``, ``FULL``, ``CAUSAL``, ``EDGE`` or ``MASKED_TILE``.

    A query sees a key of its own segment at its own or an earlier position. Hence a tile is skipped when the segment
    ranges are disjoint, when its first key comes after its last query, or when its last key lies a window or more
    before its first query. These are bounds: a tile that could be skipped may be called masked, never the reverse.
    """
    q = Blocks(*(x[:, :, None] for x in queries))
    k = Blocks(*(x[:, None, :] for x in keys))
    meets = (q.first_segment <= k.last_segment) & (k.first_segment <= q.last_segment)
    earlier = (k.first_segment < q.last_segment) | (
        (k.first_segment == q.last_segment) & (k.first_position <= q.last_position)
    )
    seen = meets & earlier
    one_document = q.whole & k.whole & (q.first_segment == k.first_segment)
    all_earlier, all_within = k.last_position <= q.first_position, jnp.bool_(True)
    if window is not None:
        seen &= (k.last_segment > q.first_segment) | (q.first_position - k.last_position < window)
        all_within = q.last_position - k.first_position < window
    kind = jnp.where(
        one_document & all_earlier & all_within,
        FULL,
        jnp.where(one_document & all_within, CAUSAL, jnp.where(one_document & all_earlier, EDGE, MASKED_TILE)),
    )
    return jnp.where(seen, kind, SKIP).astype(jnp.int32)


def tile_list(
    kinds: jax.Array,
    *,
    every_row: bool,
    first_row: jax.Array | int = 0,
    row_step: int = 1,
    first_column: int = 0,
    column_step: int = 1,
) -> Tiles:
    """The tiles of ``kinds [B, rows, columns]`` that are not skipped, in row order.

    Args:
      every_row: keep one (skipped) tile in a row that has none, for backends that must write every row.
      first_row, row_step, first_column, column_step: the numbers of the rows and columns of ``kinds``.
    """
    B, rows, columns = kinds.shape
    row = first_row + row_step * jnp.arange(rows, dtype=jnp.int32)[:, None]
    column = jnp.arange(columns, dtype=jnp.int32)
    keep = kinds != SKIP
    if every_row:
        keep |= (column == 0) & ~keep.any(axis=-1, keepdims=True)
    column = first_column + column_step * column
    codes = jnp.where(keep, row << ROW_SHIFT | column << COLUMN_SHIFT | kinds, _END).reshape(B, -1)
    codes = jax.lax.sort(codes, is_stable=False)
    counts = (codes != _END).sum(axis=-1, dtype=jnp.int32)
    last = jnp.take_along_axis(codes, jnp.maximum(counts - 1, 0)[:, None], axis=-1)
    kind_bits = (1 << COLUMN_SHIFT) - 1
    nothing = jnp.where(counts[:, None] > 0, last & ~kind_bits, first_row << ROW_SHIFT | first_column << COLUMN_SHIFT)
    return Tiles(jnp.where(codes == _END, nothing, codes), jnp.maximum(counts.max(), 1))


def row_of(code: jax.Array) -> jax.Array:
    return code >> ROW_SHIFT


def column_of(code: jax.Array) -> jax.Array:
    return (code >> COLUMN_SHIFT) & ((1 << (ROW_SHIFT - COLUMN_SHIFT)) - 1)


def kind_of(code: jax.Array) -> jax.Array:
    return code & ((1 << COLUMN_SHIFT) - 1)

"""What both TPU kernels of the gated delta rule are made of: products, a chunk's masks and key heads, the inverse.

Products take bfloat16 and add up in float32. Keys and queries enter them as they come: they are exact in bfloat16,
their lengths are not. So lengths are factors of rows and columns of what a product gives, in float32.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

LOG2E = math.log2(math.e)
VMEM_LIMIT = 56 * 2**20  # of 64 MiB (v5p, tpu7x) or 128 MiB (v5e, v6e); the compiler's default is 16 or 32
EPSILON = 1e-6  # added to squared lengths, as in ``delta_rule``
COLUMNS = 4  # numbers per token and head that the kernels read, see ``Columns``

_NN = (((1,), (0,)), ((), ()))
_NT = (((1,), (1,)), ((), ()))
_TN = (((0,), (0,)), ((), ()))


@dataclass(frozen=True)
class Shape:
    """Static sizes of a call.

    Attributes:
      chunk: tokens of a chunk. chunks: in a row.
      keys: key heads of a grid step. group: value heads to a key head.
      key_dim, value_dim: of a head, multiples of 128.
    """

    chunk: int
    chunks: int
    keys: int
    group: int
    key_dim: int
    value_dim: int

    @property
    def values(self) -> int:
        """Value heads of a grid step."""
        return self.keys * self.group

    def key(self, n: int) -> slice:
        return slice(n * self.key_dim, (n + 1) * self.key_dim)

    def value(self, h: int) -> slice:
        return slice(h * self.value_dim, (h + 1) * self.value_dim)

    def heads(self, n: int) -> range:
        """Value heads that read key head ``n``."""
        return range(n * self.group, (n + 1) * self.group)


@dataclass(frozen=True)
class StepBlocks:
    """What a grid step ``(row, heads, chunk)`` reads and writes of each array, forward and backward alike.

    Attributes:
      shape: of the call.
      backward: chunks are walked from the last to the first.
    """

    shape: Shape
    backward: bool = False

    def _chunk(self, i):
        return self.shape.chunks - 1 - i if self.backward else i

    @property
    def _memory(self) -> tuple[int, int, int]:
        return self.shape.keys, self.shape.key_dim, self.shape.group * self.shape.value_dim

    @property
    def key(self) -> pl.BlockSpec:
        """Of ``[B, S, N dk]``."""
        width = self.shape.keys * self.shape.key_dim
        return pl.BlockSpec((1, self.shape.chunk, width), lambda b, g, i: (b, self._chunk(i), g))

    @property
    def value(self) -> pl.BlockSpec:
        """Of ``[B, S, N R dv]``."""
        width = self.shape.values * self.shape.value_dim
        return pl.BlockSpec((1, self.shape.chunk, width), lambda b, g, i: (b, self._chunk(i), g))

    @property
    def memory(self) -> pl.BlockSpec:
        """Of ``[B, N, dk, R dv]``, the same for all chunks."""
        return pl.BlockSpec((1, *self._memory), lambda b, g, i: (b, g, 0, 0))

    @property
    def kept_memory(self) -> pl.BlockSpec:
        """Of ``[B, chunks, N, dk, R dv]``."""
        return pl.BlockSpec((1, 1, *self._memory), lambda b, g, i: (b, self._chunk(i), g, 0, 0))

    @property
    def kept_inverse(self) -> pl.BlockSpec:
        """Of ``[B, chunks, N R, C, C]``."""
        size = (1, 1, self.shape.values, self.shape.chunk, self.shape.chunk)
        return pl.BlockSpec(size, lambda b, g, i: (b, self._chunk(i), g, 0, 0))

    def column(self, count: int) -> pl.BlockSpec:
        """Of ``[B, N / keys, S, count]``."""
        return pl.BlockSpec((1, 1, self.shape.chunk, count), lambda b, g, i: (b, g, self._chunk(i), 0))

    def row(self, count: int) -> pl.BlockSpec:
        """Of ``[B, N / keys, chunks, count, C]``."""
        return pl.BlockSpec((1, 1, 1, count, self.shape.chunk), lambda b, g, i: (b, g, self._chunk(i), 0, 0))

    def inputs(self, columns: jax.Array, rows: jax.Array) -> list[pl.BlockSpec]:
        """Of queries, keys, values and these numbers, which both kernels read first."""
        return [self.key, self.key, self.value, self.column(columns.shape[3]), self.row(rows.shape[3])]

    @property
    def scratch(self) -> list:
        """The memories, in VMEM."""
        return [pltpu.VMEM(self._memory, jnp.float32)]


# Rows and heads may be dealt to two cores; chunks follow one another.
COMPILER_PARAMS = pltpu.CompilerParams(
    dimension_semantics=("parallel", "parallel", "arbitrary"), vmem_limit_bytes=VMEM_LIMIT
)


def dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """``a b``: bfloat16 products, float32 sums."""
    return _dot(a, b, _NN)


def dot_nt(a: jax.Array, b: jax.Array) -> jax.Array:
    """``a bᵀ``."""
    return _dot(a, b, _NT)


def dot_tn(a: jax.Array, b: jax.Array) -> jax.Array:
    """``aᵀ b``."""
    return _dot(a, b, _TN)


def _dot(a, b, dims):
    a, b = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
    return jax.lax.dot_general(a, b, dims, preferred_element_type=jnp.float32)


def row_sums(x: jax.Array) -> jax.Array:
    """``[n, m] → [n, 1]``."""
    return jnp.sum(x, axis=1, keepdims=True)


class Masks(NamedTuple):
    """Which tokens of a chunk a token reads: ``[C, C] bool``; rows read columns, all of one document."""

    upto: jax.Array
    before: jax.Array
    itself: jax.Array


def masks(document: jax.Array, document_row: jax.Array) -> Masks:
    """From the numbers of the tokens' documents, ``[C, 1]`` and ``[1, C]``."""
    C = document.shape[0]
    i, j = (jax.lax.broadcasted_iota(jnp.int32, (C, C), axis) for axis in (0, 1))
    same = document == document_row
    return Masks(same & (i >= j), same & (i > j), i == j)


class Columns:
    """What is known of every token and value head before the kernel: ``[C, 1]`` each, of ``[C, 4 heads + 1]``.

    ``decay``: log2 of the decay from the chunk's start through the token; ``beta``; ``enter``: the decay itself, 0
    where the memory before the chunk is another document's; ``leave``: the decay from the token to the chunk's end, 0
    where another document starts between; ``document``: counts changes of document in the chunk.
    """

    def __init__(self, block: jax.Array, heads: int):
        self._block, self._heads = block, heads

    def _column(self, kind: int, h: int) -> jax.Array:
        at = kind * self._heads + h
        return self._block[:, at : at + 1]

    def decay(self, h: int) -> jax.Array:
        return self._column(0, h)

    def beta(self, h: int) -> jax.Array:
        return self._column(1, h)

    def enter(self, h: int) -> jax.Array:
        return self._column(2, h)

    def leave(self, h: int) -> jax.Array:
        return self._column(3, h)

    @property
    def document(self) -> jax.Array:
        return self._column(COLUMNS, 0)


class KeyHead(NamedTuple):
    """A key head of a chunk: both stacked, their overlaps and the inverse lengths.

    Attributes:
      both: queries over keys, ``[2C, dk] bfloat16``.
      scores: of unit queries and keys over ``sqrt(dk)``; overlap: of unit keys; ``[C, C] float32``.
      q_scale, k_scale: ``[C, 1]``, what makes queries and keys those; k_row: the same as ``[1, C]``.
    """

    both: jax.Array
    scores: jax.Array
    overlap: jax.Array
    q_scale: jax.Array
    k_scale: jax.Array
    k_row: jax.Array


def key_head(q: jax.Array, k: jax.Array, itself: jax.Array) -> KeyHead:
    """Of ``q, k [C, dk] bfloat16``."""
    C, dk = k.shape
    both = jnp.concatenate([q, k], axis=0)
    products = dot_nt(both, k)
    squares = jnp.where(itself, products[C:], 0.0)  # the diagonal has the squared lengths, for rows and for columns
    k_scale = jax.lax.rsqrt(row_sums(squares) + EPSILON)
    k_row = jax.lax.rsqrt(jnp.sum(squares, axis=0, keepdims=True) + EPSILON)
    wide = q.astype(jnp.float32)
    q_scale = jax.lax.rsqrt(row_sums(wide * wide) + EPSILON) * dk**-0.5
    return KeyHead(both, products[:C] * (q_scale * k_row), products[C:] * (k_scale * k_row), q_scale, k_scale, k_row)


def decays(column: jax.Array, row: jax.Array, upto: jax.Array) -> jax.Array:
    """From token to token of a chunk, 0 where nothing is read: ``[C, C]``."""
    # Masked before the exponential: above the diagonal the difference is positive and would overflow.
    return jnp.exp2(jnp.where(upto, column - row, -jnp.inf))


def inverses(systems: list[jax.Array]) -> list[jax.Array]:
    """``(I - X)⁻¹`` of strictly lower triangular ``X [C, C] float32``, ``C`` a power of two at least 16; by halves.

    With the inverses ``T`` of the diagonal blocks of some size, those of twice the size are ``T + T X' T``, where
    ``X'`` is what lies between two neighbours. Unlike ``(I + X)(I + X²)(I + X⁴)…`` nothing grows on the way, so that
    bfloat16 products are enough. Where blocks fill whole tiles, only the lower rows of each pair are computed.
    """
    C = systems[0].shape[0]
    i, j = (jax.lax.broadcasted_iota(jnp.int32, (C, C), axis) for axis in (0, 1))
    shift = lambda x, size: jax.lax.shift_right_logical(x, size.bit_length() - 1)  # noqa: E731
    between = lambda size: (shift(i, 2 * size) == shift(j, 2 * size)) & (shift(i, size) != shift(j, size))  # noqa: E731
    found = [(i == j).astype(jnp.float32) + jnp.where(between(1), x, 0.0) for x in systems]
    size = 2
    while size < C:
        near = between(size)
        if size < 8:
            steps = [dot(jnp.where(near, x, 0.0), t) for x, t in zip(systems, found, strict=True)]
            found = [t + dot(t, step) for t, step in zip(found, steps, strict=True)]
        else:
            steps = [dot(_lower(jnp.where(near, x, 0.0), size), t) for x, t in zip(systems, found, strict=True)]
            found = [
                _spread(t, _lower(t, size) + dot(_lower(t, size), _spread(None, step, size)), size)
                for t, step in zip(found, steps, strict=True)
            ]
        size *= 2
    return found


def _lower(x: jax.Array, size: int) -> jax.Array:
    """The lower rows of each pair of blocks: ``[C, n] → [C / 2, n]``."""
    return jnp.concatenate([x[at : at + size] for at in range(size, x.shape[0], 2 * size)], axis=0)


def _spread(x: Any, lower: jax.Array, size: int) -> jax.Array:
    """``x [C, n]`` (None: zeros) with ``lower [C / 2, n]`` in place of the lower rows of each pair."""
    parts = []
    for at in range(0, lower.shape[0], size):
        part = lower[at : at + size]
        parts += [jnp.zeros_like(part) if x is None else x[2 * at : 2 * at + size], part]
    return jnp.concatenate(parts, axis=0)

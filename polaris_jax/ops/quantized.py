"""Weights in 8 or 4 bits that stay as they are: products with them, and how their numbers are chosen.

A weight ``[in, out]`` is cut along ``in`` in blocks of ``block`` numbers with a float32 scale each. ``int8``: whole
numbers from -127 to 127. ``nf4``: the sixteen levels of QLoRA's NormalFloat (arXiv 2305.14314, appendix E), two to a
byte: byte ``j`` of a block holds row ``j`` in its low half and row ``j + block / 2`` in its high half, so that a slice
of whole blocks can be read alone.

A product makes the weight's numbers in the dtype of the activations, uses them and drops them, in either pass; what is
kept for the backward pass is the quantised form. With one block, a scale per column, the scale leaves the sum: a TPU
then reads the codes alone, and turns them into numbers inside the product. On a CPU a product is a library call whose
operands lie in memory, and the compiler would make those of all layers first; so without gradients a CPU goes through a
weight piece by piece, each small enough for its cache.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

BLOCK = 64
# Of a weight's numbers in float32 that a CPU makes at a time: about half of what its second cache holds.
PIECE_BYTES = 1 << 20
# QLoRA's table: quantiles of a normal distribution, scaled to [-1, 1], with an exact zero.
NF4_LEVELS = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Quantized:
    """One weight, or a stack of them.

    Attributes:
      values: ``[..., in, out] int8``, or ``[..., in / 2, out] uint8`` for nf4.
      scales: ``[..., in / block, out] float32``.
    """

    values: jax.Array
    scales: jax.Array


def block_of(width: int, most: int = BLOCK) -> int:
    """The largest power of two that divides ``width``, at most ``most``."""
    return min(width & -width, most)


def dequantize(weight: Quantized, dtype: DTypeLike) -> jax.Array:
    """The numbers that ``weight [in, out]`` stands for, made in float32 and rounded to ``dtype``."""
    blocks, out = weight.scales.shape
    stored = weight.values.reshape(blocks, -1, out)

    def scaled(numbers: jax.Array) -> jax.Array:
        return (numbers * weight.scales[:, None]).astype(dtype)

    if weight.values.dtype == jnp.uint8:
        # In whole numbers of 32 bits: what a TPU's vector unit compares. Each half is rounded before both are joined:
        # the compiler keeps what it joins, and that is then half as wide.
        codes = stored.astype(jnp.int32)
        halves = [scaled(_nf4_level(half)) for half in (codes & 15, codes >> 4)]
        return jnp.concatenate(halves, axis=1).reshape(-1, out)
    return scaled(stored.astype(jnp.float32)).reshape(-1, out)


def _nf4_level(codes: jax.Array) -> jax.Array:
    """The level of every code by four rounds of choices, bit by bit: a table would be a gather of single numbers."""
    levels = [jnp.float32(level) for level in NF4_LEVELS]
    for bit in range(4):
        chosen = (codes >> bit) & 1 == 1
        levels = [jnp.where(chosen, high, low) for low, high in zip(levels[::2], levels[1::2], strict=True)]
    return levels[0]


@jax.custom_vjp
def quantized_linear(x: jax.Array, weight: Quantized) -> jax.Array:
    """``x [..., in] @ weight [in, out]`` in ``x.dtype``; the weight has no gradient."""
    return jax.lax.platform_dependent(x, weight, cpu=linear_in_pieces, default=_linear_at_once)


def _linear_at_once(x: jax.Array, weight: Quantized) -> jax.Array:
    if _by_column(weight):
        return (_float32_product(x, weight.values.astype(x.dtype)) * weight.scales[0]).astype(x.dtype)
    return x @ dequantize(weight, x.dtype)


def linear_in_pieces(x: jax.Array, weight: Quantized) -> jax.Array:
    """``quantized_linear``, at most about ``PIECE_BYTES`` of the weight's numbers at a time; sums are float32.

    There are at least two pieces: a loop of one would be none, and nothing would say when its numbers are made.
    """
    blocks, out = weight.scales.shape
    width, by_column = x.shape[-1], _by_column(weight)
    parts = width if by_column else blocks  # that pieces are made of
    counts = [n for n in range(1, parts + 1) if parts % n == 0 and (n > 1 or parts == 1)]
    count = next((n for n in counts if 4 * out * (width // n) <= PIECE_BYTES), parts)

    def add(total: jax.Array, piece: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        part, values, scales = piece
        numbers = values.astype(x.dtype) if by_column else dequantize(Quantized(values, scales), x.dtype)
        return total + _float32_product(part, numbers), None

    given = jnp.moveaxis(x.reshape(*x.shape[:-1], count, -1), -2, 0)
    values = weight.values.reshape(count, -1, out)
    scales = jnp.zeros((count, 0)) if by_column else weight.scales.reshape(count, -1, out)
    total, _ = jax.lax.scan(add, jnp.zeros((*x.shape[:-1], out), jnp.float32), (given, values, scales))
    return (total * weight.scales[0] if by_column else total).astype(x.dtype)


def _by_column(weight: Quantized) -> bool:
    """Whether the codes are numbers themselves, and one scale per column is left."""
    return weight.scales.shape[0] == 1 and weight.values.dtype == jnp.int8


def _float32_product(x: jax.Array, numbers: jax.Array) -> jax.Array:
    return jnp.matmul(x, numbers, preferred_element_type=jnp.float32)


def _backward(weight, dy):
    return dy @ dequantize(weight, dy.dtype).T, None


quantized_linear.defvjp(lambda x, weight: (_linear_at_once(x, weight), weight), _backward)


def block_scales(rows: np.ndarray, kind: str, block: int) -> np.ndarray:
    """The scales of rows of a Hugging Face matrix ``[n, in]``: ``[n, in / block] float32``.

    Args:
      kind: ``int8`` or ``nf4``. block: divides ``in``; even for ``nf4``.
    """
    largest = np.abs(rows.astype(np.float32).reshape(len(rows), -1, block)).max(axis=-1)
    return largest / np.float32(127) if kind == "int8" else largest


def quantize_rows(rows: np.ndarray, kind: str, block: int) -> np.ndarray:
    """The codes of such rows, each the level nearest to it: ``[n, in] int8`` or ``[n, in / 2] uint8``."""
    scales = block_scales(rows, kind, block)
    relative = rows.astype(np.float32).reshape(*scales.shape, block) / np.where(scales == 0, 1, scales)[..., None]
    if kind == "int8":
        return np.rint(relative).astype(np.int8).reshape(rows.shape)
    levels = np.asarray(NF4_LEVELS, np.float32)
    codes = np.searchsorted((levels[1:] + levels[:-1]) / 2, relative).astype(np.uint8)
    low, high = codes[..., : block // 2], codes[..., block // 2 :]
    return (low | high << 4).reshape(len(rows), -1)

"""Stochastic rounding of float32 to bfloat16: unbiased, so that updates below half a unit in the last place survive.

A bfloat16 is the upper half of a float32. Adding a uniform 16-bit integer to the lower half and cutting it off rounds
up with probability equal to the fraction cut off (``E[round(x)] = x``). See "Stochastic Rounding for LLM Training"
(arXiv 2502.20566).

The random bits are a hash of (key, place in the array): a dozen integer operations per number that fuse with the
update around them, so that rounding reads and writes what nearest rounding does. A generator with a state, or the
hardware's, would hand its bits over through memory, and they would depend on how the array is spread over devices.
"""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

_HALF = 0x8000  # half a unit in the last place of a bfloat16, in units of the float32 below it


def stochastic_round(key: jax.Array, x: jax.Array, dtype: DTypeLike = jnp.bfloat16) -> jax.Array:
    """Rounds ``x`` to one of its two bfloat16 neighbours, up with probability proportional to the distance.

    Exact on representable values (no bits to cut off), correct across exponent boundaries and for negative numbers
    (magnitudes are rounded, the distribution is symmetric) and subnormals. Infinities and NaN pass unchanged; a
    finite value above the largest finite bfloat16 may round to infinity, as nearest rounding does.

    The random bits depend on ``key`` and the element's index only, so the result is the same on any mesh.

    Args:
      key: PRNG key.
      x: float32 array of any shape (other floats are converted to float32 first).
      dtype: ``bfloat16`` only; kept as an argument because call sites should say it.

    Raises:
      TypeError: any other target dtype.
    """
    if jnp.dtype(dtype) != jnp.bfloat16:
        raise TypeError(f"stochastic_round targets bfloat16, not {jnp.dtype(dtype)}")
    x = x.astype(jnp.float32)
    return _cut(x, jax.lax.bitcast_convert_type(x, jnp.uint32) + _noise(key, x.shape))


def scaled_stochastic_round(key: jax.Array, x: jax.Array, scale: jax.Array) -> jax.Array:
    """Nearest rounding of ``x + scale * u * ulp(x)`` with ``u`` uniform on ``[-1/2, 1/2)``.

    The learning-rate-scaled downcast (arXiv 2605.17064; our reading of it): ``scale = lr / peak lr``. At 1 it has the
    distribution of ``stochastic_round``, at 0 it is nearest rounding, so late training is free of rounding noise.

    Args:
      x: float32 array; scale: float32 scalar in ``[0, 1]``.
    """
    x = x.astype(jnp.float32)
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    noise = _noise(key, x.shape).astype(jnp.int32) - _HALF  # [-1/2, 1/2) ulp
    noise = jnp.floor(noise.astype(jnp.float32) * scale).astype(jnp.int32)
    # Half an ulp makes the cut a rounding to nearest; without noise, ties go to the even neighbour.
    to_even = (noise == 0) & ((bits >> 16) & 1 == 0)
    return _cut(x, bits + (noise + _HALF - to_even).astype(jnp.uint32))


def _cut(x: jax.Array, bits: jax.Array) -> jax.Array:
    """The bfloat16 in the upper half of ``bits``; infinities and NaN of ``x`` as they are."""
    upper = jax.lax.bitcast_convert_type((bits >> 16).astype(jnp.uint16), jnp.bfloat16)
    return jnp.where(jnp.isfinite(x), upper, x.astype(jnp.bfloat16))


def _noise(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """``shape`` of uint32, uniform below 2^16: a hash of the key and the index along every axis.

    Indices are flattened modulo 2^32; the first axis is mixed in once more, so that stacks with more numbers than that
    do not repeat.
    """
    first, *more = jax.random.key_data(key)  # two words for threefry, four for rbg
    place, stride = jnp.zeros(shape, jnp.uint32), 1
    for axis in reversed(range(len(shape))):
        place += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride % 2**32)
        stride *= shape[axis]
    mixed = _mix(place ^ first)
    if stride > 2**32:
        mixed = _mix(mixed + jax.lax.broadcasted_iota(jnp.uint32, shape, 0))
    for word in more:
        mixed = _mix(mixed + word)
    return mixed >> 16


def _mix(x: jax.Array) -> jax.Array:
    """A bijection of 32-bit integers in which every input bit flips every output bit half of the time.

    Two multiplications between xor-shifts, with constants found by search (C. Wellons, "Hash prospector", 2018-).
    """
    x = (x ^ (x >> 16)) * jnp.uint32(0x21F0AAAD)
    x = (x ^ (x >> 15)) * jnp.uint32(0xD35A2D97)
    return x ^ (x >> 15)

"""Stochastic rounding of float32 to bfloat16: unbiased, so that updates below half a unit in the last place survive.

A bfloat16 is the upper half of a float32. Adding a uniform 16-bit integer to the lower half and cutting it off rounds
up with probability equal to the fraction cut off (``E[round(x)] = x``), in one pass of integer arithmetic that fuses
into the surrounding update. See "Stochastic Rounding for LLM Training" (arXiv 2502.20566).
"""

import jax
import jax.numpy as jnp


def stochastic_round(key: jax.Array, x: jax.Array, dtype=jnp.bfloat16) -> jax.Array:
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
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    noise = jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
    rounded = jax.lax.shift_right_logical(bits + noise, jnp.uint32(16)).astype(jnp.uint16)
    rounded = jax.lax.bitcast_convert_type(rounded, jnp.bfloat16)
    return jnp.where(jnp.isfinite(x), rounded, x.astype(jnp.bfloat16))


def scaled_stochastic_round(key: jax.Array, x: jax.Array, scale: jax.Array) -> jax.Array:
    """Nearest rounding of ``x + scale * u * ulp(x)`` with ``u`` uniform on ``[-1/2, 1/2)``.

    The learning-rate-scaled downcast (arXiv 2605.17064; our reading of it): ``scale = lr / peak lr``. At 1 it has the
    distribution of ``stochastic_round``, at 0 it is nearest rounding, so late training is free of rounding noise.

    Args:
      x: float32 array; scale: float32 scalar in ``[0, 1]``.
    """
    x = x.astype(jnp.float32)
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    noise = jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.int32) - 0x8000  # [-1/2, 1/2) ulp in 2^-16 steps
    noise = jnp.floor(noise.astype(jnp.float32) * scale).astype(jnp.int32)
    # Half an ulp makes the cut a rounding to nearest; at scale 0 ties go away from zero.
    moved = (bits.astype(jnp.int32) + noise + 0x8000).astype(jnp.uint32)
    rounded = jax.lax.bitcast_convert_type(jax.lax.shift_right_logical(moved, jnp.uint32(16)).astype(jnp.uint16),
                                           jnp.bfloat16)
    # Zero has no exponent to borrow from below; it is exact anyway.
    return jnp.where(jnp.isfinite(x) & (x != 0), rounded, x.astype(jnp.bfloat16))

"""Root-mean-square normalisation (Zhang & Sennrich 2019), in the two forms that released decoders use."""

import jax
import jax.numpy as jnp

from polaris_jax.ops.linear import scaled


def _unit_rms(x: jax.Array, eps: float) -> jax.Array:
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps)


def rms_norm(x: jax.Array, scale: jax.Array, eps: float) -> jax.Array:
    """``scale * x / sqrt(mean(x^2) + eps)`` over the last axis.

    Statistics and division are float32; the result is rounded to ``x.dtype`` *before* the scale is applied in that
    dtype, the order in which the released weights were trained.

    Args:
      x: ``[..., D]`` of any float dtype; scale: ``[D]``; eps: added to the mean square, inside the root.

    Returns:
      ``[..., D]`` in ``x.dtype``.
    """
    return scaled(_unit_rms(x, eps).astype(x.dtype), scale)


def zero_centred_rms_norm(x: jax.Array, scale: jax.Array, eps: float) -> jax.Array:
    """``(1 + scale) * x / sqrt(mean(x^2) + eps)``: weight decay then pulls the gain to one instead of zero (Qwen3.5).

    Everything is float32 and rounded to ``x.dtype`` last. Shapes as in ``rms_norm``.
    """
    return (_unit_rms(x, eps) * (1.0 + scale.astype(jnp.float32))).astype(x.dtype)

"""Products of activations and weights whose gradients, sums over all tokens, are accumulated in float32.

A weight's gradient is rounded once, to the weight's dtype, when the sum over this device's tokens is complete.
"""

import functools
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from polaris_jax.ops.perturbed import instantiate
from polaris_jax.ops.quantized import Quantized, quantized_linear


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LowRank:
    """A frozen weight ``[in, out]`` with a term of low rank that learns: ``base + alpha / r * a @ b`` (LoRA, Hu et al.
    2021), ``a [in, r]``, ``b [r, out]``."""

    base: jax.Array | Quantized
    a: jax.Array
    b: jax.Array
    alpha: float = field(metadata={"static": True})


def linear(x: jax.Array, w: jax.Array | Quantized | LowRank, *, gradient_first: bool = False) -> jax.Array:
    """``x [..., in] @ w [in, out]`` in ``x.dtype``. A weight that is not differentiated costs no gradient.

    Args:
      gradient_first: the gradient of ``w`` is made before the gradient of ``x`` goes on. Left alone, the compiler may
        postpone it to the end of the layer, with both of its operands kept alive through all of attention's backward.
    """
    if isinstance(w, LowRank):
        term = linear(linear(x, w.a), w.b, gradient_first=gradient_first)
        y = linear(x, w.base, gradient_first=gradient_first) + (w.alpha / w.a.shape[-1]) * term
        # Held in the dtype of ``x``: left alone, the compiler keeps the sum in float32 for a norm's backward pass.
        return jax.lax.optimization_barrier(y)
    if isinstance(w, Quantized):
        return quantized_linear(x, w)
    return _linear(gradient_first, x, w)


@jax.custom_vjp
def gradients_together(*values: jax.Array) -> tuple[jax.Array, ...]:
    """The values themselves; the backward pass goes on behind this point only when all their gradients exist.

    So a gradient that is large before it is reduced (a gathered head in float32) is reduced, and freed, at once.
    """
    return values


gradients_together.defvjp(lambda *values: (values, None), lambda _, gradients: jax.lax.optimization_barrier(gradients))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _linear(gradient_first, x, w):
    return x @ w.astype(x.dtype)


def _forward(gradient_first, x, w):
    # Written out, not ``_linear`` again: a policy that saves the results of products must see one.
    return x.value @ w.value.astype(x.value.dtype), (x.value if w.perturbed else None, w.value)


def _backward(gradient_first, saved, dy):
    (x, w), dy = saved, instantiate(dy)
    if x is None:
        return dy @ w.astype(dy.dtype).T, None
    rows = tuple(range(x.ndim - 1))
    dw = jax.lax.dot_general(x, dy, ((rows, rows), ((), ())), preferred_element_type=jnp.float32).astype(w.dtype)
    dx = dy @ w.astype(x.dtype).T
    return jax.lax.optimization_barrier((dx, dw)) if gradient_first else (dx, dw)


_linear.defvjp(_forward, _backward, symbolic_zeros=True)


@jax.custom_vjp
def scaled(x: jax.Array, scale: jax.Array) -> jax.Array:
    """``x [..., D] * scale [D]`` in ``x.dtype``: a norm's gain, one tap of a depthwise convolution."""
    return x * scale.astype(x.dtype)


def _scaled_backward(saved, dy):
    x, scale = saved
    rows = tuple(range(x.ndim - 1))
    dscale = jnp.sum(dy.astype(jnp.float32) * x.astype(jnp.float32), axis=rows)
    return dy * scale.astype(dy.dtype), dscale.astype(scale.dtype)


scaled.defvjp(lambda x, scale: (scaled(x, scale), (x, scale)), _scaled_backward)


@jax.custom_vjp
def shifted(x: jax.Array, bias: jax.Array) -> jax.Array:
    """``x [..., D] + bias [D]`` in ``x.dtype``."""
    return x + bias.astype(x.dtype)


def _shifted_backward(bias, dy):
    dbias = jnp.sum(dy.astype(jnp.float32), axis=tuple(range(dy.ndim - 1)))
    return dy, dbias.astype(bias.dtype)


shifted.defvjp(lambda x, bias: (shifted(x, bias), bias), _shifted_backward)

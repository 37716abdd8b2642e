"""Products of activations and weights whose gradients, sums over all tokens, are accumulated in float32.

A weight's gradient is rounded once, to the weight's dtype, when the sum over this device's tokens is complete.
"""

import functools
from dataclasses import dataclass, field
from typing import Any

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


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Adapted:
    """A weight ``[in, out]``, or a stack of them, and the terms of ``N`` adapters, of which each row has one.

    Row ``i`` of a layer is multiplied by ``base + a[chosen[i]].T @ b[chosen[i]]`` (``choose_adapters``). The base is
    there once, and not merged.

    Attributes:
      a: ``[..., N + 1, r, in]``; b: ``[..., N + 1, r, out]``, times what the product is multiplied by. Entry 0 is
        zeros: no adapter. An adapter of a smaller rank than ``r`` has zeros in the rest.
      chosen: ``[rows] int32``, counted through all leading axes of ``a``; None where a weight is kept.
    """

    base: jax.Array | Quantized
    a: jax.Array
    b: jax.Array
    chosen: jax.Array | None = None


def linear(x: jax.Array, w: jax.Array | Quantized | LowRank | Adapted, *, gradient_first: bool = False) -> jax.Array:
    """``x [..., in] @ w [in, out]`` in ``x.dtype``. A weight that is not differentiated costs no gradient.

    Args:
      x: for an ``Adapted`` weight ``[rows, T, in]``.
      gradient_first: the gradient of ``w`` is made before the gradient of ``x`` goes on. Left alone, the compiler may
        postpone it to the end of the layer, with both of its operands kept alive through all of attention's backward.
    """
    if isinstance(w, LowRank):
        term = linear(linear(x, w.a), w.b, gradient_first=gradient_first)
        y = linear(x, w.base, gradient_first=gradient_first) + (w.alpha / w.a.shape[-1]) * term
        # Held in the dtype of ``x``: left alone, the compiler keeps the sum in float32 for a norm's backward pass.
        return jax.lax.optimization_barrier(y)
    if isinstance(w, Adapted):
        return linear(x, w.base, gradient_first=gradient_first) + _own_terms(x, w)
    if isinstance(w, Quantized):
        return quantized_linear(x, w)
    return _linear(gradient_first, x, w)


def split_adapters(weights: Any) -> tuple[Any, Any]:
    """``(weights, banks)``: a tree with the base of every ``Adapted`` in its place, and one with the ``Adapted`` alone.

    A loop over stacked layers slices the first, and reads of the second only what its rows have chosen.
    """
    bases = jax.tree.map(lambda node: node.base if _is_adapted(node) else node, weights, is_leaf=_is_adapted)
    return bases, jax.tree.map(lambda node: node if _is_adapted(node) else None, weights, is_leaf=_is_adapted)


def choose_adapters(weights: Any, banks: Any, layer: jax.Array | int, adapter: jax.Array) -> Any:
    """A layer's weights for rows that are read by ``adapter [rows] int32``.

    Args:
      weights, banks: of ``split_adapters``; ``weights`` of one layer, ``banks`` of it alone or of a stack that has it.
      layer: its place in the stack.
    """

    def choose(bank: Adapted | None, weight: Any) -> Any:
        return weight if bank is None else Adapted(weight, bank.a, bank.b, layer * bank.a.shape[-3] + adapter)

    return jax.tree.map(choose, banks, weights, is_leaf=lambda node: node is None or _is_adapted(node))


def _is_adapted(node: Any) -> bool:
    return isinstance(node, Adapted)


def _own_terms(x: jax.Array, w: Adapted) -> jax.Array:
    """Every row's term, by the factors of its own adapter alone: ``[rows, T, out]``."""
    a, b = (factor.reshape(-1, *factor.shape[-2:]) for factor in (w.a, w.b))  # one stack
    return jax.lax.platform_dependent(x, a, b, w.chosen, cpu=terms_row_by_row, default=terms_at_once)


def terms_at_once(x: jax.Array, a: jax.Array, b: jax.Array, chosen: jax.Array) -> jax.Array:
    """``x[i] @ a[chosen[i]].T @ b[chosen[i]]`` for ``x [rows, T, in]``, ``a [M, r, in]`` and ``b [M, r, out]``."""
    own_a, own_b = (jnp.take(factor, chosen, axis=0, mode="clip").astype(x.dtype) for factor in (a, b))
    return jnp.einsum("ntr,nro->nto", jnp.einsum("nti,nri->ntr", x, own_a), own_b)


def terms_row_by_row(x: jax.Array, a: jax.Array, b: jax.Array, chosen: jax.Array) -> jax.Array:
    """``terms_at_once`` for a CPU, whose gather would copy the factors number by number."""

    def term(row: tuple[jax.Array, jax.Array]) -> jax.Array:
        own_a, own_b = (jax.lax.dynamic_index_in_dim(factor, row[1], keepdims=False) for factor in (a, b))
        return row[0] @ own_a.T.astype(x.dtype) @ own_b.astype(x.dtype)

    return jax.lax.map(term, (x, chosen))


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

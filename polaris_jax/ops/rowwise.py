"""A token-wise function over a long row, a piece of the row at a time: the blockwise transformer's feed-forward.

Blockwise Parallel Transformer (arXiv 2305.19370): what acts on every token alone (norms, projections, the MLP) need
not hold its wide inner activations for the whole row at once. The backward pass recomputes each piece, sums the
gradients of the weights that learn in float32, and writes the gradient of the input over the buffer of the incoming
one.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from polaris_jax.ops.perturbed import instantiate, merge, split, values


def block_size(length: int, target: int) -> int:
    """The largest divisor of ``length`` that is at most ``target``."""
    block = min(length, target)
    while length % block:
        block -= 1
    return block


def rowwise(f: Callable, weights: Any, x: jax.Array, *, chunk: int) -> jax.Array:
    """``f(weights, x)`` for a function that treats every token alone, evaluated ``chunk`` tokens at a time.

    Args:
      f: ``(weights, [B, T, D]) -> [B, T, D]`` in the dtype of ``x``; it must close over no traced value.
      weights: pytree of arrays.
      x: ``[B, S, D]``.
      chunk: most tokens at a time; the largest divisor of ``S`` not above it is used, 0 means the whole row.

    Returns:
      ``[B, S, D]``.
    """
    size = block_size(x.shape[1], chunk) if chunk else x.shape[1]
    return f(weights, x) if size == x.shape[1] else _pieces(f, size, weights, x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _pieces(f, size, weights, x):
    def one(i, y):
        piece = jax.lax.optimization_barrier(jax.lax.dynamic_slice_in_dim(y, i * size, size, axis=1))
        return jax.lax.dynamic_update_slice_in_dim(y, f(weights, piece), i * size, axis=1)

    return jax.lax.fori_loop(0, x.shape[1] // size, one, x)


def _forward(f, size, weights, x):
    return _pieces(f, size, values(weights), x.value), (*split(weights), x.value)


def _backward(f, size, saved, dy):
    (weights, frozen, x), dy = saved, instantiate(dy)
    # Seen as float32, weights get float32 gradients: each piece's product is added to the sums without being rounded.
    wide = jax.tree.map(lambda w: w.astype(jnp.float32), weights)

    def one(i, carry):
        sums, buffer = carry
        # Read out before it is written over: a slice fused into a later use would make the compiler copy the buffer.
        piece, cotangent = jax.lax.optimization_barrier(
            tuple(jax.lax.dynamic_slice_in_dim(a, i * size, size, axis=1) for a in (x, buffer))
        )
        dweights, dx = jax.vjp(lambda w, piece: f(merge(w, frozen), piece), wide, piece)[1](cotangent)
        sums = jax.tree.map(jnp.add, sums, dweights)
        return sums, jax.lax.dynamic_update_slice_in_dim(buffer, dx, i * size, axis=1)

    # A zero of its own, when ``dy`` is there: otherwise the compiler makes room for the sums of several layers at once.
    zero, dy = jax.lax.optimization_barrier((jnp.float32(0), dy))
    zeros = jax.tree.map(lambda w: jnp.full(w.shape, zero), weights)
    sums, dx = jax.lax.fori_loop(0, x.shape[1] // size, one, (zeros, dy))
    # Both or neither: otherwise the float32 sums stay alive until somebody wants them.
    return jax.lax.optimization_barrier((jax.tree.map(lambda total, w: total.astype(w.dtype), sums, weights), dx))


_pieces.defvjp(_forward, _backward, symbolic_zeros=True)

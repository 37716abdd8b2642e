"""Sums over mesh axes that give the same bits however the devices are divided among processes.

For use inside ``shard_map``. On TPU and GPU these are XLA's own reductions. CPU processes communicate through gloo,
which adds in another order than the devices of one process do. On host devices, therefore, every term is sent to where
the sum is needed and added there in the order of the devices. Two processes of four devices then give the bits of one
process of eight (the same program, compiled for the same processor).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

Axes = tuple[str, ...]


def psum(tree: Any, axes: Axes) -> Any:
    """The sum over ``axes`` of every array of a pytree, on every device along them."""
    if not axes:
        return tree
    return jax.lax.platform_dependent(
        tree,
        default=lambda tree: jax.lax.psum(tree, axes),
        cpu=lambda tree: jax.tree.map(lambda x: _add(jax.lax.all_gather(x, axes)), tree),
    )


def reduce_scatter(x: jax.Array, axes: Axes, dim: int) -> jax.Array:
    """The sum over ``axes``; every device keeps its part along dimension ``dim``."""

    def in_order(x):
        count = jax.lax.axis_size(axes)
        parts = jnp.moveaxis(x.reshape(*x.shape[:dim], count, -1, *x.shape[dim + 1 :]), dim, 0)
        return _add(jax.lax.all_to_all(parts, axes, split_axis=0, concat_axis=0, tiled=True))

    return jax.lax.platform_dependent(
        x, cpu=in_order, default=lambda x: jax.lax.psum_scatter(x, axes, scatter_dimension=dim, tiled=True)
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def gather(x: jax.Array, axes: Axes, dim: int, reduce_dtype: DTypeLike) -> jax.Array:
    """The parts of all devices along ``axes``, joined along ``dim``.

    Its gradient is ``reduce_scatter`` in ``reduce_dtype``, rounded once, to the dtype of ``x``.
    """
    return jax.lax.all_gather(x, axes, axis=dim, tiled=True)


def _gather_backward(axes, dim, reduce_dtype, _, dy):
    return (reduce_scatter(dy.astype(reduce_dtype), axes, dim).astype(dy.dtype),)


gather.defvjp(lambda x, axes, dim, reduce_dtype: (gather(x, axes, dim, reduce_dtype), None), _gather_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def sum_gradients(x: jax.Array, axes: Axes) -> jax.Array:
    """Returns ``x``, which every device along ``axes`` holds whole. The backward pass adds up their gradients.

    What a column-parallel product starts with (Megatron-LM, arXiv 1909.08053, section 3: its ``f``).
    """
    return x


sum_gradients.defvjp(lambda x, axes: (x, None), lambda axes, _, dx: (psum(dx, axes),))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def sum_parts(x: jax.Array, axes: Axes) -> jax.Array:
    """The sum over ``axes`` on every device, of which all hold the same gradient; each takes it as its own.

    What a row-parallel product ends with (the ``g`` of Megatron-LM). ``psum`` itself would add the gradients up too.
    """
    return psum(x, axes)


sum_parts.defvjp(lambda x, axes: (psum(x, axes), None), lambda axes, _, dy: (dy,))


def _add(terms: jax.Array) -> jax.Array:
    """``[n, ...]`` summed from the first to the last."""
    return functools.reduce(jnp.add, list(terms))

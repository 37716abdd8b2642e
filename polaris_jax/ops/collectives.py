"""Sums over mesh axes whose bits do not depend on how devices are shared out to processes.

For use inside ``shard_map``. On TPU and GPU these are XLA's own reductions. CPU processes talk through gloo, which adds
in another order than the devices of one process do; on host devices every term is therefore brought to where the sum
is needed and added in the order of the devices, in one process as in several, so that two processes of four devices
give the bits of one process of eight.
"""

import functools

import jax
import jax.numpy as jnp

Axes = tuple[str, ...]


def psum(tree, axes: Axes):
    """The sum over ``axes`` of every array of a pytree, on every device along them."""
    if not axes:
        return tree
    return jax.lax.platform_dependent(
        tree, default=lambda tree: jax.lax.psum(tree, axes),
        cpu=lambda tree: jax.tree.map(lambda x: _add(jax.lax.all_gather(x, axes)), tree))


def reduce_scatter(x: jax.Array, axes: Axes, dim: int) -> jax.Array:
    """The sum over ``axes``, of which every device keeps its part of dimension ``dim``."""

    def in_order(x):
        count = jax.lax.axis_size(axes)
        parts = jnp.moveaxis(x.reshape(*x.shape[:dim], count, -1, *x.shape[dim + 1 :]), dim, 0)
        return _add(jax.lax.all_to_all(parts, axes, split_axis=0, concat_axis=0, tiled=True))

    return jax.lax.platform_dependent(
        x, cpu=in_order, default=lambda x: jax.lax.psum_scatter(x, axes, scatter_dimension=dim, tiled=True))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def gather(x: jax.Array, axes: Axes, dim: int) -> jax.Array:
    """The parts of all devices along ``axes``, joined along ``dim``; its gradient is ``reduce_scatter``."""
    return jax.lax.all_gather(x, axes, axis=dim, tiled=True)


gather.defvjp(lambda x, axes, dim: (gather(x, axes, dim), None),
              lambda axes, dim, _, dy: (reduce_scatter(dy, axes, dim),))


def _add(terms: jax.Array) -> jax.Array:
    """``[n, ...]`` summed from the first to the last."""
    return functools.reduce(jnp.add, list(terms))

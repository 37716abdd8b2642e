"""Norms over trees of sharded arrays. Their bits do not depend on how processes share the devices."""

from typing import Any

import jax
import jax.numpy as jnp

from polaris_jax.ops import collectives
from polaris_jax.sharding import spec_axes


def sum_of_squares(leaf: jax.Array, sharding: jax.sharding.NamedSharding | None = None) -> jax.Array:
    """The sum of squares as a scalar, accumulated in float32 for every dtype.

    Args:
      sharding: the leaf's sharding; None leaves the sum over devices to the compiler.
    """

    def local(x):
        return jnp.sum(jnp.square(x.astype(jnp.float32)))

    if sharding is None:
        return local(leaf)
    axes = tuple(axis for entry in sharding.spec for axis in spec_axes(entry) if sharding.mesh.shape[axis] > 1)
    return jax.shard_map(
        lambda x: collectives.psum(local(x), axes),
        mesh=sharding.mesh,
        in_specs=sharding.spec,
        out_specs=jax.sharding.PartitionSpec(),
        check_vma=False,
    )(leaf)


def group_norms(tree: Any, labels: Any, shardings: Any = None) -> dict[str, jax.Array]:
    """The norm of every group of leaves, and of all leaves under ``""``; float32 scalars.

    Args:
      labels: tree of group names like ``tree``. shardings: tree of ``NamedSharding`` like ``tree``.
    """
    leaves, names = jax.tree.leaves(tree), jax.tree.leaves(labels)
    where = [None] * len(leaves) if shardings is None else jax.tree.leaves(shardings)
    squares: dict[str, Any] = {}
    for leaf, name, sharding in zip(leaves, names, where, strict=True):
        squares[name] = squares.get(name, 0.0) + sum_of_squares(leaf, sharding)
    return {name: jnp.sqrt(value) for name, value in {"": sum(squares.values()), **squares}.items()}


def global_norm(tree: Any, shardings: Any = None) -> jax.Array:
    """Root of the sum of squares of all leaves, float32.

    Args:
      shardings: tree of ``NamedSharding`` like ``tree``.
    """
    leaves = jax.tree.leaves(tree)
    where = [None] * len(leaves) if shardings is None else jax.tree.leaves(shardings)
    return jnp.sqrt(sum(sum_of_squares(leaf, sharding) for leaf, sharding in zip(leaves, where, strict=True)))

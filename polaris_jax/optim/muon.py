"""Muon: momentum orthogonalised by Newton-Schulz, each matrix once in the whole mesh.

Source: "Muon is Scalable for LLM Training" (arXiv 2502.16982). A parameter leaf is a stack of matrices
``[..., rows, cols]`` (scanned layers lead). Updates have root-mean-square ``0.2`` whatever the shape (their eq. 4), so
that one learning rate serves Muon and AdamW.

Under a mesh whole matrices are dealt out: all stacks of equal shape are joined to one batch, padded to the number of
devices and sharded along the batch, so the iteration itself is local matrix algebra without a single collective and
no matrix is orthogonalised twice. XLA turns the change of sharding into one all-to-all in and one out.
"""

from collections import defaultdict
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

# Quintic that lifts every singular value in (0, 1] into about [0.7, 1.2] within five steps (Keller Jordan, 2024).
QUINTIC = (3.4445, -4.7750, 2.0315)


class MuonState(NamedTuple):
    """Momentum, one array per parameter, in ``momentum_dtype``."""

    momentum: optax.Updates


def newton_schulz(matrices: jax.Array, steps: int = 5) -> jax.Array:
    """Approximate polar factor of every matrix of a batch ``[n, rows, cols]`` with ``rows <= cols``.

    Works in the dtype it is given, accumulates in float32, and normalises by the Frobenius norm in float32.
    """
    a, b, c = QUINTIC
    dot = lambda x, y: jnp.matmul(x, y, preferred_element_type=jnp.float32).astype(matrices.dtype)  # noqa: E731
    norm = jnp.sqrt(jnp.sum(jnp.square(matrices.astype(jnp.float32)), axis=(1, 2), keepdims=True))
    x = (matrices.astype(jnp.float32) / (norm + 1e-7)).astype(matrices.dtype)
    for _ in range(steps):
        gram = dot(x, x.swapaxes(1, 2))
        x = a * x + dot(b * gram + c * dot(gram, gram), x)
    return x


def orthogonalize(tree, *, steps: int = 5, dtype=None, mesh: Mesh | None = None):
    """Orthogonalises every matrix of a pytree of stacks ``[..., rows, cols]``.

    Args:
      tree: arrays of at least two dimensions; leading dimensions are batch.
      steps: Newton-Schulz steps.
      dtype: of the iteration (bfloat16 on TPU); default the leaf's own.
      mesh: deal matrices out over all of its devices; None keeps them where they are.

    Returns:
      The same structure, float32, singular values near 1.
    """
    leaves, structure = jax.tree.flatten(tree)
    groups: dict[tuple, list[int]] = defaultdict(list)
    for number, leaf in enumerate(leaves):
        rows, cols = sorted(leaf.shape[-2:])
        groups[rows, cols, jnp.dtype(dtype or leaf.dtype)].append(number)
    results = list(leaves)
    for (_, _, kind), members in groups.items():
        flat = []
        for number in members:
            stack = leaves[number].reshape(-1, *leaves[number].shape[-2:]).astype(kind)
            flat.append(stack.swapaxes(1, 2) if stack.shape[1] > stack.shape[2] else stack)
        counts = [stack.shape[0] for stack in flat]
        batch = jnp.concatenate(flat)
        if mesh is not None and mesh.size > 1:
            batch = jnp.pad(batch, ((0, -len(batch) % mesh.size), (0, 0), (0, 0)))
            dealt = NamedSharding(mesh, P(mesh.axis_names, None, None))
            batch = jax.lax.with_sharding_constraint(batch, dealt)
            batch = jax.lax.with_sharding_constraint(newton_schulz(batch, steps), dealt)
        else:
            batch = newton_schulz(batch, steps)
        start = 0
        for number, count in zip(members, counts, strict=True):
            part, leaf = batch[start:start + count], leaves[number]
            part = part.swapaxes(1, 2) if leaf.shape[-2] > leaf.shape[-1] else part
            results[number] = part.astype(jnp.float32).reshape(leaf.shape)
            start += count
    return jax.tree.unflatten(structure, results)


def muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: float = 0.95,
    nesterov: bool = True,
    steps: int = 5,
    weight_decay: float = 0.0,
    momentum_dtype=None,
    dtype=None,
    mesh: Mesh | None = None,
) -> optax.GradientTransformation:
    """Muon as an optax transformation over stacks of matrices.

    Args:
      learning_rate: number or schedule; the update has RMS ``0.2 * learning_rate``.
      momentum: decay of the momentum sum ``m ← momentum * m + g``.
      nesterov: orthogonalise ``g + momentum * m`` instead of ``m``.
      steps, dtype, mesh: see ``orthogonalize``.
      weight_decay: decoupled, multiplied by the learning rate.
      momentum_dtype: storage dtype of the momentum; default the gradient's.

    Raises:
      ValueError: a parameter with fewer than two dimensions was routed here.
    """

    def init(params):
        for leaf in jax.tree.leaves(params):
            if leaf.ndim < 2:
                raise ValueError(f"muon moves matrices; got a parameter of shape {leaf.shape}: label it adamw")
        return MuonState(jax.tree.map(lambda p: jnp.zeros_like(p, dtype=momentum_dtype or p.dtype), params))

    def update(gradients, state, params=None):
        del params
        gathered = jax.tree.map(lambda g, m: g + momentum * m.astype(g.dtype), gradients, state.momentum)
        ahead = jax.tree.map(lambda g, m: g + momentum * m, gradients, gathered) if nesterov else gathered
        directions = orthogonalize(ahead, steps=steps, dtype=dtype, mesh=mesh)
        updates = jax.tree.map(lambda o: 0.2 * max(o.shape[-2:]) ** 0.5 * o, directions)
        kept = jax.tree.map(lambda m, old: m.astype(old.dtype), gathered, state.momentum)
        return updates, MuonState(kept)

    return optax.chain(
        optax.GradientTransformation(init, update),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )

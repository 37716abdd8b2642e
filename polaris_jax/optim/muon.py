"""Muon: momentum orthogonalised by Newton-Schulz, each matrix once in the whole mesh.

Source: "Muon is Scalable for LLM Training" (arXiv 2502.16982). A parameter leaf is a stack of matrices
``[..., rows, cols]`` (scanned layers lead). Updates have root-mean-square ``0.2`` for every shape (their eq. 4), so one
learning rate serves Muon and AdamW.

On a mesh every device gets whole matrices (``resharding``). The iteration is local matrix algebra without collectives,
and no matrix is orthogonalised twice. Momentum is communicated twice, before and after the iteration, in its dtype.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike

from polaris_jax.errors import InputError
from polaris_jax.optim.resharding import MatrixLayout, MixedMatrices, gather_matrices, scatter_matrices, share_out
from polaris_jax.sharding import axes_size

# A quintic that brings every singular value in (0, 1] into about [0.7, 1.2] within five steps (Keller Jordan, 2024).
QUINTIC = (3.4445, -4.7750, 2.0315)


class MuonState(NamedTuple):
    """Momentum, one array per parameter, in ``momentum_dtype``."""

    momentum: optax.Updates


@dataclass(frozen=True)
class Split:
    """A weight whose rows (``axis`` -2) or columns (-1) are ``parts`` equal blocks, each a matrix of its own."""

    axis: int
    parts: int


def attention_splits(heads: int, kv_heads: int, *, gated: bool = False) -> tuple[tuple[str, Split], ...]:
    """``(path pattern, Split)`` pairs that make every head of the projections a matrix of its own.

    Args:
      gated: whether the query projection also makes an output gate (``[q | gate]`` per head), which is split off too.
    """
    return (
        (r"\battention/q$", Split(-1, heads * (2 if gated else 1))),
        (r"\battention/(k|v)$", Split(-1, kv_heads)),
        (r"\battention/o$", Split(-2, heads)),
    )


def find_split(name: str, splits: Sequence[tuple[str, Split]]) -> Split | None:
    """The first of ``splits`` whose pattern matches in the path ``name``, or None."""
    return next((split for pattern, split in splits if re.search(pattern, name)), None)


def path_name(path: Any) -> str:
    """``blocks/0/mlp/up`` from a JAX key path."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def newton_schulz(matrix: jax.Array, steps: int = 5) -> jax.Array:
    """Approximate polar factor of ``matrix [rows, cols]`` with ``rows <= cols``.

    It works in the matrix's dtype, accumulates in float32, and normalises by the Frobenius norm in float32.
    """
    a, b, c = QUINTIC
    matrix = jax.lax.optimization_barrier(matrix)  # compiled alone, so its bits do not depend on the code around it
    dot = lambda x, y: jnp.matmul(x, y, preferred_element_type=jnp.float32).astype(matrix.dtype)  # noqa: E731
    norm = jnp.sqrt(jnp.sum(jnp.square(matrix.astype(jnp.float32))))
    x = (matrix.astype(jnp.float32) / (norm + 1e-7)).astype(matrix.dtype)
    for _ in range(steps):
        gram = dot(x, x.T)
        x = a * x + dot(b * gram + c * dot(gram, gram), x)
    return x


def orthogonalize(
    tree: Any,
    *,
    steps: int = 5,
    dtype: DTypeLike | None = None,
    shardings: Any = None,
    splits: Sequence[tuple[str, Split]] = (),
) -> Any:
    """Orthogonalises every matrix of a pytree of stacks ``[..., rows, cols]``.

    Args:
      tree: arrays of at least two dimensions; leading dimensions (layers, experts) are batch.
      steps: Newton-Schulz steps.
      dtype: dtype of the iteration and of the communication (bfloat16 on TPU); default: the leaf's own.
      shardings: tree of ``NamedSharding`` like ``tree``: distributes matrices over that mesh; None computes in place.
      splits: ``(path pattern, Split)`` for weights whose rows or columns are several matrices (heads).

    Returns:
      The same structure in ``dtype``, singular values near 1.

    Raises:
      InputError: a split that does not divide its dimension, or would cut across devices.
    """
    structure: Any
    paths, structure = jax.tree_util.tree_flatten_with_path(tree)
    leaves = [leaf.astype(dtype or leaf.dtype) for _, leaf in paths]
    cuts = [find_split(path_name(path), splits) for path, _ in paths]
    if shardings is None or not leaves:  # without leaves there is no sharding to take the mesh from
        return jax.tree.unflatten(structure, _orthogonalize_local(leaves, cuts, steps, None, [None] * len(leaves)))
    shardings = structure.flatten_up_to(shardings)
    mesh, specs = shardings[0].mesh, tuple(sharding.spec for sharding in shardings)
    layouts = [MatrixLayout.of(mesh, spec, leaf.ndim) for spec, leaf in zip(specs, leaves, strict=True)]
    program = jax.shard_map(
        lambda *local: tuple(_orthogonalize_local(local, cuts, steps, mesh, layouts)),
        mesh=mesh,
        in_specs=specs,
        out_specs=specs,
        check_vma=False,
    )
    return jax.tree.unflatten(structure, program(*leaves))


def _orthogonalize_local(leaves, cuts, steps, mesh, layouts):
    """One device's part: equal shapes are joined into a batch, scattered, orthogonalised one by one, and sent back."""
    run = partial(newton_schulz, steps=steps)
    groups = defaultdict(list)
    stacks, undo = [], []
    for number, (leaf, cut, layout) in enumerate(zip(leaves, cuts, layouts, strict=True)):
        stack, layout, back = _as_stack(leaf, cut, layout, mesh)
        rows, cols = (
            (
                size * axes_size(mesh, axes)
                for size, axes in zip(stack.shape[1:], (layout.rows, layout.cols), strict=True)
            )
            if layout
            else stack.shape[1:]
        )
        if rows > cols:  # the iteration works on the shorter side
            stack, layout = stack.swapaxes(1, 2), layout and layout.transposed()
        stacks.append(stack)
        undo.append((back, rows > cols))
        groups[min(rows, cols), max(rows, cols), leaf.dtype, layout].append(number)
    if mesh is None:
        done = [_each(run, stack) for stack in stacks]
    else:
        done = list(stacks)
        largest_first = sorted(groups.items(), key=lambda group: -newton_schulz_flops(*group[0][:2]))
        joined = [(key, jnp.concatenate([stacks[number] for number in members])) for key, members in largest_first]
        for (_, members), result in zip(largest_first, _orthogonalize_groups(joined, run, mesh), strict=True):
            ends = list(accumulate(len(stacks[number]) for number in members))
            for number, part in zip(members, jnp.split(result, ends[:-1]), strict=True):
                done[number] = part
    return [back(part.swapaxes(1, 2) if turned else part) for part, (back, turned) in zip(done, undo, strict=True)]


def newton_schulz_flops(rows: int, cols: int) -> int:
    """FLOPs of one step on a matrix with ``rows <= cols``; a multiply-add counts as two."""
    return 4 * rows**2 * cols + 2 * rows**3


def _orthogonalize_groups(groups, run, mesh):
    """``[((rows, cols, dtype, layout), local shards [n, r, c])]``, largest first → the results, in the same order.

    In every group, the largest number of matrices that divides by the devices is scattered evenly. The remaining ones
    of all groups are distributed together.
    """
    results, rests = [], defaultdict(list)
    for number, ((_, _, dtype, layout), batch) in enumerate(groups):
        devices = layout.devices(mesh)
        whole = len(batch) // devices * devices
        if whole:
            dealt = _each(run, scatter_matrices(batch[:whole], layout, mesh))
            results.append([gather_matrices(dealt, layout, mesh)])
        else:
            results.append([])
        if whole < len(batch):
            rests[dtype, layout.axes(mesh), layout.replicas, layout.stack].append((number, batch[whole:]))
    for members in rests.values():
        keys, batches = [groups[number][0] for number, _ in members], [rest for _, rest in members]
        mixture = MixedMatrices(
            tuple(rest.shape[1:] for rest in batches),
            tuple(layout for *_, layout in keys),
            share_out(
                [len(rest) for rest in batches],
                [newton_schulz_flops(rows, cols) for rows, cols, *_ in keys],
                [rest[0].size for rest in batches],
                keys[0][3].devices(mesh),
            ),
        )
        for (number, _), result in zip(members, mixture.each(batches, run, mesh), strict=True):
            results[number].append(result)
    return [parts[0] if len(parts) == 1 else jnp.concatenate(parts) for parts in results]


def _each(run, stack):
    """Applies ``run`` to every matrix of ``stack [n, rows, cols]`` and stores the result in the matrix's place.

    It runs one matrix at a time, so that bits do not depend on neighbours. It works in place: for a second stack (as
    ``lax.map`` makes one), the TPU compiler reserves memory from the start of the step if all collectives are
    asynchronous.
    """

    def replace(i, stack):
        matrix = jax.lax.dynamic_index_in_dim(stack, i, keepdims=False)
        return jax.lax.dynamic_update_index_in_dim(stack, run(matrix), i, 0)

    return jax.lax.fori_loop(0, stack.shape[0], replace, stack)


def _as_stack(leaf, cut, layout, mesh):
    """A leaf as ``[n, rows, cols]`` with one matrix per block of its split, its layout, and the inverse function."""
    rows, cols = leaf.shape[-2:]
    stack = leaf.reshape(-1, rows, cols)
    if cut is None:
        return stack, layout, lambda part: part.reshape(leaf.shape)
    spread = axes_size(mesh, layout.rows if cut.axis == -2 else layout.cols) if layout else 1
    if leaf.shape[cut.axis] % max(1, cut.parts // spread) or cut.parts % spread:
        raise InputError(
            "optim.per_head",
            leaf.shape,
            f"axis {cut.axis}, spread over {spread} devices, is not "
            f"{cut.parts} whole blocks; take fewer devices along it or leave the matrices whole",
        )
    parts, layout = cut.parts // spread, layout and layout.split(cut.axis)
    if cut.axis == -2:
        return (stack.reshape(-1, rows // parts, cols), layout, lambda part: part.reshape(leaf.shape))
    blocks = stack.reshape(-1, rows, parts, cols // parts).swapaxes(1, 2)
    return (
        blocks.reshape(-1, rows, cols // parts),
        layout,
        lambda part: part.reshape(-1, parts, rows, cols // parts).swapaxes(1, 2).reshape(leaf.shape),
    )


def muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: float = 0.95,
    nesterov: bool = True,
    steps: int = 5,
    weight_decay: float = 0.0,
    momentum_dtype: DTypeLike | None = None,
    dtype: DTypeLike | None = None,
    shardings: Any = None,
    splits: Sequence[tuple[str, Split]] = (),
) -> optax.GradientTransformation:
    """Muon as an optax transformation over stacks of matrices.

    Args:
      learning_rate: number or schedule; the update has RMS ``0.2 * learning_rate``.
      momentum: decay of the momentum sum ``m ← momentum * m + g``.
      nesterov: orthogonalise ``g + momentum * m`` instead of ``m``.
      steps, dtype: see ``orthogonalize``.
      shardings: tree of ``NamedSharding`` over all parameters of the model (those of other groups are ignored).
      splits: see ``orthogonalize``; the updates of such a weight have the scale of its blocks.
      weight_decay: decoupled, multiplied by the learning rate.
      momentum_dtype: storage dtype of the momentum; default: the gradient's.

    Raises:
      ValueError: a parameter with fewer than two dimensions is in this group.
    """

    def init(params):
        for leaf in jax.tree.leaves(params):
            if leaf.ndim < 2:
                raise ValueError(f"muon moves matrices; got a parameter of shape {leaf.shape}: label it adamw")
        return MuonState(jax.tree.map(lambda p: jnp.zeros_like(p, dtype=momentum_dtype or p.dtype), params))

    where = (
        {}
        if shardings is None
        else {path_name(path): sharding for path, sharding in jax.tree_util.tree_leaves_with_path(shardings)}
    )

    def direction_and_momentum(gradient, old, finite):
        """``(what to orthogonalise, the momentum to keep)``."""
        m = momentum * old.astype(jnp.float32) + gradient.astype(jnp.float32)
        ahead = gradient.astype(jnp.float32) + momentum * m if nesterov else m
        return ahead.astype(dtype or ahead.dtype), jnp.where(finite, m.astype(old.dtype), old)

    def update(gradients, state, params=None, *, finite=True, **_):
        del params
        leaves, structure = jax.tree.flatten(gradients)
        pairs = []
        for gradient, old in zip(leaves, jax.tree.leaves(state.momentum), strict=True):
            if pairs and not where:
                # One after the other: left to itself the compiler writes momenta last, and keeps gradients until then.
                gradient, pairs[-1] = jax.lax.optimization_barrier((gradient, pairs[-1]))
            pairs.append(direction_and_momentum(gradient, old, finite))
        ahead, kept = (jax.tree.unflatten(structure, [pair[n] for pair in pairs]) for n in (0, 1))
        there = jax.tree_util.tree_map_with_path(lambda path, _: where[path_name(path)], ahead) if where else None
        directions = orthogonalize(ahead, steps=steps, shardings=there, splits=splits)

        def scaled(path, direction):
            return _rms_scale(direction.shape, find_split(path_name(path), splits)) * direction.astype(jnp.float32)

        return jax.tree_util.tree_map_with_path(scaled, directions), MuonState(kept)

    return optax.chain(
        optax.GradientTransformationExtraArgs(init, update),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )


def _rms_scale(shape, split: Split | None) -> float:
    """The factor that gives an orthogonal ``[..., rows, cols]`` a root-mean-square of 0.2."""
    size = list(shape[-2:])
    if split:
        size[split.axis] //= split.parts
    return 0.2 * max(size) ** 0.5

"""Matrix resharding: sharded stacks in, a few whole matrices per device, sharded stacks out.

Every function here runs inside ``shard_map``, so each collective is written down: one all-to-all over all axes that the
matrix is spread over on the way in, one on the way out. Stacks of one shape travel as one batch. Where a batch does
not divide by the number of devices, the next batch starts at the first device that was left idle.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from polaris_jax.sharding import axes_size, spec_axes

Axes = tuple[str, ...]


@dataclass(frozen=True)
class MatrixLayout:
    """Where the rows and columns of a stack of matrices lie, and the stack itself.

    Attributes:
      rows, cols: mesh axes over which that dimension is spread, major first; empty: whole on every device.
      replicas: the other mesh axes of more than one device; every device along them holds the same shard.
      stack: mesh axes along which different matrices of the stack lie; nothing travels along them.
    """

    rows: Axes
    cols: Axes
    replicas: Axes
    stack: Axes = ()

    @classmethod
    def of(cls, mesh: Mesh, spec: P, ndim: int) -> "MatrixLayout":
        """The layout of an array ``[..., rows, cols]`` with this ``PartitionSpec``."""
        *leading, rows, cols = [spec_axes(entry) for entry in (*spec, *(None,) * (ndim - len(spec)))]
        stack = tuple(axis for entry in leading for axis in entry)
        idle = tuple(axis for axis in mesh.axis_names if axis not in (*stack, *rows, *cols) and mesh.shape[axis] > 1)
        return cls(rows, cols, idle, stack)

    def transposed(self) -> "MatrixLayout":
        """Of the transposed matrices."""
        return MatrixLayout(self.cols, self.rows, self.replicas, self.stack)

    def split(self, axis: int) -> "MatrixLayout":
        """Of the blocks that the rows (-2) or columns (-1) are cut into: their axes now spread the stack."""
        if axis == -1:
            return MatrixLayout(self.rows, (), self.replicas, (*self.stack, *self.cols))
        return MatrixLayout((), self.cols, self.replicas, (*self.stack, *self.rows))

    def devices(self, mesh: Mesh) -> int:
        """Devices that share the matrices of one part of the stack."""
        return axes_size(mesh, (*self.replicas, *self.rows, *self.cols))


def owners(count: int, devices: int, first: int) -> jax.Array:
    """Which matrix lies in which slot: ``[ceil(count / devices) * devices] int32``, -1 for an empty slot.

    Args:
      first: the device that gets the first matrix; the devices before it are filled last.
    """
    per_device = -(-count // devices)
    slots = per_device * devices
    order = [-1] * slots
    for number in range(count):
        order[(first * per_device + number) % slots] = number
    return jnp.array(order, jnp.int32)


def join_stacks(stacks: Sequence[jax.Array], devices: int, first: int) -> jax.Array:
    """Joins local shards ``[n_i, r, c]`` to one batch with a slot for every owner of ``owners``."""
    count = sum(stack.shape[0] for stack in stacks)
    per_device = -(-count // devices)
    slots = per_device * devices
    wrapped = max(0, first * per_device + count - slots)  # matrices that land before ``first``
    empty = jnp.zeros((slots - count, *stacks[0].shape[1:]), stacks[0].dtype)
    if not wrapped:
        front = first * per_device
        pieces = [empty[:front], *stacks, empty[front:]]
    else:
        pieces, left = [], count - wrapped
        for stack in stacks:  # cut the row of matrices where it wraps around
            pieces += [stack[: max(0, min(left, stack.shape[0]))], stack[max(0, min(left, stack.shape[0])) :]]
            left -= stack.shape[0]
        pieces = [*pieces[1::2], empty, *pieces[0::2]]
    pieces = [piece for piece in pieces if piece.shape[0]]
    return pieces[0] if len(pieces) == 1 else jnp.concatenate(pieces)


def split_stacks(batch: jax.Array, counts: Sequence[int], devices: int, first: int) -> list[jax.Array]:
    """Undoes ``join_stacks``: the stacks, in their order."""
    count = sum(counts)
    per_device = -(-count // devices)
    slots, start = per_device * devices, first * per_device
    stacks = []
    for size in counts:
        start %= slots
        head = batch[start : start + size]
        rest = size - head.shape[0]
        stacks.append(jnp.concatenate([head, batch[:rest]]) if rest else head)
        start += size
    return stacks


def scatter_matrices(
    batch: jax.Array, index: jax.Array, layout: MatrixLayout, mesh: Mesh
) -> tuple[jax.Array, jax.Array]:
    """``[slots, r_local, c_local]`` on every device → ``[slots / devices, r, c]``, and which slots these are.

    Args:
      index: ``[slots] int32``, scattered along.
    """
    axes, R, C = (*layout.rows, *layout.cols), axes_size(mesh, layout.rows), axes_size(mesh, layout.cols)
    if axes_size(mesh, layout.replicas) > 1:
        batch, index = (_own_part(array, layout.replicas, mesh) for array in (batch, index))
    if R * C > 1:
        index, (slots, r, c) = _own_part(index, axes, mesh), batch.shape
        # The barrier: XLA:CPU would feed the joined stacks piece by piece, in layouts that do not agree.
        batch = jax.lax.all_to_all(jax.lax.optimization_barrier(batch), axes, split_axis=0, concat_axis=0, tiled=True)
        batch = batch.reshape(R, C, slots // (R * C), r, c).transpose(2, 0, 3, 1, 4).reshape(-1, R * r, C * c)
    return batch, index


def _own_part(array: jax.Array, axes: Axes, mesh: Mesh) -> jax.Array:
    """This device's share of the leading axis."""
    share = array.shape[0] // axes_size(mesh, axes)
    return jax.lax.dynamic_slice_in_dim(array, jax.lax.axis_index(axes) * share, share)


def gather_matrices(batch: jax.Array, layout: MatrixLayout, mesh: Mesh) -> jax.Array:
    """Undoes ``scatter_matrices``: ``[slots / devices, r, c]`` → ``[slots, r_local, c_local]``."""
    axes, R, C = (*layout.rows, *layout.cols), axes_size(mesh, layout.rows), axes_size(mesh, layout.cols)
    if R * C > 1:
        share, rows, cols = batch.shape
        r, c = rows // R, cols // C
        tiles = batch.reshape(share, R, r, C, c).transpose(1, 3, 0, 2, 4).reshape(-1, r, c)
        batch = jax.lax.all_to_all(tiles, axes, split_axis=0, concat_axis=0, tiled=True)
    if axes_size(mesh, layout.replicas) > 1:
        batch = jax.lax.all_gather(batch, layout.replicas, axis=0, tiled=True)
    return batch

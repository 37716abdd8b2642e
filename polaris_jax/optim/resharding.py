"""Matrix resharding: sharded stacks in, a few whole matrices per device, sharded stacks out.

Every function here runs inside ``shard_map``, so each collective is explicit: one all-to-all over all axes that spread
the matrix on the way in, and one on the way out. Stacks of one shape are sent as one batch that divides by the number
of devices. The remaining matrices of all shapes are sent together (``MixedMatrices``): a device gets one large matrix
or several small ones.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from polaris_jax.sharding import axes_size, spec_axes

Axes = tuple[str, ...]


@dataclass(frozen=True)
class MatrixLayout:
    """How a stack of matrices is spread over the mesh: its rows, its columns, and the stack itself.

    Attributes:
      rows, cols: mesh axes over which that dimension is spread, major first; empty: whole on every device.
      replicas: the other mesh axes of more than one device; every device along them holds the same shard.
      stack: mesh axes along which different matrices of the stack lie; there is no communication along them.
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
        """The layout of the transposed matrices."""
        return MatrixLayout(self.cols, self.rows, self.replicas, self.stack)

    def split(self, axis: int) -> "MatrixLayout":
        """The layout of the blocks into which rows (-2) or columns (-1) are cut: their axes now spread the stack."""
        if axis == -1:
            return MatrixLayout(self.rows, (), self.replicas, (*self.stack, *self.cols))
        return MatrixLayout((), self.cols, self.replicas, (*self.stack, *self.rows))

    def axes(self, mesh: Mesh) -> Axes:
        """The mesh axes of more than one device over which a matrix is spread, in the mesh's order."""
        return tuple(axis for axis in mesh.axis_names if axis in (*self.rows, *self.cols) and mesh.shape[axis] > 1)

    def devices(self, mesh: Mesh) -> int:
        """Number of devices that share the matrices of one part of the stack."""
        return axes_size(mesh, (*self.replicas, *self.rows, *self.cols))


def scatter_matrices(batch: jax.Array, layout: MatrixLayout, mesh: Mesh) -> jax.Array:
    """``[n, r_local, c_local]`` on every device → ``[n / devices, r, c]``, other whole matrices on every device."""
    axes, R, C = (*layout.rows, *layout.cols), axes_size(mesh, layout.rows), axes_size(mesh, layout.cols)
    if axes_size(mesh, layout.replicas) > 1:
        batch = _own_part(batch, layout.replicas, mesh)
    if R * C > 1:
        n, r, c = batch.shape
        # Without the barrier, XLA:CPU would pass the joined stacks piece by piece, with different layouts.
        batch = jax.lax.all_to_all(jax.lax.optimization_barrier(batch), axes, split_axis=0, concat_axis=0, tiled=True)
        batch = batch.reshape(R, C, n // (R * C), r, c).transpose(2, 0, 3, 1, 4).reshape(-1, R * r, C * c)
    return batch


def _own_part(array: jax.Array, axes: Axes, mesh: Mesh) -> jax.Array:
    """This device's share of the leading axis."""
    share = array.shape[0] // axes_size(mesh, axes)
    return jax.lax.dynamic_slice_in_dim(array, jax.lax.axis_index(axes) * share, share)


def gather_matrices(batch: jax.Array, layout: MatrixLayout, mesh: Mesh) -> jax.Array:
    """Undoes ``scatter_matrices``: ``[n / devices, r, c]`` → ``[n, r_local, c_local]``."""
    axes, R, C = (*layout.rows, *layout.cols), axes_size(mesh, layout.rows), axes_size(mesh, layout.cols)
    if R * C > 1:
        share, rows, cols = batch.shape
        r, c = rows // R, cols // C
        tiles = batch.reshape(share, R, r, C, c).transpose(1, 3, 0, 2, 4).reshape(-1, r, c)
        batch = jax.lax.all_to_all(tiles, axes, split_axis=0, concat_axis=0, tiled=True)
    if axes_size(mesh, layout.replicas) > 1:
        batch = jax.lax.all_gather(batch, layout.replicas, axis=0, tiled=True)
    return batch


@dataclass(frozen=True)
class Share:
    """What one device gets: ``matrices[g]`` of group ``g``."""

    devices: int
    matrices: tuple[int, ...]


def share_out(counts: Sequence[int], flops: Sequence[int], sizes: Sequence[int], devices: int) -> tuple[Share, ...]:
    """Distributes groups of equal matrices so that the busiest device has little more work than the mean.

    The most expensive matrix comes first, and each goes to the device with the least work (Graham 1969: at most 4/3 of
    the optimum). A device that would then hold more bytes than one matrix of every group is skipped while another has
    room, because all devices receive bundles as long as the longest.

    Args:
      counts, flops, sizes: per group: the number of matrices, and FLOPs and bytes of one. No count exceeds ``devices``.
    """
    room, queue = sum(sizes), [(0, 0, number) for number in range(devices)]
    held = [[0] * len(counts) for _ in range(devices)]
    for group in sorted(range(len(counts)), key=lambda group: (-flops[group], -sizes[group])):
        for _ in range(counts[group]):
            passed = []
            while queue and queue[0][1] + sizes[group] > room:
                passed.append(heapq.heappop(queue))
            load, filled, number = heapq.heappop(queue) if queue else passed.pop(0)
            held[number][group] += 1
            for device in (*passed, (load + flops[group], filled + sizes[group], number)):
                heapq.heappush(queue, device)
    alike = Counter(map(tuple, held))
    return tuple(Share(alike[matrices], matrices) for matrices in sorted(alike, reverse=True))


_LANES = 128


@dataclass(frozen=True)
class MixedMatrices:
    """Matrices of several shapes, spread over the same mesh axes, that are sent together.

    One device's shards for another form one bundle ``[lines, 128]``, padded to the length of the longest.

    Attributes:
      shapes: ``(r, c)`` of one device's shard of a matrix, by group. layouts: by group.
      shares: what each device gets, in the devices' order.
    """

    shapes: tuple[tuple[int, int], ...]
    layouts: tuple[MatrixLayout, ...]
    shares: tuple[Share, ...]

    def lines(self, group: int) -> int:
        """Number of lines of one shard in a bundle."""
        r, c = self.shapes[group]
        return -(-r * c // _LANES)

    def starts(self, share: Share) -> list[int]:
        """For every group, the lines of a bundle before its first shard; last, the total number of lines."""
        starts = [0]
        for group, matrices in enumerate(share.matrices):
            starts.append(starts[-1] + matrices * self.lines(group))
        return starts

    def pack(self, stacks: Sequence[jax.Array]) -> jax.Array:
        """Local shards ``[n, r, c]`` of every group → ``[devices, lines, 128]``, one bundle per device."""
        longest = max(self.starts(share)[-1] for share in self.shares)
        shards = [
            jnp.pad(stack.reshape(len(stack), -1), ((0, 0), (0, -stack[0].size % _LANES))).reshape(
                len(stack), -1, _LANES
            )
            for stack in stacks
        ]
        taken, bundles = [0] * len(stacks), []
        for share in self.shares:
            parts = []
            for group, matrices in enumerate(share.matrices):
                part = shards[group][taken[group] : taken[group] + share.devices * matrices]
                parts.append(part.reshape(share.devices, matrices * self.lines(group), _LANES))
                taken[group] += share.devices * matrices
            bundle = jnp.concatenate(parts, axis=1)
            bundles.append(jnp.pad(bundle, ((0, 0), (0, longest - bundle.shape[1]), (0, 0))))
        return jnp.concatenate(bundles)

    def unpack(self, bundles: jax.Array) -> list[jax.Array]:
        """Undoes ``pack``."""
        parts: list[list[jax.Array]] = [[] for _ in self.shapes]
        first = 0
        for share in self.shares:
            starts = self.starts(share)
            for group, (r, c) in enumerate(self.shapes):
                part = bundles[first : first + share.devices, starts[group] : starts[group + 1]]
                shards = part.reshape(share.devices * share.matrices[group], self.lines(group) * _LANES)
                parts[group].append(shards[:, : r * c].reshape(-1, r, c))
            first += share.devices
        return [jnp.concatenate(part) for part in parts]

    def each(self, stacks: Sequence[jax.Array], run: Callable[[jax.Array], jax.Array], mesh: Mesh) -> list[jax.Array]:
        """Applies ``run(matrix [rows, cols])`` to each matrix on the device that gets it; ``stacks`` as in ``pack``."""
        layout = self.layouts[0]
        axes = layout.axes(mesh)
        bundles = self.pack(stacks)
        if layout.replicas:
            bundles = _own_part(bundles, layout.replicas, mesh)
        if axes:
            bundles = jax.lax.optimization_barrier(bundles)
            bundles = jax.lax.all_to_all(bundles, axes, split_axis=0, concat_axis=0, tiled=True)
        for group in range(len(self.shapes)):
            bundles = self._each_of(group, bundles, run, mesh)
        if axes:
            bundles = jax.lax.all_to_all(bundles, axes, split_axis=0, concat_axis=0, tiled=True)
        if layout.replicas:
            bundles = jax.lax.all_gather(bundles, layout.replicas, axis=0, tiled=True)
        return self.unpack(bundles)

    def _each_of(self, group: int, bundles: jax.Array, run: Callable[[jax.Array], jax.Array], mesh: Mesh) -> jax.Array:
        """Replaces this device's matrices of one group in the received bundles ``[senders, lines, 128]``."""
        layout, lines = self.layouts[group], self.lines(group)
        me = jax.lax.axis_index((*layout.replicas, *layout.axes(mesh)))
        first, count = (
            jnp.array([value for share in self.shares for value in [of(share)] * share.devices], jnp.int32)[me]
            for of in (lambda share: self.starts(share)[group], lambda share: share.matrices[group])
        )

        def replace(i, bundles):
            # After the last matrix the slice may be shifted to fit; it is then written back unchanged.
            at = first + i * lines
            shards = jax.lax.dynamic_slice_in_dim(bundles, at, lines, 1)
            matrix = jax.lax.cond(i < count, run, lambda x: x, self._join(group, shards, mesh))
            shards = jnp.where(i < count, self._cut(group, matrix, mesh), shards)
            return jax.lax.dynamic_update_slice_in_dim(bundles, shards, at, 1)

        return jax.lax.fori_loop(0, max(share.matrices[group] for share in self.shares), replace, bundles)

    def _order(self, group: int, mesh: Mesh) -> tuple[list[int], list[int]]:
        """Sizes of a matrix's shards ``[axes of the mesh ..., r, c]``, and their order in ``[rows ..., cols ...]``."""
        layout, axes = self.layouts[group], self.layouts[group].axes(mesh)
        rows, cols = ([axes.index(axis) for axis in side if axis in axes] for side in (layout.rows, layout.cols))
        sizes = [*(mesh.shape[axis] for axis in axes), *self.shapes[group]]
        return sizes, [*rows, len(axes), *cols, len(axes) + 1]

    def _join(self, group: int, shards: jax.Array, mesh: Mesh) -> jax.Array:
        """``[senders, lines, 128]`` → the whole matrix."""
        (r, c), (sizes, order), layout = self.shapes[group], self._order(group, mesh), self.layouts[group]
        shards = shards.reshape(shards.shape[0], -1)[:, : r * c].reshape(sizes).transpose(order)
        return shards.reshape(r * axes_size(mesh, layout.rows), c * axes_size(mesh, layout.cols))

    def _cut(self, group: int, matrix: jax.Array, mesh: Mesh) -> jax.Array:
        """Undoes ``_join``."""
        (r, c), (sizes, order) = self.shapes[group], self._order(group, mesh)
        back = sorted(range(len(order)), key=order.__getitem__)
        shards = matrix.reshape([sizes[place] for place in order]).transpose(back).reshape(-1, r * c)
        return jnp.pad(shards, ((0, 0), (0, -r * c % _LANES))).reshape(len(shards), -1, _LANES)

"""The device mesh: always all four named axes, so no code has to ask whether an axis exists.

Over several slices the mesh is hybrid: the slices are the outer part of ``data``, then of ``fsdp``. So everything that
stays inside a slice (``context``, ``tensor``, the inner part of ``fsdp``) uses its fast links.
"""

from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from polaris_jax.errors import InputError
from polaris_jax.sharding.slices import group_by_slice, shares_over_slices

MESH_AXES = ("data", "fsdp", "context", "tensor")


def make_mesh(shape: Mapping[str, int] | None = None, *, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Builds the ``(data, fsdp, context, tensor)`` mesh.

    Args:
      shape: devices per axis over all slices, e.g. ``{"context": 4}``; missing axes are 1, and one axis may be -1
        ("what is left").
      devices: the devices to use; default: all of ``jax.devices()``.

    Raises:
      InputError: an unknown axis, a product that is not the number of devices, or axes that would split a slice.
    """
    devices = list(jax.devices() if devices is None else devices)
    sizes = resolve_sizes(shape or {}, len(devices))
    slices = group_by_slice(devices)
    if len({len(each) for each in slices}) > 1:
        raise InputError("mesh", [len(each) for each in slices], "slices of different sizes make no mesh")
    outer = dict.fromkeys(MESH_AXES, 1) | shares_over_slices(sizes, len(slices))
    inner = tuple(size // outer[axis] for axis, size in sizes.items())
    grids = np.stack([_grid(inner, each) for each in slices]).reshape(*outer.values(), *inner)
    # [outer..., inner...] -> every axis as outer x inner, with the slices major.
    order = [place for axis in range(len(MESH_AXES)) for place in (axis, axis + len(MESH_AXES))]
    grid = grids.transpose(order).reshape(tuple(sizes.values()))
    return Mesh(grid, MESH_AXES, axis_types=(AxisType.Auto,) * len(MESH_AXES))


def resolve_sizes(shape: Mapping[str, int], count: int) -> dict[str, int]:
    """Devices per axis, all four, with -1 resolved.

    Args:
      shape: as for ``make_mesh``. count: the number of all devices.

    Raises:
      InputError: an unknown axis, or a product that is not ``count``.
    """
    sizes = dict.fromkeys(MESH_AXES, 1)
    for axis, size in shape.items():
        if axis not in sizes:
            raise InputError("mesh", axis, f"no such axis; the mesh has {', '.join(MESH_AXES)}")
        sizes[axis] = int(size)
    free = [axis for axis, size in sizes.items() if size == -1]
    if len(free) > 1:
        raise InputError("mesh", dict(sizes), "only one axis may be -1")
    fixed = 1
    for size in sizes.values():
        fixed *= size if size != -1 else 1
    if free:
        if fixed < 1 or count % fixed:
            raise InputError(f"mesh.{free[0]}", -1, f"{count} devices do not divide by {fixed}")
        sizes[free[0]] = count // fixed
    elif fixed != count:
        raise InputError(
            "mesh",
            {a: s for a, s in sizes.items() if s != 1} or {"data": 1},
            f"needs {fixed} devices but there are {count}; set one axis to -1 to take what is left",
        )
    return sizes


def _grid(shape: tuple[int, ...], devices: Sequence[jax.Device]) -> np.ndarray:
    """The devices of one slice, with neighbours of the torus adjacent if the shape allows it."""
    try:
        return mesh_utils.create_device_mesh(shape, devices=devices)
    except NotImplementedError:  # a mesh axis fits no whole axis of the torus; it may use a part of one
        return mesh_utils.create_device_mesh(shape, devices=devices, allow_split_physical_axes=True)

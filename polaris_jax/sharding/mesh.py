"""The device mesh: four named axes, always all four, so that no code asks whether an axis exists."""

from collections.abc import Mapping, Sequence

import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from polaris_jax.errors import InputError

MESH_AXES = ("data", "fsdp", "context", "tensor")


def make_mesh(shape: Mapping[str, int] | None = None, *, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Builds the ``(data, fsdp, context, tensor)`` mesh.

    Args:
      shape: devices per axis, e.g. ``{"context": 4}``; missing axes are 1, and one axis may be -1 ("what is left").
      devices: the devices to use; default all of ``jax.devices()``.

    Raises:
      InputError: an unknown axis, or a product that is not the number of devices.
    """
    devices = list(jax.devices() if devices is None else devices)
    sizes = dict.fromkeys(MESH_AXES, 1)
    for axis, size in (shape or {}).items():
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
        if fixed < 1 or len(devices) % fixed:
            raise InputError(f"mesh.{free[0]}", -1, f"{len(devices)} devices do not divide by {fixed}")
        sizes[free[0]] = len(devices) // fixed
    elif fixed != len(devices):
        raise InputError(
            "mesh", {a: s for a, s in sizes.items() if s != 1} or {"data": 1},
            f"needs {fixed} devices but there are {len(devices)}; set one axis to -1 to take what is left",
        )
    shape, types = tuple(sizes.values()), (AxisType.Auto,) * len(MESH_AXES)
    try:
        return jax.make_mesh(shape, MESH_AXES, axis_types=types, devices=devices)
    except NotImplementedError:  # an axis fits no axis of the torus; it may take a part of one
        grid = mesh_utils.create_device_mesh(shape, devices=devices, allow_split_physical_axes=True)
        return Mesh(grid, MESH_AXES, axis_types=types)

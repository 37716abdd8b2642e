"""Finds the chips of a slice by its name (``v5p-16``), and the mesh of a config on them.

Names count as in the cloud: chips in ``v5e-N`` and ``v6e-N``, TensorCores (two per chip) in ``v5p-N`` and ``tpu7x-N``.
Three-dimensional slices beyond 32 chips are built of cubes of 4x4x4, arranged as nearly cubic as their number allows;
two-dimensional ones end at 16x16.
"""

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from polaris_jax.errors import InputError
from polaris_jax.models.config import ModelConfig
from polaris_jax.sharding import MESH_AXES, OVER_SLICES, shares_over_slices
from polaris_jax.sharding.chips import CHIPS, Chip, chip_of
from polaris_jax.training.config import TrainConfig
from polaris_jax.training.mesh_fit import check_model_fits, check_rows_fit

_FLAT = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
_SMALL = {1: "1x1x1", 4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4"}
_MOST_CUBES = 140  # 16x20x28, the largest slice that is sold
_LONGEST = 64  # cubes along one edge


@dataclass(frozen=True)
class Slice:
    """A named slice: ``v5p-16`` is 8 chips laid out ``2x2x2``, 8 JAX devices.

    Attributes:
      chips: of one slice.
      count: how many such slices make the mesh, joined by the data-centre network.
    """

    name: str
    chip: Chip
    layout: str
    chips: int
    count: int = 1

    @property
    def devices(self) -> int:
        """JAX devices of all slices."""
        return self.all_chips * self.chip.devices_per_chip

    @property
    def all_chips(self) -> int:
        """Chips of all slices."""
        return self.chips * self.count

    @property
    def title(self) -> str:
        """``2 x v5p-128``, or the name alone."""
        return self.name if self.count == 1 else f"{self.count} x {self.name}"

    @property
    def topology_name(self) -> str:
        """As ``jax.experimental.topologies.get_topology_desc`` wants it."""
        return f"{self.chip.topology_prefix}:{self.layout}"

    @property
    def edges(self) -> tuple[int, ...]:
        return tuple(int(edge) for edge in self.layout.split("x"))


def find_slice(name: str, count: int = 1) -> Slice:
    """The slice called ``name``, ``count`` times; ``v5litepod-N`` is understood as ``v5e-N``.

    Raises:
      InputError: an unknown TPU version, a size that is not sold (names the nearest that is), or a count below 1.
    """
    if count < 1:
        raise InputError("--slices", count, "must be at least 1")
    match = re.fullmatch(r"(v5litepod|[a-z0-9]+)-(\d+)", name.strip().lower())
    kind = {"v5litepod": "v5e"}.get(match[1], match[1]) if match else ""
    if match is None or kind not in CHIPS:
        raise InputError("--topology", name, f"name a slice such as v5p-16; versions are {', '.join(CHIPS)}")
    chip, size = CHIPS[kind], int(match[2])
    for slice_ in _slices(chip):
        if slice_.name == f"{kind}-{size}":
            return replace(slice_, count=count)
    nearest = min(_slices(chip), key=lambda s: (abs(int(s.name.split("-")[1]) - size), s.chips))
    raise InputError("--topology", name, f"no such slice; the nearest is {nearest.name} ({nearest.layout})")


def slice_of(device_kind: str, devices: int, count: int = 1) -> Slice | None:
    """The slice of which ``count`` have so many JAX devices of this kind in all.

    None if the kind is no TPU of the table, or no such slice is sold.
    """
    chip = chip_of(device_kind)
    known = (replace(slice_, count=count) for slice_ in _slices(chip)) if chip else ()
    return next((slice_ for slice_ in known if slice_.devices == devices), None)


def larger_slices(slice_: Slice) -> list[Slice]:
    """Slices of the same version with more chips, each twice the one before; their ``count`` is the same."""
    return [
        replace(s, count=slice_.count)
        for s in _slices(slice_.chip)
        if s.chips > slice_.chips and s.chips & (s.chips - 1) == 0
    ]


def _slices(chip: Chip) -> list[Slice]:
    layouts = (
        _FLAT
        if chip.torus == 2
        else _SMALL | {64 * n: layout for n in range(1, _MOST_CUBES + 1) if (layout := _cubic(n))}
    )
    return [
        Slice(f"{chip.name}-{chips * chip.cores_in_name}", chip, layout, chips) for chips, layout in layouts.items()
    ]


def _cubic(cubes: int) -> str | None:
    """The arrangement of so many 4x4x4 cubes with the shortest longest edge."""
    divisors = [n for n in range(1, cubes + 1) if cubes % n == 0]
    found = [
        (c, b, a)
        for a, b in itertools.combinations_with_replacement(divisors, 2)
        if cubes % (a * b) == 0 and (c := cubes // (a * b)) >= b
    ]
    c, b, a = min(found, key=lambda edges: (edges[0], -edges[2]))
    return f"{4 * a}x{4 * b}x{4 * c}" if c <= _LONGEST else None


def mesh_sizes(config: TrainConfig, slice_: Slice, model: ModelConfig) -> dict[str, int]:
    """``axis_sizes``, after checking that rows, heads and tokens can be laid out over them.

    Raises:
      InputError: an axis of the wrong size, a window or a batch that does not divide; names the smallest change.
    """
    sizes = axis_sizes(config, slice_)
    check_model_fits(model, sizes)
    check_rows_fit(config, sizes, padded=slice_.count < config.mesh.slices)
    return sizes


def axis_sizes(config: TrainConfig, slice_: Slice) -> dict[str, int]:
    """Devices per mesh axis, with -1 resolved.

    Raises:
      InputError: the sizes do not match the slices, or would cut one.
    """
    asked = config.mesh.sizes()
    sizes = dict(asked)
    free = [axis for axis, size in sizes.items() if size == -1]
    if len(free) > 1:
        raise InputError("config.mesh", sizes, f"only one axis may be -1; set --config.mesh.{free[0]}=1")
    for axis, size in sizes.items():
        if size < 1 and size != -1:
            raise InputError(f"config.mesh.{axis}", size, f"set --config.mesh.{axis}=1, or -1 for what is left")
    product = _product(size for size in sizes.values() if size != -1)
    if free and slice_.devices % product == 0:
        sizes[free[0]] = slice_.devices // product
    elif product != slice_.devices:
        axis, size = _nearest_axis(sizes, slice_)
        raise InputError(
            f"config.mesh.{axis}",
            asked[axis],
            f"the mesh needs {product} devices and {slice_.title} has {slice_.devices}; "
            f"set --config.mesh.{axis}={size}",
        )
    shares_over_slices(sizes, slice_.count)
    return sizes


def _nearest_axis(sizes: dict[str, int], slice_: Slice) -> tuple[str, int]:
    """The axis, and its new size, that makes the product right with the least change. With several slices, only axes
    that may reach over them are changed."""
    changes, devices = [], slice_.devices
    for axis in MESH_AXES if slice_.count == 1 else OVER_SLICES:
        others = _product(size for name, size in sizes.items() if name != axis and size != -1)
        if devices % others == 0:
            changes.append((abs(devices // others - max(1, sizes[axis])), axis, devices // others))
    if not changes:  # no single axis corrects it: context alone takes the whole slice
        return "context", devices
    _, axis, size = min(changes)
    return axis, size


def _product(sizes: Iterable[int]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product

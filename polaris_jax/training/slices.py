"""A run that has lost some of its slices continues with a smaller mesh, more microbatches and the same steps.

``mesh.slices`` says for how many slices the sizes of the mesh and ``train.microbatches`` were chosen. With fewer
attached, ``data`` and ``fsdp`` lose the parts that lay there, and every device takes the rows that are left over in
further microbatches of the same size, so that memory per device stays. Batches, their order and the data state do not
change: the run goes on from its last checkpoint, and takes a slice in again the same way.
"""

import math
from collections.abc import Sequence

import jax
from jax.sharding import Mesh

from polaris_jax.errors import InputError
from polaris_jax.options import replace
from polaris_jax.sharding import group_by_slice, resolve_sizes, shares_over_slices
from polaris_jax.training.config import StepConfig, TrainConfig
from polaris_jax.training.mesh_fit import check_rows_fit


def fit_to_slices(config: TrainConfig, attached: int, devices: int) -> tuple[TrainConfig, str | None]:
    """``(config for the attached slices, in words what changed)``; the config as it is, and None, if none is missing.

    Args:
      attached: slices that are there. devices: of all of them together.

    Raises:
      InputError: more slices than ``mesh.slices``, or a mesh that the slices of the whole run cannot hold.
    """
    planned = config.mesh.slices
    if planned in (0, attached):
        return config, None
    if attached > planned:
        raise InputError(
            "config.mesh.slices", planned, f"{attached} slices are attached; set --config.mesh.slices={attached}"
        )
    sizes = resolve_sizes(config.mesh.sizes(), devices // attached * planned)
    check_rows_fit(config, sizes)
    outer = shares_over_slices(sizes, planned)
    over_fsdp = math.gcd(outer["fsdp"], attached)
    smaller = sizes | {
        "data": sizes["data"] // outer["data"] * (attached // over_fsdp),
        "fsdp": sizes["fsdp"] // outer["fsdp"] * over_fsdp,
    }
    parts = _microbatches(config, _shares(sizes), _shares(smaller))
    changed = replace(config, {"train.microbatches": parts, **{f"mesh.{axis}": size for axis, size in smaller.items()}})
    return changed, (
        f"{attached} of {planned} slices are attached: going on with data={smaller['data']} fsdp={smaller['fsdp']} and "
        f"{parts} microbatches in the place of {config.train.microbatches}; the steps stay the same"
    )


def require_all_slices(config: StepConfig, devices: Sequence[jax.Device] | None) -> None:
    """Refuses missing slices, for runs that ``fit_to_slices`` does not fit.

    Args:
      devices: of the mesh; default all.

    Raises:
      InputError: another number of slices than ``mesh.slices``.
    """
    planned, attached = config.mesh.slices, len(group_by_slice(list(devices or jax.devices())))
    if planned not in (0, attached):
        raise InputError(
            "config.mesh.slices",
            planned,
            f"{attached} are attached, and only supervised runs go on with fewer; set --config.mesh.slices={attached} "
            "and a mesh for them",
        )


def slices_are_missing(config: TrainConfig, mesh: Mesh) -> bool:
    """Whether ``mesh`` has fewer slices than the run was planned for; its rows are then padded where they must be."""
    return len(group_by_slice(list(mesh.devices.flat))) < config.mesh.slices


def _shares(sizes: dict[str, int]) -> int:
    """The number of devices that hold different rows."""
    return sizes["data"] * sizes["fsdp"]


def _microbatches(config: TrainConfig, before: int, now: int) -> int:
    """The fewest in which no device has more rows at a time than before; those that need no padding are preferred."""
    batches = [config.data.batch_size, *(rows for _, _, rows in config.data.curriculum)]
    largest = [rows // (before * config.train.microbatches) for rows in batches]
    fewest = max(-(-rows // (now * most)) for rows, most in zip(batches, largest, strict=True))
    # A padding row costs as much as a real one. One more microbatch costs little.
    exact = (n for n in range(fewest, 2 * fewest) if all(rows % (now * n) == 0 for rows in batches))
    return next(exact, fewest)

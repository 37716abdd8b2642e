"""Slices: groups of devices with fast links inside, joined to each other by the data-centre network (DCN).

TPU devices name their slice. For host devices, ``MEGASCALE_NUM_SLICES`` cuts the devices of all processes into this
number of equal groups. Cloud TPU sets it on every host of several slices, and ``launch/local_multiprocess.sh --slices``
in every process.
"""

import math
import os
from collections.abc import Mapping, Sequence

import jax

from polaris_jax.errors import InputError

# The axes that may span slices, in order of preference: the gradients of data cross once per step, the gathered weights
# of fsdp once per layer and pass.
OVER_SLICES = ("data", "fsdp")
COUNT_VARIABLE = "MEGASCALE_NUM_SLICES"


def group_by_slice(devices: Sequence[jax.Device]) -> list[list[jax.Device]]:
    """The devices of every slice, in the order of the slices.

    Raises:
      InputError: ``MEGASCALE_NUM_SLICES`` is not a number that divides the host devices.
    """
    slices: dict[int, list[jax.Device]] = {}
    index = _host_slices() if devices[0].platform == "cpu" else {}
    for device in devices:
        number = index[device.id] if index else getattr(device, "slice_index", 0)
        slices.setdefault(number, []).append(device)
    return [slices[number] for number in sorted(slices)]


def _host_slices() -> dict[int, int]:
    """Device id → slice of every host device; empty if the variable is not set."""
    said = os.environ.get(COUNT_VARIABLE, "1")
    everyone = jax.devices("cpu")
    if not said.isdigit() or int(said) < 1:
        raise InputError(COUNT_VARIABLE, said, "must be a whole number, at least 1")
    slices = int(said)
    if slices > 1 and len(everyone) > 1 and len(everyone) % slices:
        raise InputError(COUNT_VARIABLE, said, f"does not divide the {len(everyone)} host devices")
    return {device.id: place * slices // len(everyone) for place, device in enumerate(everyone)} if slices > 1 else {}


def shares_over_slices(sizes: Mapping[str, int], slices: int) -> dict[str, int]:
    """The number of slices that ``data`` and ``fsdp`` span, ``{"data": n, "fsdp": m}`` with ``n * m == slices``.

    ``data`` spans as many as possible.

    Args:
      sizes: devices per mesh axis, over all slices.

    Raises:
      InputError: the two axes cannot be cut into this many parts; the message names the smallest change.
    """
    data, fsdp = sizes["data"], sizes["fsdp"]
    for over_data in range(min(slices, data), 0, -1):
        over_fsdp = slices // over_data
        if slices % over_data == 0 and data % over_data == 0 and fsdp % over_fsdp == 0:
            return {"data": over_data, "fsdp": over_fsdp}
    more = slices // math.gcd(slices, data)  # the factor that data lacks; another axis has to give it up
    smaller = next((axis for axis in ("context", "fsdp", "tensor") if sizes[axis] % more == 0), None)
    raise InputError(
        "config.mesh",
        " ".join(f"{axis}={size}" for axis, size in sizes.items() if size > 1) or "data=1",
        f"{slices} slices must divide data x fsdp, since context and tensor stay inside a slice; "
        + (
            f"set --config.mesh.data={data * more} --config.mesh.{smaller}={sizes[smaller] // more}"
            if smaller
            else f"set --config.mesh.data={slices}"
        ),
    )

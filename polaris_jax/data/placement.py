"""Batches as global arrays on a mesh: every process reads the rows and context shards of its own devices only."""

from collections.abc import Iterator

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from polaris_jax.data.loader import FIELDS, Batches, prefetch
from polaris_jax.sharding import activation_spec


def place(batches: Batches, step: int, mesh: Mesh) -> dict[str, jax.Array]:
    """``batches.batch(step)`` as arrays [B, S], rows over (data, fsdp) and columns over context.

    Devices that hold the same part (tensor-parallel peers) share one read.
    """
    shape = batches.shape(step)
    sharding = NamedSharding(mesh, activation_spec(("batch", "sequence")))
    parts: dict[tuple, dict[str, np.ndarray]] = {}
    for rows, columns in sharding.addressable_devices_indices_map(shape).values():
        if _key((rows, columns)) not in parts:
            parts[_key((rows, columns))] = batches.batch(step, rows, columns)
    return {
        name: jax.make_array_from_callback(shape, sharding, lambda index, name=name: parts[_key(index)][name])
        for name in FIELDS
    }


def iterate_placed(
    batches: Batches, mesh: Mesh, start_step: int, stop_step: int, *, threads: int = 4
) -> Iterator[tuple[int, dict[str, jax.Array]]]:
    """Yields ``(step, place(batches, step, mesh))`` in order while threads read and transfer the steps to come."""
    return prefetch(lambda step: place(batches, step, mesh), start_step, stop_step, threads=threads)


def _key(index: tuple[slice, ...]) -> tuple:
    return tuple((part.start, part.stop) for part in index)

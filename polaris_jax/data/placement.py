"""Batches as global arrays on a mesh. Every process reads only the rows and context shards of its own devices."""

from collections.abc import Iterator
from functools import partial

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from polaris_jax.data.loader import ALL, FIELDS, BatchSource, prefetch
from polaris_jax.sharding import activation_spec

_Key = tuple[tuple[int | None, int | None], ...]  # start and stop of each slice of an index


def place(batches: BatchSource, step: int, mesh: Mesh, *, multiple: int = 1) -> dict[str, jax.Array]:
    """``batches.batch(step)`` as arrays [B, S], rows over (data, fsdp) and columns over context.

    Devices that hold the same part (tensor-parallel peers) share one read.

    Args:
      multiple: rows are rounded up to a multiple of it; padding rows (segment 0, weight 0) come last.
    """
    count, length = batches.shape(step)
    shape = (-(-count // multiple) * multiple, length)
    sharding = NamedSharding(mesh, activation_spec(("batch", "sequence")))
    parts: dict[_Key, dict[str, np.ndarray]] = {}
    for index in sharding.addressable_devices_indices_map(shape).values():
        rows, columns = index or (ALL, ALL)
        if _key((rows, columns)) not in parts:
            parts[_key((rows, columns))] = _read(batches, step, rows, columns)

    def part(name: str, index: tuple[slice, ...]) -> np.ndarray:
        return parts[_key(index)][name]

    return {name: jax.make_array_from_callback(shape, sharding, partial(part, name)) for name in FIELDS}


def iterate_placed(
    batches: BatchSource, mesh: Mesh, start_step: int, stop_step: int, *, threads: int = 4, multiple: int = 1
) -> Iterator[tuple[int, dict[str, jax.Array]]]:
    """Yields ``(step, place(batches, step, mesh))`` in order while threads read and transfer the next steps."""
    return prefetch(lambda step: place(batches, step, mesh, multiple=multiple), start_step, stop_step, threads=threads)


def _read(batches: BatchSource, step: int, rows: slice, columns: slice) -> dict[str, np.ndarray]:
    """The part of a batch that ``rows`` and ``columns`` select; rows after the last one are padding."""
    count, length = batches.shape(step)
    if rows.stop is None or rows.stop <= count:
        return batches.batch(step, rows, columns)
    start = rows.start or 0
    width, missing = len(range(*columns.indices(length))), rows.stop - max(start, count)
    empty = {name: np.zeros((missing, width), dtype) for name, dtype in FIELDS.items()}
    if start >= count:
        return empty
    found = batches.batch(step, slice(start, count), columns)
    return {name: np.concatenate([found[name], empty[name]]) for name in FIELDS}


def _key(index: tuple[slice, ...]) -> _Key:
    return tuple((part.start, part.stop) for part in index)

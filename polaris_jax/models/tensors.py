"""One tensor in Hugging Face layout, whatever its source. It is read in runs of rows, never all at once.

Safetensors files, parameters on devices, Orbax checkpoints and GGUF files all appear as dictionaries of ``HFTensor``;
every writer and loader of checkpoints takes such a dictionary. Memory is bounded by the run of rows, not by the tensor.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

# Bytes held at a time, per copy: small beside a gigabyte, large beside the latency of a disk or a device.
PIECE_BYTES = 32 << 20
READERS = 2


@dataclass(frozen=True)
class HFTensor:
    """Shape, dtype, and ``rows(start, stop)`` to fetch values ``[stop - start, ...]`` along the first axis, in any
    memory order."""

    shape: tuple[int, ...]
    dtype: np.dtype
    rows: Callable[[int, int], np.ndarray]

    @property
    def bytes(self) -> int:
        """Bytes of all values."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> np.ndarray:
        """All values."""
        return self.rows(0, self.shape[0])

    def astype(self, dtype: Any) -> "HFTensor":
        """The same values in another dtype, rounded as they are read."""
        dtype = np.dtype(dtype)
        return (
            self
            if dtype == self.dtype
            else HFTensor(self.shape, dtype, lambda start, stop: self.rows(start, stop).astype(dtype))
        )


def row_runs(rows: int, row_bytes: int, limit: int | None = None) -> list[tuple[int, int]]:
    """Cuts ``rows`` in equal runs of at most ``limit`` bytes (default ``PIECE_BYTES``): ``(start, stop)`` of each."""
    most = max(1, (limit or PIECE_BYTES) // max(row_bytes, 1))
    size = -(-rows // -(-rows // most)) if rows else 1
    return [(start, min(start + size, rows)) for start in range(0, rows, size)]


def pieces(tensor: HFTensor) -> Iterator[np.ndarray]:
    """The tensor's values in order and in C order, run by run."""
    runs = row_runs(tensor.shape[0], tensor.bytes // max(tensor.shape[0], 1))
    yield from read_ahead(lambda start, stop: contiguous(tensor.rows(start, stop)), runs)


def read_ahead(read: Callable[..., Any], wanted: list[tuple]) -> Iterator[Any]:
    """``read(*args)`` for each of ``wanted``, in order; ``READERS`` of them are being read while one is used."""
    if len(wanted) < 2:
        yield from (read(*args) for args in wanted)
        return
    with ThreadPoolExecutor(READERS) as readers:
        coming = deque(readers.submit(read, *args) for args in wanted[:READERS])
        for args in wanted[READERS:]:
            present = coming.popleft().result()
            coming.append(readers.submit(read, *args))
            yield present
            del present
        while coming:
            yield coming.popleft().result()


def index_bounds(index: tuple[slice, ...]) -> tuple[tuple[int | None, int | None], ...]:
    """``(start, stop)`` per axis: an index of an array as a key of a dictionary."""
    return tuple((where.start, where.stop) for where in index)


def contiguous(values: np.ndarray) -> np.ndarray:
    """``values`` in C order. The runtime's transpose is several times as fast as NumPy's."""
    if values.ndim == 2 and not values.flags.c_contiguous and values.strides[0] == values.itemsize:
        return np.asarray(jax.device_put(values, jax.local_devices(backend="cpu")[0]))
    return np.ascontiguousarray(values)

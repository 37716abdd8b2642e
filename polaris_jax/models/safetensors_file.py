"""The safetensors container, read and written one tensor at a time, on local disks and object stores alike.

A file is: header length (8 bytes, little endian), JSON header ``{name: {dtype, shape, data_offsets}}``, row-major data.
The ``safetensors`` package reads local files only; the format is small enough to stream through ``epath`` instead.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from etils import epath

from polaris_jax.errors import InputError

DTYPES = {"F32": np.dtype(np.float32), "BF16": np.dtype(ml_dtypes.bfloat16), "F16": np.dtype(np.float16)}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies: file, offset in bytes, shape, and dtype as the file names it."""

    file: epath.Path
    offset: int
    shape: tuple[int, ...]
    dtype_name: str

    @property
    def dtype(self) -> np.dtype:
        """The tensor's dtype.

        Raises:
          InputError: a dtype that the models do not compute in (quantised releases).
        """
        if self.dtype_name not in DTYPES:
            raise InputError(str(self.file), self.dtype_name, f"tensors must be one of {', '.join(DTYPES)}")
        return DTYPES[self.dtype_name]

    def read(self) -> np.ndarray:
        """The values: mapped from a local file, so that only touched pages are read; downloaded otherwise."""
        count = math.prod(self.shape)
        if _is_local(self.file):
            flat = np.memmap(self.file, np.uint8, "r", self.offset, count * self.dtype.itemsize) if count else b""
        else:
            with self.file.open("rb") as stream:
                stream.seek(self.offset)
                flat = stream.read(count * self.dtype.itemsize)
        return np.frombuffer(flat, self.dtype, count).reshape(self.shape)


def _is_local(path: epath.Path) -> bool:
    return "://" not in str(path)


def read_header(file: epath.Path) -> dict[str, StoredTensor]:
    """The tensors of one file by name.

    Raises:
      InputError: the file is missing, truncated or not safetensors.
    """
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        tensors = {
            name: StoredTensor(file, 8 + length + entry["data_offsets"][0], tuple(entry["shape"]), entry["dtype"])
            for name, entry in header.items()
        }
        end = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
        size = file.stat().length
    except FileNotFoundError:
        raise InputError("checkpoint", str(file), "no such file; copy every shard that the index names") from None
    except (OSError, OverflowError, MemoryError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError("checkpoint", str(file), f"not a safetensors file ({error})") from None
    if size < end:
        raise InputError("checkpoint", str(file), f"truncated: {size} bytes of {end}; copy it again")
    return tensors


def write_file(
    file: epath.Path, shapes: Mapping[str, tuple[tuple[int, ...], np.dtype]], read: Callable[[str], np.ndarray]
) -> Iterator[str]:
    """Writes one file, asking ``read(name)`` for each tensor's values in turn and yielding its name when written."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (shape, dtype) in shapes.items():
        begin, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with file.open("wb") as stream:
        stream.write(len(encoded).to_bytes(8, "little") + encoded)
        for name in shapes:
            stream.write(np.ascontiguousarray(read(name)).tobytes())
            yield name

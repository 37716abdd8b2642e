"""The safetensors container, read and written a few rows at a time, on local disks and in buckets alike.

A file is: header length (8 bytes, little endian), JSON header ``{name: {dtype, shape, data_offsets}}``, row-major data.
The ``safetensors`` package reads local files only, by mapping them; the format is small enough to stream instead.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from polaris_jax.errors import InputError
from polaris_jax.models.folder import BucketFolder, LocalFolder
from polaris_jax.models.tensors import HFTensor, pieces

DTYPES = {"F32": np.dtype(np.float32), "BF16": np.dtype(ml_dtypes.bfloat16), "F16": np.dtype(np.float16)}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_LONGEST_HEADER = 100 << 20  # the format's own limit


def read_header(folder: LocalFolder | BucketFolder, name: str) -> dict[str, HFTensor | str]:
    """The tensors of one file by name; of a tensor in a dtype that the models do not compute in, only that dtype.

    Raises:
      InputError: the file is missing, truncated or not safetensors.
    """
    file = f"{folder}/{name}"
    try:
        length = int.from_bytes(folder.read(name, 0, 8).tobytes(), "little")
        if length > _LONGEST_HEADER:
            raise ValueError(f"a header of {length} bytes")
        header = json.loads(folder.read(name, 8, 8 + length).tobytes())
        header.pop("__metadata__", None)
        data = 8 + length
        tensors = {key: _tensor(folder, name, data, entry) for key, entry in header.items()}
        end = data + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except FileNotFoundError:
        raise InputError("checkpoint", file, "no such file; copy every shard that the index names") from None
    except (OSError, EOFError, OverflowError, MemoryError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("checkpoint", file, f"not a safetensors file ({error})") from None
    try:
        folder.read(name, end - 1, end)
    except EOFError:
        raise InputError("checkpoint", file, f"truncated: it has no byte {end}; copy it again") from None
    return tensors


def _tensor(folder: LocalFolder | BucketFolder, name: str, data: int, entry: Mapping[str, Any]) -> HFTensor | str:
    if entry["dtype"] not in DTYPES:
        return str(entry["dtype"])
    dtype, shape, offset = DTYPES[entry["dtype"]], tuple(entry["shape"]), data + entry["data_offsets"][0]
    if math.prod(shape) * dtype.itemsize != entry["data_offsets"][1] - entry["data_offsets"][0]:
        raise ValueError(f"{shape} of {entry['dtype']} in {entry['data_offsets']}")
    row = math.prod(shape[1:]) * dtype.itemsize

    def rows(start: int, stop: int) -> np.ndarray:
        values = folder.read(name, offset + start * row, offset + stop * row).view(dtype)
        return values.reshape(stop - start, *shape[1:])

    return HFTensor(shape, dtype, rows)


def write_file(
    folder: LocalFolder | BucketFolder, name: str, tensors: Mapping[str, HFTensor],
    advance: Callable[[int], None] = lambda size: None,
) -> None:
    """Writes one file, reading each tensor a piece at a time; ``advance`` is told the bytes of every piece."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for key, tensor in tensors.items():
        begin, end = end, end + tensor.bytes
        header[key] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)

    def content() -> Iterator[Any]:
        yield len(encoded).to_bytes(8, "little") + encoded
        for tensor in tensors.values():
            for piece in pieces(tensor):
                yield piece.reshape(-1).view(np.uint8)
                advance(piece.nbytes)

    folder.write(name, content())

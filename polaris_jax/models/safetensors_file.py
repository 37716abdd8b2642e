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

# What parameters are stored in.
DTYPES = {"F32": np.dtype(np.float32), "BF16": np.dtype(ml_dtypes.bfloat16), "F16": np.dtype(np.float16)}
# What else is read: quantised weights and their scales.
OTHER_DTYPES = {
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F64": np.dtype(np.float64),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "I32": np.dtype(np.int32),
    "I64": np.dtype(np.int64),
}
_READABLE = DTYPES | OTHER_DTYPES
_NAMES = {dtype: name for name, dtype in _READABLE.items()}
_LONGEST_HEADER = 100 << 20  # the format's own limit


def dtype_name(dtype: np.dtype) -> str:
    """The format's name of a dtype, or NumPy's where it has none."""
    return _NAMES.get(dtype, dtype.name)


def read_header(folder: LocalFolder | BucketFolder, name: str) -> dict[str, HFTensor | str]:
    """The tensors of one file by name, no values read yet; of a tensor in an unreadable dtype only that dtype's name.

    A file from anywhere may be read: whatever its header says, no byte outside the file is asked for.

    Raises:
      InputError: the file is missing, truncated or not safetensors.
    """
    file = f"{folder}/{name}"
    try:
        begin = folder.read(name, 0, 8).tobytes()
        if begin == b"version ":
            raise InputError("checkpoint", file, "is a Git LFS pointer, not the file itself; run git lfs pull")
        length = int.from_bytes(begin, "little")
        if not 2 <= length <= _LONGEST_HEADER:
            raise ValueError(f"a header of {length} bytes")
        header = json.loads(folder.read(name, 8, 8 + length).tobytes(), object_pairs_hook=_once)
        if not isinstance(header, dict):
            raise ValueError("its header is no JSON object")
        header.pop("__metadata__", None)
        data = 8 + length
        tensors = {key: _tensor(folder, name, data, key, entry) for key, entry in header.items()}
        end = data + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except FileNotFoundError:
        raise InputError("checkpoint", file, "no such file; copy every shard that the index names") from None
    except (OSError, EOFError, MemoryError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("checkpoint", file, f"not a safetensors file ({str(error)[:80]})") from None
    try:
        folder.read(name, end - 1, end)
    except (EOFError, OverflowError):
        raise InputError("checkpoint", file, f"truncated: it has no byte {end:.12g}; copy it again") from None
    return tensors


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in its header")
    return found


def _tensor(folder: LocalFolder | BucketFolder, name: str, data: int, key: str, entry: Any) -> HFTensor | str:
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        raise ValueError(f"{key[:40]} has no dtype")
    where, sizes = _sizes(entry.get("data_offsets")), _sizes(entry.get("shape"))
    if where is None or sizes is None or len(where) != 2 or where[0] > where[1]:
        raise ValueError(f"{key[:40]} has no shape and place in the file")
    if entry["dtype"] not in _READABLE:
        return entry["dtype"]
    dtype, shape, offset = _READABLE[entry["dtype"]], tuple(sizes), data + where[0]
    if math.prod(shape) * dtype.itemsize != where[1] - where[0]:
        raise ValueError(f"{key[:40]}: {shape} of {entry['dtype']} in {where}")
    row = math.prod(shape[1:]) * dtype.itemsize

    def rows(start: int, stop: int) -> np.ndarray:
        values = folder.read(name, offset + start * row, offset + stop * row).view(dtype)
        return values.reshape(stop - start, *shape[1:])

    def scalar(start: int, stop: int) -> np.ndarray:
        return folder.read(name, offset, offset + dtype.itemsize).view(dtype)

    return HFTensor(shape, dtype, rows) if shape else HFTensor((1,), dtype, scalar)


def _sizes(value: Any) -> list[int] | None:
    """A JSON value that is a list of sizes; None when it is not."""
    whole = isinstance(value, list) and all(type(number) is int and 0 <= number < 1 << 62 for number in value)
    return value if whole else None


def write_file(
    folder: LocalFolder | BucketFolder,
    name: str,
    tensors: Mapping[str, HFTensor],
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

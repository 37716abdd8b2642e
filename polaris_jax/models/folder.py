"""The folder of a checkpoint, on a disk or in a bucket: reads whole files and byte ranges, writes file by file.

Files are written atomically (``storage``).
"""

import os
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from polaris_jax.errors import InputError
from polaris_jax.storage import brief, is_remote, kvstore, on_disk, write_parts

# One connection to an object store is slow, so a range is fetched in parts of this many bytes at a time.
_PART = 16 << 20


def open_folder(path: Any) -> "LocalFolder | BucketFolder":
    """The folder at a local path, a ``gs://bucket/prefix`` or ``hf://user/name``; it need not exist yet."""
    path = on_disk(os.fspath(path))
    return BucketFolder(path) if is_remote(path) else LocalFolder(path)


class LocalFolder:
    """A folder on a disk."""

    def __init__(self, path: Any):
        self.path = Path(path)

    def __str__(self) -> str:
        return str(self.path)

    def exists(self, name: str) -> bool:
        """Whether the folder holds a file of that name."""
        return (self.path / name).is_file()

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Bytes ``start:stop`` of a file, ``[n] uint8``, in new memory: no page of the file stays mapped.

        Raises:
          FileNotFoundError: no such file.
          EOFError: the file is shorter.
        """
        with (self.path / name).open("rb", buffering=0) as stream:
            stop = os.fstat(stream.fileno()).st_size if stop is None else stop
            out = np.empty(stop - start, np.uint8)
            view, done = out.data, 0
            while done < len(out):
                count = os.preadv(stream.fileno(), [view[done:]], start + done)
                if count == 0:
                    raise EOFError(f"{self.path / name} ends before byte {stop}")
                done += count
        return out

    def write(self, name: str, parts: Iterable[Any]) -> None:
        """Writes a file from buffers, each dropped before the next is asked for."""
        write_parts(self.path / name, parts)

    def delete(self, name: str) -> None:
        """Deletes a file, if there is one."""
        (self.path / name).unlink(missing_ok=True)


class BucketFolder:
    """A prefix in an object store, through TensorStore's drivers."""

    def __init__(self, address: str):
        self.address = address.rstrip("/")
        try:
            self._store = ts.KvStore.open(kvstore(self.address)).result()
        except ValueError as error:
            raise InputError("path", address, f"cannot be opened ({brief(error)})") from None

    def __str__(self) -> str:
        return self.address

    def exists(self, name: str) -> bool:
        """Whether there is an object of that name."""
        try:
            self._get(name, slice(0, 0))()
        except FileNotFoundError:
            return False
        return True

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Bytes of an object; as ``LocalFolder.read``."""
        if stop is None:
            return np.frombuffer(self._get(name, slice(start, None))(), np.uint8)
        edges = [*range(start, stop, _PART), stop]
        out = np.empty(stop - start, np.uint8)
        parts = [self._get(name, slice(a, b)) for a, b in pairwise(edges)]
        for at, part in zip(edges, parts, strict=False):
            value = np.frombuffer(part(), np.uint8)
            out[at - start : at - start + len(value)] = value
        return out

    def _get(self, name: str, where: slice) -> Callable[[], bytes]:
        """Starts to fetch a range; calling the result waits for it."""
        pending = self._store.read(name, byte_range=where)

        def wait() -> bytes:
            try:
                found = pending.result()
            except ValueError as error:
                if "OUT_OF_RANGE" in str(error) or "Content-Range" in str(error):  # depends on the server
                    raise EOFError(f"{self}/{name} ends before byte {where.stop}") from None
                raise InputError("path", f"{self}/{name}", f"cannot be read ({brief(error)})") from None
            if found.state == "missing":
                raise FileNotFoundError(f"{self}/{name}")
            return found.value

        return wait

    def write(self, name: str, parts: Iterable[Any]) -> None:
        """Puts an object, whole: its bytes are gathered in memory first."""
        try:
            self._store.write(name, b"".join(bytes(memoryview(part)) for part in parts)).result()
        except ValueError as error:
            raise InputError("path", f"{self}/{name}", f"cannot be written ({brief(error)})") from None

    def delete(self, name: str) -> None:
        """Deletes an object, if there is one."""
        self._store.write(name, None).result()

"""Addresses, and files by address, alike on a disk and in a bucket: read, write atomically, list.

An address is a local path, ``gs://bucket/prefix``, or, to read from only, ``hf://user/name`` on the Hub (``hub``). A
write to a disk goes to a temporary name and is renamed, a write to a bucket is one put, so a reader sees the whole file
or none. TensorStore's key-value drivers do the work.
"""

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote

import tensorstore as ts

from polaris_jax import hub
from polaris_jax.errors import DISK_ERRORS, MAKE_ROOM, InputError, RunError

# A call to a bucket that stalls is given up and made again; TensorStore would wait for ever. It reads these variables
# when it makes its first call.
os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS", "30")
os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_LIMIT_BYTES", "1")

# A run that has begun waits about a quarter of an hour for a bucket that does not answer (TensorStore's own retries). A
# command that has never reached its bucket fails within 15 seconds.
_FIRST_CALL = {"gcs_request_retries": {"max_retries": 5, "initial_delay": "1s", "max_delay": "4s"}}
_reached: set[str] = set()
# What TensorStore says of a write is a text; the system's own words are in it.
_DISK_REASONS = tuple(os.strerror(code) for code in sorted(DISK_ERRORS))


def join(folder: str, *names: str) -> str:
    """The address of something inside a folder."""
    return "/".join([folder.rstrip("/"), *names])


def is_remote(address: str | os.PathLike[str]) -> bool:
    """Whether the address is a URL, such as that of a bucket, rather than a local path."""
    return "://" in os.fspath(address)


def kvstore(folder: str | os.PathLike[str]) -> str:
    """The folder as a URL for TensorStore, ending in a slash: ``file:///...`` (percent-encoded) or ``gs://...``."""
    text = on_disk(os.fspath(folder))
    url = text if is_remote(text) else "file://" + quote(os.fsencode(os.path.abspath(text)))
    return url.rstrip("/") + "/"


def on_disk(address: str) -> str:
    """The address itself, or where on this disk the repository of an ``hf://`` address lies."""
    return hub.on_disk(address) if address.startswith(hub.SCHEME) else address


def brief(error: Exception) -> str:
    """What TensorStore says, on one line and without its source locations."""
    return (str(error).splitlines() or [""])[0].split(" [", 1)[0][:200]


def check(address: str) -> str:
    """The address itself.

    Raises:
      InputError: unsupported URL scheme.
    """
    if is_remote(address) and not address.startswith(("gs://", hub.SCHEME)):
        raise InputError("address", address, "unsupported URL scheme; use a local path or gs://bucket/prefix")
    return address


def local(field: str, address: str) -> str:
    """The address itself, of something that can be on a local disk only.

    Raises:
      InputError: it is in a bucket; ``field`` is what the caller calls it.
    """
    if is_remote(address):
        raise InputError(field, address, "is written to a local folder only; copy it to the bucket afterwards")
    return address


def name_of(address: str) -> str:
    """The last part of an address."""
    return address.rstrip("/").rsplit("/", 1)[-1]


def read(address: str) -> bytes | None:
    """The bytes of a file, or None when there is none.

    Raises:
      InputError: the address cannot be reached.
    """
    folder, name = _split(address)
    opened = _open(folder)
    try:
        found = opened.read(name).result()
    except ValueError as error:
        raise InputError("address", address, f"cannot be read ({brief(error)})") from error
    return found.value if found.state == "value" else None


def write(address: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file in one atomic step; missing folders are made.

    Raises:
      InputError: the address cannot be written.
      RunError: the disk is full.
    """
    address = os.fspath(address)
    if address.startswith(hub.SCHEME):
        raise InputError("address", address, "nothing is written to the Hub; use a local path or gs://bucket/prefix")
    folder, name = _split(address)
    opened = _open(folder)
    try:
        opened.write(name, content).result()
    except ValueError as error:
        raise not_written(address, error) from error


def not_written(address: str | os.PathLike[str], error: ValueError) -> InputError | RunError:
    """What to raise for a write that TensorStore refused: a ``RunError`` when the disk is full."""
    if reason := next((text for text in _DISK_REASONS if text in str(error)), None):
        return RunError(f"{os.fspath(address)}: {reason}; {MAKE_ROOM}")
    return InputError("address", os.fspath(address), f"cannot be written ({brief(error)})")


def write_cache(address: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file that can be computed again: where it cannot be written, nothing happens."""
    with suppress(InputError, RunError):
        write(address, content)


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Puts the path into an ``OSError`` that names no file, as that of a write to an open file does."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)
        raise


def write_parts(path: str | os.PathLike[str], parts: Iterable[Any]) -> None:
    """Writes a large local file from buffers in one atomic step; each buffer is dropped before the next is asked for.

    Raises:
      OSError: the file cannot be written; what stood there before is still there.
    """
    folder, name = os.path.split(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.tmp")
    try:
        with naming(path), open(temporary, "wb", buffering=0) as stream:
            for part in parts:
                view = memoryview(part)
                while len(view):
                    view = view[stream.write(view) :]
        os.replace(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def names(folder: str) -> set[str]:
    """Names of the files under a folder, at any depth, relative to it; empty when there is no such folder.

    Raises:
      InputError: the address cannot be reached.
    """
    opened = _open(folder)
    try:
        keys = opened.list().result()
    except ValueError as error:
        raise InputError("address", folder, f"cannot be listed ({brief(error)})") from error
    return {key.decode() for key in keys if not key.endswith(b".__lock")}


def delete(folder: str, files: Iterable[str]) -> None:
    """Deletes files of a folder; missing ones are ignored."""
    opened = _open(folder)
    for pending in [opened.write(name, None) for name in files]:
        pending.result()


def read_json(address: str) -> dict[str, Any] | None:
    """The JSON object in a file, or None when there is no such file or it is damaged."""
    content = read(address)
    try:
        value = None if content is None else json.loads(content)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def write_json(address: str, value: Mapping[str, Any]) -> None:
    """Writes a JSON object; equal objects give equal bytes."""
    write(address, json_bytes(value))


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """The one spelling of a JSON object: sorted keys, UTF-8, a newline at the end."""
    return (json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def finite(value: Any, instead: Callable[[float], object] = lambda number: None) -> Any:
    """A JSON value without NaN and infinities, which JSON does not have: ``instead(number)`` (default null) stands for
    each, also inside mappings and sequences."""
    if isinstance(value, float):
        return value if math.isfinite(value) else instead(value)
    if isinstance(value, Mapping):
        return {name: finite(part, instead) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part, instead) for part in value]
    return value


class JsonLinesFile:
    """A JSON Lines file that is appended to; missing folders are made. On a disk every line is there at once; a bucket
    gets the whole file again at every ``flush``.

    Args:
      address: of the file, local or gs://.
      keep: which of the lines found there to keep; the others are removed.
    """

    def __init__(self, address: str, keep: Callable[[dict[str, Any]], bool] = lambda line: True):
        self._address = address
        found = read_lines(address)
        kept = [line for line in found if keep(line)]
        self._text = "".join(_line(line) for line in kept)
        if len(kept) < len(found) or (read(address) or b"") != self._text.encode():
            write(address, self._text.encode())
        self._file = None
        if not is_remote(address):
            os.makedirs(os.path.dirname(address) or ".", exist_ok=True)
            self._file = open(address, "a", encoding="utf-8")  # noqa: SIM115

    def append(self, value: Mapping[str, Any]) -> None:
        """Adds a line; on a disk it survives a kill of this process.

        Raises:
          RunError: the disk is full.
        """
        if self._file is None:
            self._text += _line(value)
            return
        try:
            self._file.write(_line(value))
            self._file.flush()
        except OSError as error:
            raise RunError(f"{self._address} cannot be written ({error}); {MAKE_ROOM}") from error

    def flush(self) -> None:
        """Writes the whole file to a bucket; does nothing on a disk."""
        if self._file is None:
            write(self._address, self._text.encode())

    def close(self) -> None:
        """Flushes and closes the file."""
        self.flush()
        if self._file is not None:
            self._file.close()


def read_lines(address: str) -> list[dict[str, Any]]:
    """The values of a JSON Lines file, up to the first line that is not whole; ``[]`` where there is no file."""
    found = []
    for line in (read(address) or b"").decode("utf-8", "replace").split("\n"):  # splitlines() would split inside text
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            break
        found.append(value)
    return found


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def _split(address: str) -> tuple[str, str]:
    folder, _, name = address.rpartition("/")
    return folder, name


def _open(folder: str) -> ts.KvStore:
    try:
        opened = ts.KvStore.open(kvstore(check(folder))).result()
    except ValueError as error:
        raise InputError("address", folder, f"cannot be reached ({brief(error)})") from error
    if is_remote(folder) and not folder.startswith(hub.SCHEME):
        _reach(folder)
    return opened


def _reach(folder: str) -> None:
    """Calls the folder's bucket once, with few retries; any answer will do.

    Raises:
      InputError: there is no answer.
    """
    bucket = "/".join(folder.split("/")[:3])
    if bucket in _reached:
        return
    try:
        ts.KvStore.open(f"{bucket}/", context=ts.Context(_FIRST_CALL)).result().read("polaris_reach").result()
    except ValueError as error:
        if "retry attempts failed" in str(error):
            raise InputError(
                "address",
                folder,
                f"cannot be reached ({brief(error)}); check the network, or the address of the emulator",
            ) from error
    _reached.add(bucket)

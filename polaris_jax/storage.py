"""Addresses, and small files by address, alike on a disk and in a bucket: read, write in one piece, list.

TensorStore's key-value drivers do the work: a write to a disk goes to a temporary name and is renamed, a write to a
bucket is one put, so a reader sees a whole file or none. An address is a local path or ``gs://bucket/prefix``.
"""

import json
import os
from collections.abc import Callable, Iterable

import tensorstore as ts

from polaris_jax.errors import InputError, RunError

# A call to a bucket that stands still is given up and made again; TensorStore would wait for ever. It reads these
# variables when it makes its first call.
os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS", "30")
os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_LIMIT_BYTES", "1")

# A run that has begun waits out a bucket's bad quarter of an hour (TensorStore's own retries). A command that has not
# reached its bucket once says so in a quarter of a minute.
_FIRST_CALL = {"gcs_request_retries": {"max_retries": 5, "initial_delay": "1s", "max_delay": "4s"}}
_reached: set[str] = set()


def join(folder: str, *names: str) -> str:
    """The address of something inside a folder."""
    return "/".join([folder.rstrip("/"), *names])


def is_remote(address: str | os.PathLike) -> bool:
    """Whether the address lies in a bucket."""
    return "://" in os.fspath(address)


def kvstore(folder: str | os.PathLike) -> str:
    """The folder as TensorStore writes it, ending in a slash: ``file:///...``, ``gs://...``."""
    text = os.fspath(folder)
    return f"{text if is_remote(text) else 'file://' + os.path.abspath(text)}".rstrip("/") + "/"


def brief(error: Exception) -> str:
    """What TensorStore says, on one line and without its source locations."""
    return (str(error).splitlines() or [""])[0].split(" [", 1)[0][:200]


def check(address: str) -> str:
    """The address itself.

    Raises:
      InputError: it is of a kind that nobody here can read.
    """
    if is_remote(address) and not address.startswith("gs://"):
        raise InputError("address", address, "is neither a local path nor gs://bucket/prefix")
    return address


def local(field: str, address: str) -> str:
    """The address itself, of something that lives on a disk only.

    Raises:
      InputError: it lies in a bucket; ``field`` is what the caller calls it.
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


def write(address: str, content: bytes) -> None:
    """Writes a file in one atomic step.

    Raises:
      InputError: the address cannot be written.
    """
    folder, name = _split(address)
    opened = _open(folder)
    try:
        opened.write(name, content).result()
    except ValueError as error:
        raise InputError("address", address, f"cannot be written ({brief(error)})") from error


def names(folder: str) -> set[str]:
    """Names of the files under a folder, relative to it; empty when there is no such folder.

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
    """Deletes files of a folder; those that are not there are no mistake."""
    opened = _open(folder)
    for pending in [opened.write(name, None) for name in files]:
        pending.result()


def read_json(address: str) -> dict | None:
    """A JSON object, or None when there is no such file or it is damaged."""
    content = read(address)
    try:
        value = None if content is None else json.loads(content)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def write_json(address: str, value: dict) -> None:
    """Writes a JSON object; equal objects give equal bytes."""
    write(address, json_bytes(value))


def json_bytes(value: dict) -> bytes:
    """The one spelling of a JSON object: sorted keys, UTF-8, a newline at the end."""
    return (json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


class Lines:
    """A file of JSON lines that only grows. On a disk every line is there at once; a bucket gets the file anew.

    Args:
      address: of the file, local or gs://. keep: which of the lines found there to keep; the rest is cut off.
    """

    def __init__(self, address: str, keep: Callable[[dict], bool] = lambda line: True):
        self._address = address
        found = read_lines(address)
        kept = [line for line in found if keep(line)]
        self._text = "".join(_line(line) for line in kept)
        if len(kept) < len(found) or (read(address) or b"") != self._text.encode():
            write(address, self._text.encode())
        self._file = None if is_remote(address) else open(address, "a", encoding="utf-8")  # noqa: SIM115

    def append(self, value: dict) -> None:
        """One more line; on a disk it survives a kill of this process.

        Raises:
          RunError: the disk takes no more.
        """
        if self._file is None:
            self._text += _line(value)
            return
        try:
            self._file.write(_line(value))
            self._file.flush()
        except OSError as error:
            raise RunError(f"{self._address} cannot be written ({error}); make room and run the same command again"
                           ) from error

    def flush(self) -> None:
        """Writes the whole file to a bucket; nothing to do on a disk."""
        if self._file is None:
            write(self._address, self._text.encode())

    def close(self) -> None:
        """Flushes and ends."""
        self.flush()
        if self._file is not None:
            self._file.close()


def read_lines(address: str) -> list[dict]:
    """The JSON objects of a file of lines, up to the first that is not whole; ``[]`` where there is no file."""
    found = []
    for line in (read(address) or b"").decode("utf-8", "replace").split("\n"):  # text may hold other line ends
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            break
        found.append(value)
    return found


def _line(value: dict) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def _split(address: str) -> tuple[str, str]:
    folder, _, name = address.rpartition("/")
    return folder, name


def _open(folder: str) -> ts.KvStore:
    try:
        opened = ts.KvStore.open(kvstore(check(folder))).result()
    except ValueError as error:
        raise InputError("address", folder, f"cannot be reached ({brief(error)})") from error
    if is_remote(folder):
        _reach(folder)
    return opened


def _reach(folder: str) -> None:
    """Calls the folder's bucket once, with few retries; what the bucket answers is left to the call that follows.

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
            raise InputError("address", folder, f"cannot be reached ({brief(error)}); see to the network, or to the "
                                                "address of the emulator") from error
    _reached.add(bucket)

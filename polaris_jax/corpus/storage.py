"""Small files by address, alike on a disk and in a bucket: read, write in one piece, list.

TensorStore's key-value drivers do the work: a write to a disk goes to a temporary name and is renamed, a write to a
bucket is one put, so a reader sees a whole file or none. An address is a local path or ``gs://bucket/prefix``.
"""

import json
import os
from collections.abc import Iterable

import tensorstore as ts

from polaris_jax.errors import InputError


def join(folder: str, *names: str) -> str:
    """The address of something inside a folder."""
    return "/".join([folder.rstrip("/"), *names])


def is_remote(address: str) -> bool:
    """Whether the address lies in a bucket."""
    return "://" in address


def check(address: str) -> str:
    """The address itself.

    Raises:
      InputError: it is of a kind that nobody here can read.
    """
    if is_remote(address) and not address.startswith("gs://"):
        raise InputError("address", address, "is neither a local path nor gs://bucket/prefix")
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
    try:
        found = _open(folder).read(name).result()
    except ValueError as error:
        raise InputError("address", address, f"cannot be read ({_brief(error)})") from error
    return found.value if found.state == "value" else None


def write(address: str, content: bytes) -> None:
    """Writes a file in one atomic step.

    Raises:
      InputError: the address cannot be written.
    """
    folder, name = _split(address)
    try:
        _open(folder).write(name, content).result()
    except ValueError as error:
        raise InputError("address", address, f"cannot be written ({_brief(error)})") from error


def names(folder: str) -> set[str]:
    """Names of the files under a folder, relative to it; empty when there is no such folder.

    Raises:
      InputError: the address cannot be reached.
    """
    try:
        keys = _open(folder).list().result()
    except ValueError as error:
        raise InputError("address", folder, f"cannot be listed ({_brief(error)})") from error
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


def _split(address: str) -> tuple[str, str]:
    folder, _, name = address.rpartition("/")
    return folder, name


def _open(folder: str) -> ts.KvStore:
    if folder.startswith("gs://"):
        bucket, _, path = folder.removeprefix("gs://").partition("/")
        spec = {"driver": "gcs", "bucket": bucket, "path": f"{path.rstrip('/')}/" if path else ""}
    else:
        check(folder)
        spec = {"driver": "file", "path": os.path.abspath(folder or ".").rstrip("/") + "/"}
    try:
        return ts.KvStore.open(spec).result()
    except ValueError as error:
        raise InputError("address", folder, f"cannot be reached ({_brief(error)})") from error


def _brief(error: ValueError) -> str:
    """What TensorStore says, without its source locations."""
    return str(error).split(" [", 1)[0]

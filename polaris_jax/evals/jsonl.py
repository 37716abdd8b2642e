"""JSON lines by address (a local path or gs://): a user's files, which may hold anything, and ours, written whole."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from polaris_jax import storage
from polaris_jax.errors import InputError


@dataclass(frozen=True)
class BadRecord:
    """A line that could not be used; it is reported and left out."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


def read_text(address: str | os.PathLike, field: str) -> str:
    """The text of a user's file.

    Raises:
      InputError: about ``field``: there is no such file, or it is no UTF-8.
    """
    try:
        content = storage.read(os.fspath(address))
        if content is None:
            raise InputError(field, str(address), "no such file")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(field, str(address), f"is not UTF-8 text ({error.reason} at byte {error.start})") from None


def parse(text: str) -> Iterator[tuple[int, Any]]:
    """``(line number, JSON value)`` of every line that is not blank; a line that is no JSON comes as its text."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):  # the latter from brackets nested without end
                yield number, line


def write(address: str | os.PathLike, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes one JSON object per line, the file whole or not at all."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    storage.write(os.fspath(address), text.encode())


def read(address: str | os.PathLike) -> list[dict]:
    """The objects of a file of ours; [] without the file."""
    content = storage.read(os.fspath(address)) or b""
    return [row for _, row in parse(content.decode()) if isinstance(row, dict)]

"""JSON-lines files by address (a local path or gs://): the user's files, whose bad lines are reported, and our own."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from polaris_jax import json_lines, storage
from polaris_jax.errors import InputError


@dataclass(frozen=True)
class BadRecord:
    """A line that cannot be used, so it is reported and left out."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


def read_text(address: str | os.PathLike, field: str) -> str:
    """The text of a user's file.

    Raises:
      InputError: names ``field``; no such file, or it is not UTF-8.
    """
    try:
        content = storage.read(os.fspath(address))
        if content is None:
            raise InputError(field, str(address), "no such file")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(field, str(address), f"is not UTF-8 text ({error.reason} at byte {error.start})") from None


def write(address: str | os.PathLike, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes one JSON object per line, the file in one atomic step."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    storage.write(os.fspath(address), text.encode())


def read(address: str | os.PathLike) -> list[dict]:
    """The objects of a file that ``write`` wrote; [] if the file does not exist."""
    content = storage.read(os.fspath(address)) or b""
    return [row for _, row in json_lines.parse(content.decode()) if isinstance(row, dict)]

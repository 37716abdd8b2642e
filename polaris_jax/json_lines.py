"""JSON lines, one value per line: the one parser, and a strict reader of a user's file on top of it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from polaris_jax.errors import InputError

MAX_DEPTH = 200  # of brackets in a line: whatever is written again or walked through stays below Python's limit
_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)


@dataclass(frozen=True)
class InvalidLine:
    """Stands for the value of a line that is not JSON."""

    reason: str


def parse(text: str) -> Iterator[tuple[int, Any]]:
    """``(line number from 1, value)`` of every line that is not blank; ``InvalidLine`` where it is not JSON."""
    return ((number, value) for number, _, value in _parse(text))


def read_objects(content: bytes, name: str) -> Iterator[tuple[int, dict]]:
    """``(line number from 1, object)`` of every line that is not blank.

    Args:
      name: of the file, for errors.

    Raises:
      InputError: a line is not a JSON object; names file and line.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{name} line {line}", content[error.start : error.start + 8], "is not UTF-8") from None
    for number, written, value in _parse(text):
        if isinstance(value, InvalidLine):
            raise InputError(f"{name} line {number}", written, f"is not JSON: {value.reason}")
        if not isinstance(value, dict):
            raise InputError(f"{name} line {number}", written, "is not a JSON object")
        yield number, value


def written(value: Any) -> str:
    """A value as a line, without its end; escaped throughout where it holds what UTF-8 cannot."""
    line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return line


def parse_bytes(content: bytes) -> Iterator[tuple[int, Any]]:
    """``parse`` of a file that may hold lines that are not UTF-8: those are ``InvalidLine`` too."""
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            try:
                yield number, next(parse(line.decode("utf-8")), (1, InvalidLine("it is blank")))[1]
            except UnicodeDecodeError as error:
                yield number, InvalidLine(f"byte {error.start} is not UTF-8")


def _parse(text: str) -> Iterator[tuple[int, str, Any]]:
    """Line number, line, value."""
    for number, line in enumerate(text.split("\n"), 1):  # splitlines would also cut inside a value
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:  # the latter from brackets nested without end
                value = InvalidLine(str(error))
            yield number, line, InvalidLine(f"nested deeper than {MAX_DEPTH}") if _is_deep(line) else value


def _is_deep(line: str) -> bool:
    if line.count("[") + line.count("{") <= MAX_DEPTH:
        return False
    depth = 0
    for token in _BRACKET.finditer(line):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
        if depth > MAX_DEPTH:
            return True
    return False

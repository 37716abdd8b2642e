"""Opens files and folders by their content: JSON lines and arrays, Parquet, manuscripts, trajectories."""

import io
import json
import os
import re
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polaris_jax import json_lines, storage
from polaris_jax.data.formats.records import PlainDocument, Row, Transcript
from polaris_jax.data.formats.table import read_row
from polaris_jax.errors import InputError
from polaris_jax.library.encoding import NotText, decode
from polaris_jax.library.epub import BrokenEpub, read_epub
from polaris_jax.library.gutenberg import find_frame
from polaris_jax.library.word_processor import read_word, word_format
from polaris_jax.trajectory import START

ROWS = (".jsonl", ".ndjson", ".json", ".parquet")  # always read as rows
TEXTS = (".txt", ".md", ".markdown", ".text", ".epub", ".docx", ".odt")
_JSON_START = re.compile(r"\s*[\[{]")
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.S)
_NUMBER = re.compile(r"(\d+)")
# First bytes of common files without readable text, and what to do instead.
_OTHERS = {
    b"%PDF": "a PDF holds pages, not text; export the manuscript as .docx, .odt, .epub or .txt",
    b"{\\rtf": "save it as .docx or .odt",
    b"\xd0\xcf\x11\xe0": "is of an old Word; save it as .docx",
    b"\x1f\x8b": "is compressed; unpack it with gunzip",
    b"\x28\xb5\x2f\xfd": "is compressed; unpack it with zstd -d",
    b"\xfd7zXZ": "is compressed; unpack it with unxz",
}


@dataclass(frozen=True)
class Source:
    """A file to read: its ``address`` (local or ``gs://``) and its ``name`` in errors and reports."""

    address: str
    name: str


def find_files(places: list[str], field: str = "--data") -> tuple[list[Source], list[str]]:
    """The files of paths and folders, in natural order (``chapter 2`` before ``chapter 10``).

    Args:
      field: the option that named the places, for errors.

    Returns:
      the files, and the names of files in folders whose ending belongs to no format.

    Raises:
      InputError: no such file or folder, or a folder without a file of any format.
    """
    found: list[Source] = []
    left: list[str] = []
    for place in places:
        if not storage.is_remote(place) and not os.path.exists(place):
            raise InputError(field, place, "no such file or folder")
        names = sorted(storage.names(place), key=natural) if storage.is_remote(place) or os.path.isdir(place) else []
        if not names:
            if not storage.is_remote(place) and os.path.isdir(place):
                raise InputError(field, place, "is an empty folder")
            found.append(Source(place, storage.name_of(place)))
            continue
        names = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
        good = [name for name in names if name.lower().endswith((*ROWS, *TEXTS))]
        left += [name for name in names if name not in good]
        if not good:
            raise InputError(field, place, f"has no file that ends in {', '.join((*ROWS, *TEXTS))}")
        found += [Source(storage.join(place, name), name) for name in good]
    times = Counter(source.name for source in found)
    return [source if times[source.name] == 1 else Source(source.address, source.address) for source in found], left


def natural(name: str) -> list[tuple[int, int | str]]:
    """Sort key that orders the numbers in names by value."""
    return [(0, int(part)) if part.isdecimal() else (1, part.casefold()) for part in _NUMBER.split(name)]


def read_file(source: Source) -> Iterator[Row | InputError]:
    """Yields the rows of a file; in the place of a broken row, the error that says what is wrong with it.

    Raises:
      InputError: the file as a whole cannot be read.
    """
    data = storage.read(source.address)
    if data is None:
        raise InputError("--data", source.address, "no such file")
    if not data.strip(b" \t\r\n\0\xef\xbb\xbf\xff\xfe"):
        raise InputError(source.name, "", "the file is empty")
    for start, advice in _OTHERS.items():
        if data.startswith(start):
            raise InputError(source.name, start, advice)
    ending = os.path.splitext(source.name)[1].lower()
    if data.startswith(b"PAR1") or ending == ".parquet":
        yield from _read(_parquet(data, source.name))
    elif zipfile.is_zipfile(io.BytesIO(data)):
        yield _archive(data, source)
    elif ending in (".jsonl", ".ndjson"):
        yield from _read(_lines(data, source.name))
    else:
        text = _exact(data)
        if text is not None and (ending == ".json" or _is_json(text)):
            yield from _read(_json(text, source.name))
        elif ending == ".json":
            raise InputError(source.name, data[:8], "is not UTF-8, as JSON must be")
        else:
            yield _text(_decoded(data, source.name), source.name)


def _read(values: Iterator[tuple[str, Any]]) -> Iterator[Row | InputError]:
    """The rows of a file's values. All must have the format of the first readable row."""
    expected = None
    for where, value in values:
        if isinstance(value, InputError):
            yield value
            continue
        if not isinstance(value, dict):
            yield InputError(where, value, "is no JSON object; a row is an object with named fields")
            continue
        try:
            row = read_row(value, where, expected)
        except InputError as error:
            yield error
            continue
        expected = expected or row.format
        yield row


def _exact(data: bytes) -> str | None:
    """The exact text of a UTF-8 file; None for another encoding."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _decoded(data: bytes, name: str) -> str:
    """The text of a manuscript, in the form that books are read in: NFC, LF, without invisible characters."""
    try:
        return decode(data)[0]
    except NotText as error:
        raise InputError(name, data[:8], f"is neither a text nor a file of any format ({error})") from None


def _is_json(text: str) -> bool:
    """Whether the first line of a text is a JSON object, or the text is an array of objects."""
    if not _JSON_START.match(text):
        return False
    start = text.lstrip()
    if start.startswith("["):
        return start[1:].lstrip().startswith("{")
    return next(json_lines.parse(start.split("\n", 1)[0]), (1, None))[1].__class__ is dict


def _text(text: str, name: str) -> Row:
    if text.lstrip().startswith(START):
        return Row(name, "trajectories", Transcript(text))
    dropped: list[str] = []
    unused: dict[str, str] = {}
    if name.lower().endswith((".md", ".markdown")) and (front := _FRONT_MATTER.match(text)):
        unused = {"front matter": front[1]}
        text = text[front.end() :]
    frame = find_frame(text)
    if frame.found:
        cut = [part for part in (text[: frame.start], text[frame.stop :]) if part.strip()]
        dropped += [f"the licence around the book ({sum(map(len, cut)):,} characters)"] if cut else []
        text = text[frame.start : frame.stop]
    if not text.strip():
        raise InputError(name, "", "has no text in it")
    return Row(name, "document", PlainDocument(text, frame.title or Path(name).stem, tuple(dropped)), unused)


def _archive(data: bytes, source: Source) -> Row:
    if form := word_format(io.BytesIO(data)):
        word = read_word(data, source.name)
        return Row(source.name, form, PlainDocument(word.text, word.title or Path(source.name).stem, word.dropped))
    try:
        with tempfile.NamedTemporaryFile(suffix=".epub") as file:  # the source may lie in a bucket
            file.write(data)
            file.flush()
            book = read_epub(file.name)
    except BrokenEpub as error:
        advice = f"an archive, but no readable EPUB, .docx or .odt ({error}); unpack it, or save the manuscript anew"
        raise InputError(source.name, data[:4], advice) from None
    lost = [f"{one.reason} ({one.words} words)" for one in book.dropped]
    return Row(source.name, "epub", PlainDocument(book.text, book.title, (*lost, *book.warnings)))


def _lines(data: bytes, name: str) -> Iterator[tuple[str, Any]]:
    """``(file:line, value)`` of JSON lines; the value is an ``InputError`` where a line is not JSON."""
    raw = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    for number, value in json_lines.parse_bytes(data):
        if isinstance(value, json_lines.InvalidLine):
            shown = raw[number - 1][:80].decode("utf-8", "replace")
            value = InputError(f"{name}:{number}", shown, f"is not JSON: {value.reason}; a row is one line")
        yield f"{name}:{number}", value


def _json(text: str, name: str) -> Iterator[tuple[str, Any]]:
    """The same for an array of objects, one object over several lines, or JSON lines with another file ending."""
    array = text.lstrip().startswith("[")
    decoder, at, line, seen = json.JSONDecoder(), 0, 1, 0
    between = re.compile(r"[\s,]*")
    end = len(text.rstrip())
    if array:
        at = text.index("[") + 1
        if text[end - 1] != "]":
            advice = "the array is cut off: its closing bracket is missing"
            yield f"{name}:1", InputError(f"{name}:{text.count(chr(10), 0, end) + 1}", text[end - 40 : end], advice)
        else:
            end -= 1
    while True:
        found = between.match(text, at)
        start = found.end() if found else at
        if start >= end:
            return
        line += text.count("\n", seen, start)
        seen = start
        try:
            value, at = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            place = getattr(error, "pos", start)
            where = f"{name}:{line + text.count(chr(10), start, place)}"
            reason = getattr(error, "msg", "nested too deep")
            yield where, InputError(where, text[max(start, place - 30) : place + 30], f"is not JSON: {reason}")
            return
        yield f"{name}:{line}", value


def _parquet(data: bytes, name: str) -> Iterator[tuple[str, Any]]:
    """``(file row N, value)`` of a Parquet file, a batch at a time."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        advice = "reading Parquet needs pyarrow; run: pip install 'polaris-jax[parquet]'"
        raise InputError(name, "", advice) from None
    number = 0
    try:
        for batch in pyarrow.parquet.ParquetFile(io.BytesIO(data)).iter_batches():
            for value in batch.to_pylist():
                number += 1
                yield f"{name} row {number}", value
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{name} row {number + 1}", data[:4], f"not readable ({storage.brief(error)})") from None

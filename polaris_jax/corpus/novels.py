"""Paths, folders, glob patterns and ``gs://`` patterns of novels as a sorted list of addresses."""

import fnmatch
import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path

from polaris_jax import storage
from polaris_jax.errors import InputError

SUFFIXES = (
    ".txt",
    ".md",
    ".epub",
    ".docx",
    ".odt",
)  # endings that are searched for in a folder, in any case; a glob may match any file
_LISTED = ", ".join(SUFFIXES)
_NO_BOOKS = {"readme", "license", "licence", "changelog", "contributing", "notice"}
_WILD = re.compile(r"[*?\[]")


def find_books(patterns: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The local files behind paths, folders and glob patterns, in sorted order.

    Raises:
      InputError: a pattern that matches nothing.
    """
    found: list[Path] = []
    for pattern in patterns:
        text = os.path.expanduser(os.fspath(pattern))
        if os.path.isdir(text):
            names = [name for name in os.listdir(text) if _is_book(name)]
            matches = sorted(Path(text, name) for name in names if os.path.isfile(os.path.join(text, name)))
        else:
            matches = sorted(Path(match) for match in glob.glob(text, recursive=True) if os.path.isfile(match))
        if not matches:
            advice = f"no such file; give a novel, a folder of {_LISTED} files, or a quoted glob"
            raise InputError("--books", str(pattern), advice)
        found += [match for match in matches if match not in found]
    return found


def find_novels(patterns: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Addresses of novels: like ``find_books``, and also ``gs://bucket/prefix``, which may hold wildcards.

    Raises:
      InputError: a pattern that matches nothing.
    """
    found: list[str] = []
    for given in patterns:
        pattern = os.fspath(given)
        matches = _in_bucket(pattern) if storage.is_remote(pattern) else map(str, find_books([pattern]))
        found += [match for match in matches if match not in found]
    return found


def _in_bucket(pattern: str) -> list[str]:
    wild = _WILD.search(pattern)
    folder = pattern[: pattern.rindex("/", 0, wild.start())] if wild else pattern.rstrip("/")
    if not wild and storage.read(pattern) is not None:
        return [pattern]
    names = storage.names(folder)
    matches = [storage.join(folder, name) for name in names if wild or _is_book(name)]
    matches = sorted(match for match in matches if not wild or fnmatch.fnmatchcase(match, pattern))
    if not matches:
        advice = f"no such object; give a novel, a prefix with {_LISTED} files below it, or a glob"
        raise InputError("--books", pattern, advice)
    return matches


def _is_book(name: str) -> bool:
    """Whether a file in a given folder is a book: by its ending, and not a README or LICENSE."""
    stem, suffix = os.path.splitext(os.path.basename(name.lower()))
    return suffix in SUFFIXES and stem not in _NO_BOOKS and not stem.startswith(".")

"""Which novels are meant: paths, folders, glob patterns and ``gs://`` patterns become a sorted list of addresses."""

import fnmatch
import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path

from polaris_jax import storage
from polaris_jax.errors import InputError

_WILD = re.compile(r"[*?\[]")


def find_books(patterns: Iterable[str | os.PathLike]) -> list[Path]:
    """The local files behind paths, folders and glob patterns, in sorted order.

    Raises:
      InputError: a pattern that matches nothing.
    """
    found: list[Path] = []
    for pattern in patterns:
        text = os.path.expanduser(os.fspath(pattern))
        if os.path.isdir(text):
            text = os.path.join(glob.escape(text), "*.txt")
        matches = sorted(Path(match) for match in glob.glob(text, recursive=True) if os.path.isfile(match))
        if not matches:
            raise InputError("--books", str(pattern), "no such file; give a novel, a folder of .txt, or a quoted glob")
        found += [match for match in matches if match not in found]
    return found


def find_novels(patterns: Iterable[str | os.PathLike]) -> list[str]:
    """Addresses of novels: like ``find_books``, and also ``gs://bucket/prefix``, which may hold wildcards.

    Raises:
      InputError: a pattern that matches nothing.
    """
    found: list[str] = []
    for pattern in map(os.fspath, patterns):
        matches = _in_bucket(pattern) if storage.is_remote(pattern) else map(str, find_books([pattern]))
        found += [match for match in matches if match not in found]
    return found


def _in_bucket(pattern: str) -> list[str]:
    wild = _WILD.search(pattern)
    folder = pattern[: pattern.rindex("/", 0, wild.start())] if wild else pattern.rstrip("/")
    if not wild:
        if storage.read(pattern) is not None:
            return [pattern]
        pattern = f"{folder}/*.txt"
    matches = [storage.join(folder, name) for name in storage.names(folder)]
    matches = sorted(match for match in matches if fnmatch.fnmatchcase(match, pattern))
    if not matches:
        raise InputError("--books", pattern, "no such object; give a novel, a prefix with .txt below it, or a glob")
    return matches

"""The work area: the facts about every novel read, and the tokens of every finished book.

    WORK/surveys/KEY.json    how the novel was read
    WORK/books/KEY.npz       tokens, runs and weights of all its trajectories
    WORK/books/KEY.json      their facts; written last, so a book is finished when this file exists

``KEY`` is a hash of everything that decides the content. So a file is never out of date, and two builds may share a
work area. A finished book is never planned again, even after a kill.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import polaris_jax
from polaris_jax import storage
from polaris_jax.corpus.trajectories import FinishedTrajectory
from polaris_jax.data.record import Runs, Trajectory
from polaris_jax.data.store import Entry

_ROOMS = ("library", "trajectory", "scaffold", "data", "corpus")


def key(**parts: object) -> str:
    """sha256 (hex) of named JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def code_version() -> str:
    """sha256 (hex) of the source code of every room that decides a book's tokens."""
    root, digest = Path(polaris_jax.__file__).parent, hashlib.sha256()
    for room in _ROOMS:
        for file in sorted((root / room).rglob("*.py")):
            digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def facts_at(work: str, book: str) -> str:
    """Address of a finished book's facts."""
    return storage.join(work, "books", f"{book}.json")


def save(work: str, book: str, made: Sequence[FinishedTrajectory], facts: dict) -> dict:
    """Writes a finished book; returns its facts, with those of each trajectory added."""
    arrays: dict[str, Any] = {}
    for number, one in enumerate(made):
        runs = Runs.of(one.encoded)
        arrays |= {f"tokens{number}": one.encoded.tokens, f"runs{number}": runs.table, f"weights{number}": runs.weights}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    facts = facts | {
        "trajectories": [one.facts | {"sha256": Entry.of(one.encoded, {}).sha256} for one in made],
    }
    storage.write(storage.join(work, "books", f"{book}.npz"), buffer.getvalue())
    storage.write_json(facts_at(work, book), facts)
    return facts


def load(work: str, book: str) -> list[Trajectory]:
    """The trajectories of a finished book.

    Raises:
      ValueError: the files are missing or damaged.
    """
    content = storage.read(storage.join(work, "books", f"{book}.npz"))
    if content is None:
        raise ValueError("is missing")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            held = dict(arrays.items())
    except (zipfile.BadZipFile, EOFError, KeyError, OSError) as error:
        raise ValueError(f"is damaged ({error})") from error
    return [
        Runs(held[f"runs{number}"], held[f"weights{number}"]).expand(held[f"tokens{number}"], 0)
        for number in range(len(held) // 3)
    ]

"""Reads the journals of a run's steps back from its folder."""

import os
from collections.abc import Iterator

from polaris_jax import storage
from polaris_jax.rl.journal import FOLDER


def read_journals(workdir: str | os.PathLike) -> Iterator[tuple[int, list[dict]]]:
    """``(step, lines)`` of every recorded step, in order."""
    folder = storage.join(os.fspath(workdir), FOLDER)
    for name in sorted(name for name in storage.names(folder) if name.endswith(".jsonl")):
        yield int(name.removesuffix(".jsonl")), storage.read_lines(storage.join(folder, name))

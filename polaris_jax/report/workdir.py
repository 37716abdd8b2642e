"""Reads the folder of a ``polaris demo`` run, finished or not. A missing or damaged file counts as empty."""

import json
from dataclasses import dataclass
from pathlib import Path

from polaris_jax.errors import InputError
from polaris_jax.training import read_metrics

ARTIFACT = "book/artifact.txt"
MODEL = "run/model"


@dataclass(frozen=True)
class DemoRun:
    """The files of a demo run.

    Attributes:
      path: the folder.
      demo, books, training, writing: ``demo.json``, ``books.json``, ``training.json``, ``book/run.json``.
      metrics: lines of ``run/metrics.jsonl``, one per optimizer step.
      artifact: the transcript of the written book, or None.
    """

    path: Path
    demo: dict
    books: dict
    training: dict
    writing: dict
    metrics: list[dict]
    artifact: str | None

    def text(self, name: object) -> str | None:
        """A text file of the folder; None if there is no such file or the name points outside the folder."""
        return _text(self.path, name) if isinstance(name, str) else None


def read_run(workdir: str | Path) -> DemoRun:
    """Reads a run's folder.

    Raises:
      InputError: ``workdir`` is not a folder.
    """
    path = Path(workdir)
    if not path.is_dir():
        raise InputError("workdir", str(workdir), "no such folder; give the folder that polaris demo wrote")
    return DemoRun(
        path=path,
        demo=_json(path / "demo.json"),
        books=_json(path / "books.json"),
        training=_json(path / "training.json"),
        writing=_json(path / "book" / "run.json"),
        metrics=read_metrics(path / "run"),
        artifact=_text(path, ARTIFACT),
    )


def _json(file: Path) -> dict:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _text(folder: Path, name: str) -> str | None:
    file = (folder / name).resolve()
    if not file.is_relative_to(folder.resolve()):
        return None
    try:
        return file.read_bytes().decode("utf-8")
    except (OSError, ValueError):
        return None

"""Four short novels with different titles or authors, two files that are not novels, and a tokenizer for them."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from corpus_library import NOVEL, OPTIONS, piece
from schema_model import Model

from polaris_jax.corpus import plan_novel
from polaris_jax.data import train_sentencepiece
from polaris_jax.library import read_novel
from polaris_jax.scaffold import OfflineAnnotator
from polaris_jax.trajectory import render


@pytest.fixture(scope="session")
def chapters() -> list[str]:
    """The ten chapters of the bundled novel, each with its heading."""
    text = NOVEL.read_text(encoding="utf-8").split("*** END")[0]
    return [part.strip() for part in re.split(r"\n(?=CHAPTER )", text)[1:]]


@pytest.fixture(scope="session")
def library(tmp_path_factory, chapters) -> Path:
    """Four novels by three authors, a text that is too short, and a file that is not text."""
    folder = tmp_path_factory.mktemp("library")
    works = [
        ("The Weir", "Agnes Holm"),
        ("The Ledger", "Agnes Holm"),
        ("Low Water", "Piers Tolland"),
        ("A Cold Survey", "Ruth Amery"),
    ]
    for number, (title, author) in enumerate(works):
        text = piece(title, author, chapters[2 * number : 2 * number + 3 if number == 3 else 2 * number + 2])
        (folder / f"{title.lower().replace(' ', '-')}.txt").write_text(text, encoding="utf-8")
    (folder / "note.txt").write_text("He went down to the harbour and waited for the boat. " * 20)
    (folder / "noise.txt").write_bytes(bytes(range(256)) * 40)
    return folder


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    rough = replace(OPTIONS, window=16_000)
    sample = map(render, plan_novel(read_novel(NOVEL), OfflineAnnotator(), rough, len))
    return train_sentencepiece([*sample, NOVEL.read_text(encoding="utf-8")], 800, folder)


@pytest.fixture(scope="session")
def tokenizer_folder(tokenizer, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer_folder")
    tokenizer.save(folder)
    return folder


@pytest.fixture
def model():
    """A ``schema_model.Model`` that is listening."""
    pytest.importorskip("openai", reason="pip install polaris-jax[llm] to run this")
    with Model() as server:
        yield server

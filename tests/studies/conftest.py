"""A small store split by author, a random model for it, and stories in assistant style."""

import json
import random
from importlib.resources import files
from pathlib import Path

import pytest
from small_models import save_small_llama

from polaris_jax.corpus import BuildOptions, build_library, plan_novel
from polaris_jax.data import train_sentencepiece
from polaris_jax.library import read_novel
from polaris_jax.scaffold import OfflineAnnotator
from polaris_jax.studies.style import Story, read_stories
from polaris_jax.trajectory import render

WINDOW = 2048
BOOK = next(Path(str(files("polaris_jax") / "library" / "books")).glob("*.txt"))
_NAMES = ("Elara", "Marcus", "Lily", "Thomas", "Sarah", "James")
_SENTENCES = (
    "{n} took a deep breath and felt a wave of determination.",
    "The small town was nestled in the heart of the valley, a testament to the resilience of its people.",
    "As the days turned into weeks, {n} began to understand the importance of community and hope.",
    "It was a symbol of the journey, a reminder that every challenge has meaning.",
    "{n} couldn't help but feel a sense of belonging and gratitude.",
    "The villagers were known for their dedication, and they embraced the changes in their lives.",
    "For the first time in years, {n} felt a newfound sense of freedom and purpose.",
    "The weight of the past was a burden, but {n} was determined to find the truth.",
)
_ENDING = (
    "From that day on, {n} never forgot the lesson. {n} had learned that the power of kindness and the "
    "importance of friendship would always be a reminder of what truly matters."
)


@pytest.fixture(scope="session")
def assistant_stories() -> list[Story]:
    """Twenty-four stories made of clichés of assistant prose; each counts as an author."""
    found = []
    for number in range(24):
        rng = random.Random(number)
        name = rng.choice(_NAMES)
        lines = [rng.choice(_SENTENCES).format(n=name) for _ in range(16)]
        paragraphs = [" ".join(lines[i : i + 4]) for i in range(0, 16, 4)] + [_ENDING.format(n=name)]
        found.append(Story("\n\n".join(paragraphs), f"story {number}", f"story {number}", f"story {number}"))
    return found


@pytest.fixture(scope="session")
def novel_stories() -> list[Story]:
    """The chapters of the bundled novel; each counts as an author."""
    return [Story(s.text, s.name, s.work, s.name) for s in read_stories(BOOK)]


@pytest.fixture
def assistant_file(tmp_path, assistant_stories) -> Path:
    """The stories as a file of generations."""
    file = tmp_path / "assistant.jsonl"
    rows = [
        {"id": s.name, "prompt": "a story", "story": f"# A Title\n\n{s.text}", "model": "m"} for s in assistant_stories
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture(scope="session")
def material(tmp_path_factory) -> Path:
    """``model/`` (32 wide, 2 layers, own tokenizer) and ``store/``: mini volumes of one novel under two authors' names,
    one of whom is held out."""
    root = tmp_path_factory.mktemp("material")
    texts = root / "novels"
    texts.mkdir()
    novel = read_novel(BOOK)
    half = len(novel.chapters) // 2
    for name, chapters in (("Ann Lee", novel.chapters[:half]), ("Bo Ray", novel.chapters[half:])):
        body = "\n\n".join(f"CHAPTER {i}\n\n{c.text}" for i, c in enumerate(chapters, 1))
        (texts / f"{name.split()[0]}.txt").write_text(f"Title: The Book of {name}\n\nAuthor: {name}\n\n{body}\n")
    options = BuildOptions(window=WINDOW, chapters=(2, 2), per_book=3, shares=(50.0, 50.0, 0.0), seed=2, min_words=1000)
    rough = BuildOptions(window=4 * WINDOW, chapters=(2, 2))
    tokenizer = train_sentencepiece(list(map(render, plan_novel(novel, OfflineAnnotator(), rough, len))), 1000)
    save_small_llama(root / "model", tokenizer.vocab_size, 2 * WINDOW)
    tokenizer.save(str(root / "model"))
    build_library(sorted(texts.glob("*.txt")), root / "store", tokenizer, options, workers=1)
    return root

"""Three long novels of the given corpus, planned whole and in small volumes (reads the folder in POLARIS_SHARED)."""

import os
import re
from pathlib import Path

import pytest

from polaris_jax.library import read_novel
from polaris_jax.scaffold import FULL, OfflineAnnotator, build_books, mini_profile
from polaris_jax.trajectory import check, render

CORPUS = Path(os.environ.get("POLARIS_SHARED", Path(__file__).parents[3] / "shared")) / "corpus"
NOVELS = ["stevenson_treasure-island", "london_the-call-of-the-wild", "carroll_alice-in-wonderland"]
pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus folder; set POLARIS_SHARED")


def _read(name):
    path = CORPUS / f"{name}.txt"
    if not path.exists():
        pytest.skip(f"{path.name} is not in the corpus")
    return read_novel(str(path))


def _copies(book):
    tokens = re.findall(r"[^\W_]+", " ".join(c.text for c in book.chapters).lower())
    grams = {tuple(tokens[i : i + 8]) for i in range(len(tokens) - 7)}
    lines = [b for c in book.chapters for b in (*c.summary, *(line for s in c.scenes for line in s.summary))]
    lines += [b for arc in book.arcs for b in (*arc.short, *arc.medium, *arc.long)]
    lines += [*book.world_rules, book.highlight, book.archetype, book.prompt]
    for line in lines:
        words = re.findall(r"[^\W_]+", line.lower())
        if any(tuple(words[i : i + 8]) in grams for i in range(len(words) - 7)):
            yield line


@pytest.mark.parametrize("name", NOVELS)
def test_a_whole_novel_is_planned_validly_without_quoting_it(name):
    novel = _read(name)
    (book,) = build_books(novel, OfflineAnnotator(), FULL)
    verdict = check(render(book), "corpus")
    assert verdict.ok, verdict.violations[:3]
    assert len(book.chapters) >= len(novel.chapters)
    assert not list(_copies(book))


@pytest.mark.parametrize("name", NOVELS)
@pytest.mark.parametrize(
    "tokens", [2048, pytest.param(4096, marks=pytest.mark.slow), pytest.param(8192, marks=pytest.mark.slow)]
)
def test_small_volumes_of_a_novel_fit_their_window(name, tokens):
    novel = _read(name)
    books = build_books(novel, OfflineAnnotator(), mini_profile(4 * tokens))
    for book in books:
        text = render(book)
        assert len(text) <= 4 * tokens
        assert check(text, "corpus").ok, check(text, "corpus").violations[:3]
        assert not list(_copies(book))
    assert sum(len(book.chapters) for book in books) >= len(novel.chapters) - 1

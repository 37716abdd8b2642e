"""The given corpus as one library: whole books, offline annotator (reads the folder in POLARIS_SHARED; minutes)."""

import os
from pathlib import Path

import pytest

from polaris_jax.corpus import BuildOptions, build_library, find_novels
from polaris_jax.data import TokenStore, train_sentencepiece
from polaris_jax.library import read_novel
from polaris_jax.scaffold import FULL, OfflineAnnotator, build_books
from polaris_jax.trajectory import check, render

CORPUS = Path(os.environ.get("POLARIS_SHARED", Path(__file__).parents[3] / "shared")) / "corpus"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus folder; set POLARIS_SHARED"),
]
# The library's own limits instead of the profile's, and no window, so that every novel is built whole.
WHOLE = BuildOptions("full", window=0, min_words=2_000, max_words=700_000)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    shortest = min(CORPUS.glob("*.txt"), key=lambda file: file.stat().st_size)
    sample = [render(book) for book in build_books(read_novel(shortest), OfflineAnnotator(), FULL)]
    return train_sentencepiece(sample, 4_000, tmp_path_factory.mktemp("tokenizer"))


def test_every_novel_of_the_corpus_becomes_a_valid_trajectory(tokenizer, tmp_path, record_property):
    novels = find_novels([CORPUS])
    build = build_library(novels, tmp_path / "store", tokenizer, WHOLE)
    assert [row["reason"] for row in build.report["books"] if not row["accepted"]] == []
    store = TokenStore.open(tmp_path / "store", tokenizer)
    assert len(store) == len(novels)
    for index in range(len(store)):
        verdict = check(tokenizer.decode(store.read(index).tokens), "strict")
        assert verdict.ok, (store.meta(index)["title"], verdict.violations[:2])
        assert not verdict.truncated
    authors = {row["author"]: row["split"] for row in build.report["books"]}
    assert all(authors[row["author"]] == row["split"] for row in build.report["books"])
    for kind, tokens in build.report["by_kind"].items():
        record_property(f"share of {kind}", f"{tokens / build.report['tokens']:.4f}")

    # A second build makes no call and changes no byte.
    before = {file: file.read_bytes() for file in (tmp_path / "store").rglob("*") if file.is_file()}
    again = build_library(novels[::-1], tmp_path / "store", tokenizer, WHOLE)
    assert (again.run["read_now"], again.run["planned_now"]) == (0, 0)
    assert before == {file: file.read_bytes() for file in (tmp_path / "store").rglob("*") if file.is_file()}


def test_the_profiles_limits_leave_books_out_with_a_reason(tokenizer, tmp_path):
    """By default a window of 262,144 tokens and 25,000 to 450,000 words; here for the shortest and the longest."""
    novels = sorted(find_novels([CORPUS]), key=os.path.getsize)
    build = build_library([novels[0], novels[-1]], tmp_path / "store", tokenizer, BuildOptions("full"))
    words = {row["file"]: row["words"] for row in build.report["books"]}
    for row in build.report["books"]:
        if not 25_000 <= words[row["file"]] <= 450_000:
            assert not row["accepted"]
            assert "too short" in row["reason"] or "too long" in row["reason"]

"""The given novels: lines of headings, word counts, and scenes and chapters that lose no text."""

import json
import re

import pytest

from polaris_jax.library import read_novel, segment_record

MIN_F1 = 0.995
MIN_EXACT_SHARE = 39 / 41
TOKEN = re.compile(r"\w+")


@pytest.fixture(scope="module")
def corpus(shared):
    folder = shared / "corpus"
    if not (folder / "MANIFEST.json").is_file():
        pytest.skip(f"no corpus at {folder}")
    return folder


@pytest.fixture(scope="module")
def books(corpus):
    return json.loads((corpus / "MANIFEST.json").read_text("utf-8"))["books"]


@pytest.fixture(scope="module")
def novels(corpus, books):
    return {book["file"]: read_novel(corpus / book["file"]) for book in books}


def test_heading_lines(books, novels):
    found = hits = true = 0
    for book in books:
        lines = {row["line"] for row in segment_record(novels[book["file"]])["chapters"]}
        expected = {row["line"] for row in book["chapters"]}
        found, true, hits = found + len(lines), true + len(expected), hits + len(lines & expected)
    assert 2 * hits / (found + true) >= MIN_F1


def test_chapter_counts(books, novels):
    exact = [segment_record(novels[b["file"]])["chapter_count"] == b["chapter_count"] for b in books]
    assert sum(exact) >= MIN_EXACT_SHARE * len(books)


def test_every_given_novel_is_accepted_as_english(novels):
    refused = {name: novel.reason for name, novel in novels.items() if not novel.accepted or novel.language != "en"}
    assert not refused


def test_scenes_give_back_their_chapters(novels):
    for name, novel in novels.items():
        for chapter in novel.chapters:
            assert "".join(chapter.scenes) == chapter.text, (name, chapter.name)
            assert 1 <= len(chapter.scenes) <= 12, (name, chapter.name)


def test_names_are_legal_and_unique(novels):
    for name, novel in novels.items():
        names = [chapter.name for chapter in novel.chapters]
        assert len(set(names)) == len(names), name
        assert all(1 <= len(n) <= 120 and n == n.strip() and "\n" not in n and n[0] != "#" for n in names), name


def test_text_is_clean(novels):
    for name, novel in novels.items():
        for chapter in novel.chapters:
            assert chapter.text == chapter.text.strip(), (name, chapter.name)
            assert not re.search(r"[ \t]\n|\n{3}|\r", chapter.text), (name, chapter.name)
            assert "Gutenberg" not in chapter.text[-2000:], (name, chapter.name)


def test_chapters_together_are_the_book(corpus, books, novels):
    """Between the first heading and the end, only headings and notes are missing, and nothing is added."""
    for book in books:
        novel = novels[book["file"]]
        raw = (corpus / book["file"]).read_text("utf-8-sig").replace("\r\n", "\n").split("\n")
        first = novel.chapters[0].line
        source = TOKEN.findall(" ".join(raw[first - 1 : book["narrative_end_line"]]).replace("_", " "))
        kept = TOKEN.findall(" ".join(chapter.text for chapter in novel.chapters).replace("_", " "))
        headings = sum(len(chapter.name.split()) + 6 for chapter in novel.chapters)
        assert len(kept) <= len(source), book["file"]
        assert len(source) - len(kept) <= headings + 0.02 * len(source), book["file"]

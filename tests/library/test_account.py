"""The account of every word of a file, and the warnings when the evidence disagrees."""

import pytest

from polaris_jax.library import read_novel, segment_record
from tests.library.conftest import book, prose

CHAPTERS = [f"CHAPTER {n}" for n in ("I", "II", "III", "IV", "V", "VI")]


def _account(path):
    return read_novel(path).account


def test_words_in_chapters_and_dropped_are_the_words_of_the_file(write):
    text = book(CHAPTERS)
    contents = "CONTENTS\n\n" + "\n".join(CHAPTERS) + "\n\n\n\n"
    text = text.replace("CHAPTER I\n", f"{contents}CHAPTER I\n", 1).replace(
        "\n\n\n\nCHAPTER IV", "\n\n[Illustration: A horse]\n\n\n\nCHAPTER IV"
    )
    text += "\n\nTHE END\n\n\n\nADVERTISEMENTS\n\nBuy more books by this author.\n"
    account = _account(write(text))
    assert account.words == len(text.split())
    assert account.in_chapters + sum(stretch.words for stretch in account.dropped) == account.words
    assert {"title page", "contents page", "heading", "caption", "end mark", "advertisement"} <= {
        stretch.reason for stretch in account.dropped
    }


def test_a_dropped_stretch_names_its_lines(write):
    text = book(CHAPTERS).replace("\n\n\n\nCHAPTER III", "\n\n[Illustration: The grey horse]\n\n\n\nCHAPTER III")
    captions = [stretch for stretch in _account(write(text)).dropped if stretch.reason == "caption"]
    assert [text.split("\n")[stretch.first_line - 1] for stretch in captions] == ["[Illustration: The grey horse]"]


@pytest.mark.parametrize(
    "blurb",
    ["This etext was prepared for Project Gutenberg by a volunteer.", "[Transcriber's Note: two pages are missing.]"],
)
def test_a_notice_between_chapters_is_dropped_and_said(blurb, write):
    novel = read_novel(write(book(CHAPTERS).replace("\n\n\n\nCHAPTER III", f"\n\n{blurb}\n\n\n\nCHAPTER III")))
    assert not any(blurb[1:20] in chapter.text for chapter in novel.chapters)
    assert {"licence", "transcriber's note"} & {stretch.reason for stretch in novel.account.dropped}


def test_a_missing_number_is_said(write):
    account = _account(write(book([*CHAPTERS[:2], *CHAPTERS[3:]])))
    assert any("misses III" in warning for warning in account.warnings)
    assert account.confidence < _account(write(book(CHAPTERS), name="whole.txt")).confidence


def test_a_contents_page_that_lists_more_is_said(write):
    contents = "CONTENTS\n\n" + "\n".join([*CHAPTERS, "CHAPTER VII"]) + "\n\n\n\n"
    account = _account(write(book(CHAPTERS).replace("CHAPTER I\n", f"{contents}CHAPTER I\n", 1)))
    assert account.warnings == ("The contents page lists 7, found 6: missing VII.",)


def test_a_book_on_which_all_evidence_agrees_has_no_warning(write):
    contents = "CONTENTS\n\n" + "\n".join(CHAPTERS) + "\n\n\n\n"
    account = _account(write(book(CHAPTERS).replace("CHAPTER I\n", f"{contents}CHAPTER I\n", 1)))
    assert (account.warnings, account.confidence) == ((), 1.0)


def test_prose_in_front_that_nothing_explains_is_a_warning(write):
    title_page, chapters = book(CHAPTERS).split("\n\n\n\n", 1)
    text = f"{title_page}\n\n\n\nEASTER\n\n{prose(20, seed=9)}\n\n\n\n{chapters}"
    record = segment_record(read_novel(write(text)))
    account = record["account"]
    assert account["dropped_words"] + account["in_chapters"] == account["words"]
    assert [row["kind"] for row in record["chapters"]] == ["chapter"] * 6
    assert any("in no chapter and no known apparatus" in warning for warning in account["warnings"])

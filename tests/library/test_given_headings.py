"""What a user says about a book overrides the rules: its headings, accepted, rejected."""

import pytest

from polaris_jax.errors import InputError
from polaris_jax.library import read_novel, segment_record
from tests.library.conftest import book, prose

ODD = ["~ the first night", "~ the second night", "~ the third night"]


def test_headings_that_no_rule_would_find(write):
    text = book(ODD)
    record = segment_record(read_novel(write(text), heading=r"~ the \w+ night"))
    lines = text.split("\n")
    assert [lines[chapter["line"] - 1] for chapter in record["chapters"]] == ODD
    assert record["chapter_count"] == 3


def test_headings_glued_to_the_prose_above_and_below(write):
    text = "THE MILL\n\n" + "".join(f"NIGHT {n}\n{prose(10, seed=n)}\n" for n in (1, 2, 3))
    novel = read_novel(write(text), heading="NIGHT")
    assert [chapter.name for chapter in novel.chapters] == ["NIGHT 1", "NIGHT 2", "NIGHT 3"]
    for number, chapter in enumerate(novel.chapters, 1):
        assert " ".join(chapter.text.split()) == " ".join(prose(10, seed=number).split())


def test_entries_of_a_contents_page_are_no_chapters(write):
    text = book(ODD).replace("by A. Writer", "by A. Writer\n\n\nCONTENTS\n\n" + "\n".join(ODD))
    record = segment_record(read_novel(write(text), heading="~ the"))
    assert record["chapter_count"] == 3
    assert record["chapters"][0]["line"] > text.split("\n").index(ODD[-1]) + 1


@pytest.mark.parametrize(("heading", "says"), [("(", "no regular expression"), ("Nacht", "matches no line")])
def test_a_heading_rule_that_cannot_be_meant(write, heading, says):
    with pytest.raises(InputError, match=says) as caught:
        read_novel(write(book(ODD)), heading=heading)
    assert caught.value.field == "--heading"


def test_accepted_and_rejected_by_hand(write):
    short = write(book(["CHAPTER I", "CHAPTER II"], paragraphs=4))
    assert not read_novel(short).accepted
    novel = read_novel(short, verdict="accept")
    assert (novel.accepted, novel.reason, len(novel.chapters)) == (True, "", 2)
    rejected = read_novel(write(book(["CHAPTER I", "CHAPTER II", "CHAPTER III"])), verdict="reject")
    assert (rejected.accepted, rejected.reason) == (False, "It was rejected by hand.")

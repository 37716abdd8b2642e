"""The record of a book accounts for every word, and says what no known apparatus explains."""

from dataclasses import replace

import pytest

from polaris_jax.library import Account, Dropped, read_novel, segment_record
from tests.library.conftest import book

HEADINGS = [f"CHAPTER {n}" for n in ("I", "II", "III")]


def test_words_of_the_file_are_in_chapters_or_dropped_for_a_reason(write):
    text = book(HEADINGS)
    account = segment_record(read_novel(write(text)))["account"]
    assert account["words"] == len(text.split())
    assert account["in_chapters"] + account["dropped_words"] == account["words"]
    assert sum(stretch["words"] for stretch in account["dropped"]) == account["dropped_words"]
    lines = text.split("\n")
    for stretch in account["dropped"]:
        assert set(stretch) == {"first_line", "last_line", "words", "reason"}
        assert lines[stretch["first_line"] - 1].strip()
        assert stretch["reason"]
    assert account["unexplained_words"] == 0
    assert account["warnings"] == []
    assert 0 <= account["confidence"] <= 1


@pytest.mark.parametrize(
    ("words", "reason", "warned"),
    [(50, "between chapters", False), (51, "between chapters", True), (5_000, "licence", False)],
)
def test_more_than_half_a_percent_unexplained_is_a_warning(write, words, reason, warned):
    novel = read_novel(write(book(HEADINGS)))
    account = Account(10_000, 9_000, (Dropped(3, 9, words, reason),), ("Something disagrees.",), 0.5)
    record = segment_record(replace(novel, account=account))["account"]
    assert record["warnings"][0] == "Something disagrees."
    assert len(record["warnings"]) == 1 + warned
    if warned:
        assert "51 words (0.5%)" in record["warnings"][1]
        assert "lines 3-9" in record["warnings"][1]


def test_a_book_that_was_not_read_from_a_file_has_no_account(write):
    novel = replace(read_novel(write(book(HEADINGS))), account=None)
    assert segment_record(novel)["account"] is None

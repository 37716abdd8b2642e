"""Which lines can be headings, and what they say."""

import pytest

from polaris_jax.library.headings import is_apparatus, looks_titled, number_value, parse_heading, roman_value


@pytest.mark.parametrize(
    ("line", "style", "number", "label", "title"),
    [
        ("CHAPTER I.", "chapter", 1, "Chapter I", ""),
        ("Chapter Twenty-One: Going Home", "chapter", 21, "Chapter Twenty-One", "Going Home"),
        ("## Chapter 3 - The Ferry ", "chapter", 3, "Chapter 3", "The Ferry"),
        ("CHAPTER XL--IN WHICH THEY MEET", "chapter", 40, "Chapter XL", "IN WHICH THEY MEET"),
        ("Chapter ii -- Containing little or nothing.", "chapter", 2, "Chapter II", "Containing little or nothing."),
        ("Chapter the last.", "chapter", -1, "Chapter the last", ""),
        ("LETTER IV", "letter", 4, "Letter IV", ""),
        ("BOOK THE SECOND", "book", 2, "Book The Second", ""),
        ("THIRD NARRATIVE.", "narrative", 3, "Third Narrative", ""),
        ("VOL. II.", "volume", 2, "Vol. II", ""),
        ("_STAVE FIVE_", "stave", 5, "Stave Five", ""),
        ("XIV.", "roman", 14, "XIV", ""),
        ("[ 7 ]", "arabic", 7, "7", ""),
        ("III. THE OLD BRIDGE", "roman", 3, "III", "THE OLD BRIDGE"),
        ("EPILOGUE", "epilogue", None, "Epilogue", ""),
        ("Prologue: The Storm", "prologue", None, "Prologue", "The Storm"),
    ],
)
def test_headings_are_read(line, style, number, label, title):
    heading = parse_heading(line)
    assert (heading.style, heading.number, heading.label, heading.title) == (style, number, label, title)


@pytest.mark.parametrize(
    "line",
    [
        "Part one of me wanted to go.",
        "I said nothing.",
        "I. was never asked",
        "chapter five of the book lay open",
        "Mild and still",
        "Introduction to the art of war",
        "Book One's last page was missing",
        "",
    ],
)
def test_sentences_are_no_headings(line):
    assert parse_heading(line) is None


@pytest.mark.parametrize(
    "line", ["PREFACE", "CONTENTS.", "List of Illustrations", "TRANSCRIBER'S NOTE", "THE AUTHOR'S PREFACE"]
)
def test_apparatus_is_told_from_narrative(line):
    assert is_apparatus(line)
    assert parse_heading(line) is None


def test_numbers_in_every_notation():
    assert [roman_value(n) for n in ("IV", "xl", "CXVII", "XIIII", "IC")] == [4, 40, 117, 14, None]
    assert [number_value(n) for n in ("12", "2nd", "twenty first", "ninety-nine", "last", "ll")] == [
        12,
        2,
        21,
        99,
        -1,
        11,
    ]


def test_titles_are_told_from_sentences():
    assert looks_titled("The Man Who Came Back")
    assert looks_titled("A STORM AT SEA.")
    assert not looks_titled("The man came back before noon.")
    assert not looks_titled("and then,")

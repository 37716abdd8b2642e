"""Headings that only their series reveals, and headings set in unusual ways, in several page settings."""

import pytest

from polaris_jax.library import read_novel, segment_record
from polaris_jax.library.headings import parse_heading
from tests.library.conftest import prose

TITLES = ("The Grey Horse", "A Broken Bridge", "The Road Home", "Late Snow", "The Second Letter", "Salt")
WORDS = ("One", "Two", "Three", "Four", "Five", "Six")
ORDINALS = ("First", "Second", "Third", "Fourth", "Fifth", "Sixth")
ROMAN = ("I", "II", "III", "IV", "V", "VI")
SPACED = {
    "number and title": [f"{n} {title}" for n, title in enumerate(TITLES, 1)],
    "numeral and title": [f"{n} {title.upper()}" for n, title in zip(ROMAN, TITLES, strict=True)],
    "small numerals": [f"{n.lower()}." for n in ROMAN],
    "a word and a number": [f"Day {word}" for word in WORDS],
    "a word and an ordinal": [f"The {word} Watch" for word in ORDINALS],
    "numbered pieces": [f"No. {n}" for n in range(1, 7)],
    "a sentence": [f"Chapter the {word}, in which the miller goes out and nobody comes back" for word in ORDINALS],
    "letter by letter": [f"C H A P T E R   {n}" for n in ROMAN],
    "numerals apart": [" ".join(n) for n in ROMAN],
    "a section mark": [f"§ {n}" for n in range(1, 7)],
    "in angles": [f"<{n}>" for n in range(1, 7)],
    "no space": [f"Chapter{n}" for n in range(1, 7)],
    "a hyphen": [f"Chapter-{n}" for n in range(1, 7)],
    "ordinal first": [f"The {word} Chapter" for word in ORDINALS],
    "a tag": [f"<h2>{title}</h2>" for title in TITLES],
    "titles alone": list(TITLES),
    "a title that reads like a heading": [f"{n}\n{title.upper()}" for n, title in zip(ROMAN, TITLES, strict=True)],
}
ONE_BLANK, NO_BLANK_BELOW = ("\n\n", "\n\n"), ("\n\n\n", "\n")
NEEDS_SPACE = (
    "titles alone",
    "a title that reads like a heading",
    "a word and a number",
    "a word and an ordinal",
    "a sentence",
)


def _book(headings, between, title="THE MILL AT NIGHT\n\nby A. Writer"):
    above, below = between
    return title + "".join(f"{above}{h}{below}{prose(12, seed=n)}" for n, h in enumerate(headings)) + "\n"


@pytest.mark.parametrize("form", SPACED)
@pytest.mark.parametrize("between", [ONE_BLANK, NO_BLANK_BELOW], ids=["one blank line", "text right below"])
def test_every_chapter_is_found(form, between, write):
    if between is NO_BLANK_BELOW and form in NEEDS_SPACE:
        pytest.skip("only its place distinguishes such a line from the text below it")
    record = segment_record(read_novel(write(_book(SPACED[form], between))))
    assert record["accepted"], record["reason"]
    assert [row["words"] for row in record["chapters"]] == [len(prose(12, seed=n).split()) for n in range(6)]
    assert record["account"]["warnings"] == []


def test_titles_under_numbered_parts_are_the_chapters(write):
    headings = [f"PART {WORDS[n // 3].upper()}\n\n\n\n{t}" if n % 3 == 0 else t for n, t in enumerate(TITLES)]
    units = read_novel(write(_book(headings, ("\n\n\n\n", "\n\n\n")))).chapters
    assert [unit.name.rpartition(" - ")[2] for unit in units] == list(TITLES)
    assert [unit.part for unit in units] == ["Part One"] * 3 + ["Part Two"] * 3


def test_a_stray_weak_line_heads_nothing(write):
    headings = [f"CHAPTER {n}" for n in ROMAN]
    text = _book(headings, ("\n\n\n\n", "\n\n\n"))
    middle = text.index("\n\n", text.index("CHAPTER III") + 900)
    for line in ("12 Mill Lane", "Number One", "Ward Two", "i.", "I Am Here"):
        novel = read_novel(write(f"{text[:middle]}\n\n{line}{text[middle:]}"))
        assert len(novel.chapters) == 6
        assert line in "\n".join(chapter.text for chapter in novel.chapters)


@pytest.mark.parametrize(
    "line", ["12 Mill Lane", "I Am Here", "Day One", "v", "Chapter 3, in which the miller goes out again alone"]
)
def test_a_weak_heading_is_read_only_when_asked_for(line):
    assert parse_heading(line) is None
    assert parse_heading(line, weak=True).weak

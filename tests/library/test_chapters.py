"""Chapters are found in every style of heading, at the right line."""

import pytest

from polaris_jax.library import read_novel, segment_record
from tests.library.conftest import book, prose

ROMAN = ("I", "II", "III", "IV", "V", "VI")
WORDS = ("ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX")
TITLES = ("The Ferry", "A Letter", "Snow", "The Barn Key", "Corwin Speaks", "Home Again")

STYLES = {
    "keyword and roman": [f"CHAPTER {n}" for n in ROMAN],
    "keyword and arabic": [f"Chapter {n}" for n in range(1, 7)],
    "keyword and word": [f"CHAPTER {n}" for n in WORDS],
    "title on the same line": [f"CHAPTER {n}. {t}" for n, t in zip(ROMAN, TITLES, strict=True)],
    "title on the next line": [f"Chapter {n}\n{t.upper()}" for n, t in zip(ROMAN, TITLES, strict=True)],
    "title below a blank line": [f"CHAPTER {n}.\n\n{t}" for n, t in zip(ROMAN, TITLES, strict=True)],
    "bare roman": list(ROMAN),
    "bare roman with stop": [f"{n}." for n in ROMAN],
    "bare roman and title": [f"{n}. {t.upper()}" for n, t in zip(ROMAN, TITLES, strict=True)],
    "bare arabic": [str(n) for n in range(1, 7)],
    "bracketed": [f"[ {n} ]" for n in range(1, 7)],
    "bare words": list(WORDS),
    "staves": [f"STAVE {n}" for n in WORDS],
    "letters": [f"LETTER {n}.\n\nMARTA TO ANSELM." for n in ROMAN],
    "titles alone": list(TITLES),
    "markdown": [f"## {n}. {t}" for n, t in zip(range(1, 7), TITLES, strict=True)],
    "markdown titles": [f"## {t}" for t in TITLES],
}


@pytest.mark.parametrize("style", STYLES)
def test_every_style_is_found_with_its_line(style, write):
    text = book(STYLES[style])
    novel = read_novel(write(text))
    assert novel.accepted, novel.reason
    lines = text.split("\n")
    first_lines = [heading.split("\n")[0] for heading in STYLES[style]]
    assert [lines[chapter.line - 1] for chapter in novel.chapters] == first_lines
    assert segment_record(novel)["chapter_count"] == 6
    assert len({chapter.name for chapter in novel.chapters}) == 6
    assert all(chapter.text.startswith(prose(12, seed=i)[:20]) for i, chapter in enumerate(novel.chapters))


def test_titles_above_their_numbers_belong_to_the_chapter_below(write):
    novel = read_novel(write(book([f"{t}\n\nCHAPTER {n}" for n, t in zip(ROMAN, TITLES, strict=True)])))
    assert [chapter.name for chapter in novel.chapters] == [
        f"Chapter {n}: {t}" for n, t in zip(ROMAN, TITLES, strict=True)
    ]
    assert not any(title in chapter.text[-40:] for chapter in novel.chapters for title in TITLES)


def test_a_contents_page_is_no_chapter(write):
    contents = "CONTENTS\n\n" + "\n\n".join(f"CHAPTER {n}. {t}" for n, t in zip(ROMAN, TITLES, strict=True))
    text = book([f"CHAPTER {n}. {t}" for n, t in zip(ROMAN, TITLES, strict=True)]).replace(
        "by A. Writer", f"by A. Writer\n\n\n\n{contents}"
    )
    novel = read_novel(write(text))
    assert len(novel.chapters) == 6
    assert all(chapter.line > text[: text.index(TITLES[-1])].count("\n") for chapter in novel.chapters)


def test_numbering_that_restarts_is_named_by_its_part(write):
    headings = ["PART ONE\n\n\nI", "II", "III", "PART TWO\n\n\nI", "II", "III"]
    novel = read_novel(write(book(headings)))
    assert [chapter.name for chapter in novel.chapters] == [
        *("Part One - I", "Part One - II", "Part One - III"),
        *("Part Two - I", "Part Two - II", "Part Two - III"),
    ]
    assert [chapter.part for chapter in novel.chapters] == ["Part One"] * 3 + ["Part Two"] * 3


def test_numbers_inside_chapters_are_scene_heads(write):
    headings = []
    for n in ROMAN[:3]:
        headings += [f"CHAPTER {n}\n\n\nI", "II", "III"]
    novel = read_novel(write(book(headings)))
    assert [chapter.name for chapter in novel.chapters] == ["Chapter I", "Chapter II", "Chapter III"]
    assert all(len(chapter.scenes) >= 3 for chapter in novel.chapters)


def test_prologue_and_epilogue_are_units_but_no_chapters(write):
    novel = read_novel(write(book(["PROLOGUE", *STYLES["keyword and roman"], "EPILOGUE"])))
    record = segment_record(novel)
    assert (record["chapter_count"], record["unit_count"]) == (6, 8)
    assert [unit["kind"] for unit in record["chapters"]] == ["prologue"] + ["chapter"] * 6 + ["epilogue"]


def test_a_preface_is_left_out(write):
    novel = read_novel(write(book(["PREFACE", *STYLES["keyword and roman"]])))
    assert [chapter.name for chapter in novel.chapters] == [f"Chapter {n}" for n in ROMAN]


def test_a_frame_without_heading_is_a_prologue(write):
    title_page, chapters = book(list(ROMAN)).split("\n\n\n\n", 1)
    novel = read_novel(write(f"{title_page}\n\n\n\n\n{prose(16, seed=99)}\n\n\n\n{chapters}"))
    assert [chapter.kind for chapter in novel.chapters] == ["prologue"] + ["chapter"] * 6
    assert novel.chapters[0].line == 8


def test_quoted_letters_inside_a_chapter_are_no_units(write):
    text = book([f"CHAPTER {n}" for n in ROMAN])
    quoted = "\n\n\nLETTER I.\n\n" + prose(2, seed=50) + "\n\n\nLETTER II.\n\n" + prose(2, seed=51)
    at = text.index("\n\n\n\nCHAPTER III")
    novel = read_novel(write(text[:at] + quoted + text[at:]))
    assert [chapter.kind for chapter in novel.chapters] == ["chapter"] * 6


def test_a_book_without_chapters_is_undivided_and_still_usable(write):
    novel = read_novel(write(f"THE GREY HORSE\n\nby A. Writer\n\n\n\n\n{prose(140)}\n"))
    record = segment_record(novel)
    assert (record["structure"], record["chapter_count"], record["unit_count"]) == ("undivided", 0, 0)
    assert len(novel.chapters) > 1
    assert "\n\n".join(chapter.text for chapter in novel.chapters).split() == prose(140).split()


def test_what_follows_the_end_is_cut(write):
    text = book(STYLES["keyword and roman"]) + "\n\nTHE END\n\n\n\nADVERTISEMENTS\n\nBuy more books by this author.\n"
    novel = read_novel(write(text))
    assert novel.chapters[-1].text.endswith(prose(12, seed=5).split()[-1])


def test_long_titles_are_cut_to_a_legal_name(write):
    long = "In Which " + "Many Things Happen To Many People And " * 5 + "All Is Well"
    novel = read_novel(write(book([f"CHAPTER {n}. {long}" for n in ROMAN])))
    assert all(1 <= len(chapter.name) <= 120 for chapter in novel.chapters)

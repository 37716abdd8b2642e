"""Books in every layout that real files have: paragraph styles, headings by evidence, and what opens a book."""

import random

import pytest

from polaris_jax.library import read_novel, segment_record
from polaris_jax.library.paragraphs import measure_style
from polaris_jax.library.sequence import Numbered, best_sequence
from tests.library.conftest import prose, sentences, wrap

ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII")
TITLE = "THE GREY HORSE\n\nby A. Writer\n\n\n\n"


def _one_line(seed):
    return [" ".join(paragraph.split()) for paragraph in prose(12, seed=seed).split("\n\n")]


def _chapters(headings, *, gap="\n\n\n", seeds=0):
    return [f"{heading}{gap}{prose(12, seed=seeds + n)}" for n, heading in enumerate(headings)]


def _names(path):
    return [chapter.name for chapter in read_novel(path).chapters]


KEYWORDS = [f"CHAPTER {n}" for n in ROMAN]
CHAPTERS = [f"Chapter {n}" for n in ROMAN]


def _wrapped_without_blanks(indent=""):
    lines = ["THE GREY HORSE", "by A. Writer"]
    for number, heading in enumerate(KEYWORDS):
        lines.append(heading)
        for paragraph in prose(12, seed=number).split("\n\n"):
            lines.extend((indent + paragraph).split("\n"))
    return "\n".join(lines)


STYLES = {
    "blank": TITLE + "\n\n\n\n".join(_chapters(KEYWORDS)),
    "line": "\n".join(["THE GREY HORSE", *(x for n, h in enumerate(KEYWORDS) for x in (h, *_one_line(n)))]),
    "line, blanks round headings": TITLE
    + "\n\n\n\n".join(h + "\n\n\n" + "\n".join(_one_line(n)) for n, h in enumerate(KEYWORDS)),
    "line and blank": TITLE + "\n\n\n\n".join(h + "\n\n\n" + "\n\n".join(_one_line(n)) for n, h in enumerate(KEYWORDS)),
    "wrapped": _wrapped_without_blanks(),
    "wrapped with indents": _wrapped_without_blanks("   "),
}


@pytest.mark.parametrize("style", STYLES)
def test_chapters_and_paragraphs_are_the_same_in_every_paragraph_style(style, write):
    novel = read_novel(write(STYLES[style]))
    assert novel.accepted, novel.reason
    assert [chapter.name for chapter in novel.chapters] == CHAPTERS
    expected = [" ".join(paragraph.split()) for paragraph in prose(12, seed=0).split("\n\n")]
    found = novel.chapters[0].text.split("\n\n")
    assert " ".join(found) == " ".join(expected)
    assert len(found) >= 0.8 * len(expected)  # a last line that is full hides where its paragraph ends


def test_paragraph_styles_are_told_apart():
    kinds = {style: measure_style(text.split("\n")) for style, text in STYLES.items()}
    assert kinds["blank"].kind == "blank"
    assert kinds["line"].kind == kinds["line and blank"].kind == "line"
    assert kinds["wrapped"].kind == "wrapped"
    assert not kinds["wrapped"].indents
    assert kinds["wrapped with indents"].indents


def test_a_stretch_that_lost_its_blank_lines_is_cut_again(write):
    dense = "\n".join(wrap(sentences(4, random.Random(n))) for n in range(12))
    text = TITLE + "\n\n\n\n".join([*_chapters(KEYWORDS[:3]), f"CHAPTER IV\n\n\n{dense}"])
    chapters = read_novel(write(text)).chapters
    assert len(chapters[3].text.split("\n\n")) >= 9


def test_a_heading_glued_to_the_prose_above_it_is_found(write):
    text = "\n\n\n\n".join(_chapters(KEYWORDS)).replace("\n\n\n\nCHAPTER IV\n\n\n", "\nCHAPTER IV\n")
    novel = read_novel(write(TITLE + text))
    assert [chapter.name for chapter in novel.chapters] == CHAPTERS


def test_the_first_heading_may_stand_under_the_author(write):
    text = "\n\n\n\n".join(_chapters([f"Chapter {n} THE ROAD" for n in ("One", "Two", "Three", "Four")]))
    assert len(_names(write(f"THE GREY HORSE\n\nA. Writer\n{text}"))) == 4


def test_a_sentence_that_names_a_chapter_is_no_heading(write):
    text = TITLE + "\n\n\n\n".join(_chapters(KEYWORDS))
    middle = text.index("\n\n", text.index("CHAPTER III") + 400)
    text = (
        text[:middle]
        + "\n\nShe read the book as far as the end of the long and weary\nChapter V\nwas the next.\n"
        + text[middle:]
    )
    assert _names(write(text)) == CHAPTERS


def test_a_first_unit_with_a_title_only_is_found(write):
    headings = ["THE STORY BEGUN BY WALTER HART\n\n(of the Inn, Teacher)", *ROMAN[1:]]
    record = segment_record(read_novel(write(TITLE + "\n\n\n\n".join(_chapters(headings)))))
    assert record["unit_count"] == record["chapter_count"] == 8
    assert record["chapters"][0]["name"].startswith("THE STORY BEGUN")


def test_a_lost_number_does_not_lose_the_rest_of_its_part(write):
    headings = ["PART ONE\n\n\n\nI", "II", "III", "PART TWO\n\n\n\nTHE ROAD", "II", "III", "IV"]
    record = segment_record(read_novel(write(TITLE + "\n\n\n\n".join(_chapters(headings)))))
    assert record["chapter_count"] == 7


def test_letters_may_be_headed_by_whom_they_are_to(write):
    headings = [
        "To Dr. HILL.",
        "To Miss MARSH, at Bath.",
        "To Dr. HILL.",
        "To Mr. FORD.",
        "To Lady MARSH.",
        "To Dr. HILL.",
    ]
    record = segment_record(read_novel(write(TITLE + "\n\n\n\n".join(_chapters(headings, gap="\n\n")))))
    assert record["chapter_count"] == 6
    assert {row["kind"] for row in record["chapters"]} == {"letter"}


def test_a_line_contents_inside_an_undivided_book_loses_nothing(write):
    text = f"{TITLE}{prose(24)}\n\nCONTENTS\n\n{prose(120, seed=1)}\n"
    novel = read_novel(write(text))
    found = sum(len(chapter.text.split()) for chapter in novel.chapters)
    assert found >= len(text.split()) - 10


def test_an_introduction_by_another_hand_is_left_out(write):
    essay = "\n\n".join(
        [wrap("The novel was published when its author was young, and few readers wrote of it. " * 4)] * 8
    )
    text = "THE GREY HORSE\n\nBY A. WRITER\n\nINTRODUCTION BY B. CRITIC\n\n\n\n\nINTRODUCTION\n\n" + essay
    novel = read_novel(write(text + "\n\n\n\n" + "\n\n\n\n".join(_chapters(KEYWORDS))))
    assert [chapter.name for chapter in novel.chapters] == CHAPTERS
    assert "introduction by another hand" in {stretch.reason for stretch in novel.account.dropped}


def test_an_introduction_that_is_part_of_the_story_stays(write):
    text = TITLE + "INTRODUCTION\n\n\n" + prose(10, seed=77) + "\n\n\n\n" + "\n\n\n\n".join(_chapters(KEYWORDS))
    assert _names(write(text)) == ["Introduction", *CHAPTERS]


def test_a_given_heading_rule_is_followed(write):
    text = TITLE + "\n\n\n\n".join(_chapters([f"~ {n} ~ the {n}th day" for n in range(1, 5)]))
    assert len(read_novel(write(text), heading=r"~ \d").chapters) == 4


def _numbers(*numbers, part=0):
    return [Numbered(n, part, 1.0) for n in numbers]


@pytest.mark.parametrize(
    ("candidates", "kept"),
    [
        (_numbers(1, 2, 3), [0, 1, 2]),
        (_numbers(1, 2, 9, 3), [0, 1, 3]),  # a stray number
        (_numbers(1, 2, 4, 5), [0, 1, 2, 3]),  # three is lost
        (_numbers(2, 3, 4), [0, 1, 2]),  # one is lost
        (_numbers(1, 2) + _numbers(2, 3, part=1), [0, 1, 2, 3]),  # one is lost in the second part
        (_numbers(1, 2, 8, 4, 5), [0, 1, 2, 3, 4]),  # eight is a misprint for three
        ([], []),
    ],
)
def test_the_best_sequence_is_taken_as_a_whole(candidates, kept):
    assert best_sequence(candidates) == kept

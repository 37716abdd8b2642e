"""Words broken by typesetting are joined again, in the book's own spelling."""

import pytest

from polaris_jax.library import read_novel
from polaris_jax.library.blocks import Block
from polaris_jax.library.mending import keep_lines, mend_opening, strip_note_marks, unwrap
from polaris_jax.library.spelling import Spelling
from tests.library.conftest import book

STOCK = (
    "The schoolmaster sat in the drawing-room of the old house with Tom. He was concerned, nevertheless, about the "
    "roof and the beams of the church. When Tom had gone, the old school by the river was shut; the master of the "
    "house and the roof, the beams, the school. That evening to-morrow the lamp was lit, and the gate by the mill "
    "was open. Marks of the mill. Saint Mary saw the Anglo friend and the Saxon."
)


@pytest.fixture(scope="module")
def spelling():
    return Spelling([Block(1, STOCK.split(". "), 0)])


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["The school-", "master laughed."], "The schoolmaster laughed."),
        (["The draw-", "ing-room."], "The draw-ing-room."),
        (["The drawing-", "room was cold."], "The drawing-room was cold."),
        (["never-", "theless he went"], "nevertheless he went"),
        (["He was con-", "cerning himself"], "He was concerning himself"),
        (["under the roof-", "beams, he"], "under the roof-beams, he"),
        (["an Anglo-", "Saxon church"], "an Anglo-Saxon church"),
        (["CHAP-", "TER"], "CHAPTER"),
        (["a matter-", "of-fact man"], "a matter-of-fact man"),
        (["of two-", "and three-storied houses"], "of two- and three-storied houses"),
        (["from 1914-", "1918 he"], "from 1914-1918 he"),
        (["he came--", "and went"], "he came-- and went"),
        (["Mr. B-", "said so"], "Mr. B- said so"),
        (["to-", "morrow he"], "to-morrow he"),
        (["the lan\xad", "tern, the bar¬", "rel"], "the lantern, the barrel"),
        (["no hyphen", "at all"], "no hyphen at all"),
    ],
)
def test_words_cut_at_line_ends(lines, text, spelling):
    assert unwrap(lines, spelling) == text


def test_verse_keeps_its_lines_and_its_words(spelling):
    lines = ["  The river called the school-", "  master to the sea,", "  And he went."]
    assert keep_lines(lines, spelling) == ["The river called the schoolmaster", "to the sea,", "And he went."]


@pytest.mark.parametrize(
    ("marked", "text"),
    [
        ("He came.* Then he went.", "He came. Then he went."),
        ("the gate† and the mill.‡", "the gate and the mill."),
        ("the gate¹² and the mill.³", "the gate and the mill."),
        ("the gate^3 and the mill.^{4}", "the gate and the mill."),
        ("M^{rs} Jones and y^e mill", "Mrs Jones and ye mill"),
        ("the gate [Footnote 3: An old one.] was shut", "the gate was shut"),
        ("=Stop= and +Mr. Jones+", "Stop and Mr. Jones"),
        ("Lord M**** and Lady B* were there", "Lord M**** and Lady B* were there"),
        ("2 + 2 = 4 and a = b = c", "2 + 2 = 4 and a = b = c"),
        ("10² miles", "10² miles"),
    ],
)
def test_note_marks_and_marks_of_type(marked, text):
    assert strip_note_marks(marked) == text


@pytest.mark.parametrize(
    ("opening", "text"),
    [
        ("THE OLD LAMP was lit.", "The old lamp was lit."),
        ("“THE lamp was lit,” said TOM.", "“The lamp was lit,” said TOM."),
        ("TOM HAD gone.", "Tom had gone."),
        ("WHEN TOM JONES, I think, was gone", "When Tom Jones, I think, was gone"),
        ("T HE lamp was lit.", "The lamp was lit."),
        ("W hen Tom was gone", "When Tom was gone"),
        ("X marks the mill", "X marks the mill"),
        ("A lamp was lit.", "A lamp was lit."),
        ("I was gone.", "I was gone."),
        ("KING LOUIS XIV was gone.", "King Louis XIV was gone."),
        ("NO ENTRY. PRIVATE.", "NO ENTRY. PRIVATE."),
        ("“STOP!” he said.", "“STOP!” he said."),
        ("M. de Villars was gone.", "M. de Villars was gone."),
    ],
)
def test_openings(opening, text, spelling):
    assert mend_opening(opening, spelling) == text


def test_the_given_case(shared):
    text = " ".join(unit.text for unit in read_novel(shared / "cases" / "library" / "p_hyphen_line_end.txt").chapters)
    assert "schoolmaster" in text
    assert "carriage" in text
    assert "- " not in text
    assert "school-master" not in text


def hyphenate(paragraph, width=60):
    """A paragraph as a printer breaks it: long words that do not fit are cut in the middle."""
    lines = [""]
    for word in paragraph.split():
        room = width - len(lines[-1]) - 1
        half = len(word) // 2
        if len(word) <= room:
            lines[-1] = f"{lines[-1]} {word}".strip()
        elif word.isalpha() and len(word) > 5 and half < room:
            lines[-1] += f" {word[:half]}-"
            lines.append(word[half:])
        else:
            lines.append(word)
    return "\n".join(lines)


def test_a_novel_set_with_hyphens(write):
    """Every word of the book comes back as it was, whatever width it is set in."""
    plain = book([f"CHAPTER {n}" for n in ("I", "II", "III")])
    cut = "\n\n".join(hyphenate(block) if len(block) > 100 else block for block in plain.split("\n\n"))
    assert cut.count("-\n") > 10
    whole = [unit.text for unit in read_novel(write(plain)).chapters]
    assert [unit.text for unit in read_novel(write(cut, name="cut.txt")).chapters] == whole


def test_soft_hyphens_at_line_ends_join(write):
    text = book([f"CHAPTER {n}" for n in ("I", "II", "III")])
    cut = text.replace("schoolmaster", "school\xad\nmaster").replace("lantern", "lan\xadtern")
    assert [unit.text.split() for unit in read_novel(write(cut)).chapters] == [
        unit.text.split() for unit in read_novel(write(text, name="plain.txt")).chapters
    ]

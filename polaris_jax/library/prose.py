"""Turns blocks into clean paragraphs: unwrapped lines, no emphasis marks, and the breaks that the text marks.

A wrapped paragraph becomes one line. Verse and letters, whose lines the author ended, keep their lines.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

from polaris_jax.library.blocks import Block
from polaris_jax.library.mending import keep_lines, mend_opening, strip_note_marks, unwrap
from polaris_jax.library.spelling import Spelling

BREAK_MARK = "* * *"
_BREAK = re.compile(r"[\s*•·.#~=_—–+⁂☆★◆❦-]+$")
_SPACES = re.compile(r"[ \t]{2,}|\t")
_UNDERSCORE = re.compile(r"(?<!_)_(?!_)")
_STARRED = re.compile(r"(?<![\w*])\*{1,2}(?=\S)([^*\n]{1,200}?)(?<=\S)\*{1,2}(?![\w*])")
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,200}>")
_VOLUME_END = re.compile(
    r"[\s_*]*(?:the )?end of (?:the )?(?:\w+ )?(?:volume|vol|book|part|epoch|canto|chapter)\b.{0,30}$", re.I
)
_VERSE_FILL = 0.75  # a line below this share of the width did not end for lack of room
_MAX_GAP_BREAKS = 0.06
_MAX_HEAD_CHARS = 120
_TITLE_PAGE_CHARS = 1_500
_PROSE_LINE = 40  # headings are shorter; their gaps say nothing about scene breaks


@dataclass(frozen=True)
class ProseLayout:
    """How a book was typeset.

    Attributes:
      width: characters of a full line (0 when paragraphs are single lines).
      gap: usual blank lines between paragraphs.
      gap_breaks: whether a wider gap between paragraphs is rare enough to mean a scene break.
      spelling: the words of the whole book.
    """

    width: int
    gap: int
    gap_breaks: bool
    spelling: Spelling = field(default_factory=Spelling, compare=False)


@dataclass(frozen=True)
class Paragraph:
    """A clean paragraph. ``opens``: an explicit break precedes it; ``line``: its line in the file."""

    text: str
    opens: bool
    line: int


def measure_layout(blocks: list[Block]) -> ProseLayout:
    """Measures the typesetting of a book on its blocks."""
    lengths = sorted(len(block.lines[0]) for block in blocks if len(block.lines) > 2)
    width = lengths[int(0.7 * len(lengths))] if len(lengths) > 20 else 0
    gaps = Counter(block.gap for block in blocks if block.gap)
    usual = gaps.most_common(1)[0][0] if gaps else 1
    wide = sum(
        block.gap > usual and len(block.lines[0]) > _PROSE_LINE and len(previous.lines[0]) > _PROSE_LINE
        for previous, block in pairwise(blocks)
    )
    return ProseLayout(width, usual, wide <= _MAX_GAP_BREAKS * max(1, len(blocks)), Spelling(blocks))


def is_break(block: Block) -> bool:
    """Whether a block is a typographic scene break (stars, a rule, a row of dots)."""
    first = block.lines[0]
    return len(block.lines) == 1 and len(first) < 100 and not first[0].isalnum() and _BREAK.match(first) is not None


def is_set_lines(lines: list[str], width: int) -> bool:
    """Whether the author set the line ends of a block: verse, addresses, inscriptions."""
    if len(lines) < 2 or not width:
        return len(lines) > 1
    limit = _VERSE_FILL * width
    if len(lines) == 2:
        return max(map(len, lines)) < limit and lines[1][:1].isspace()
    return max(map(len, lines[:-1])) < limit or (
        lines[0][:2] == "  " and sum(len(line) < limit + 8 for line in lines) > 0.8 * len(lines)
    )


def clean_line(text: str) -> str:
    """Plain text of a line: no emphasis marks, no stray tags, single spaces, none at the ends."""
    if "_" in text:
        text = _UNDERSCORE.sub("", text)
    if "*" in text:
        text = _STARRED.sub(r"\1", text)
    if "<" in text:
        text = _TAG.sub("", text)
    if "  " in text or "\t" in text:
        text = _SPACES.sub(" ", text)
    return strip_note_marks(text).strip()


def clean_lines(lines: list[str], layout: ProseLayout) -> str:
    """One paragraph from the lines of a block."""
    if len(lines) == 1:
        return clean_line(lines[0])
    if is_set_lines(lines, layout.width):
        return "\n".join(filter(None, map(clean_line, keep_lines(lines, layout.spelling))))
    return clean_line(unwrap(lines, layout.spelling))


def read_paragraphs(blocks: list[Block], layout: ProseLayout, breaks: frozenset[int]) -> list[Paragraph]:
    """The paragraphs of consecutive blocks.

    Args:
      blocks: the blocks, without headings.
      layout: layout of the whole book.
      breaks: lines of blocks that are heads inside the chapter; such a head is replaced by a break.
    """
    result: list[Paragraph] = []
    opens = False
    for position, block in enumerate(blocks):
        if block.line in breaks:
            opens = True
            if sum(map(len, block.lines)) < _MAX_HEAD_CHARS:
                continue  # the block is only a head; a paragraph that begins with a number keeps its text
        if is_break(block):
            if result and not result[-1].text.endswith(BREAK_MARK):
                result.append(Paragraph(BREAK_MARK, False, block.line))
            opens = True
            continue
        if len(block.lines) == 1 and len(block.lines[0]) < 80 and _VOLUME_END.match(block.lines[0]):
            if sum(len(line) for later in blocks[position + 1 :] for line in later.lines) < _TITLE_PAGE_CHARS:
                break  # the title page of the next volume
            continue
        text = clean_lines(block.lines, layout)
        if not text:
            continue
        if not result:
            text = mend_opening(text, layout.spelling)
        wide = layout.gap_breaks and block.gap > layout.gap and not block.after_apparatus
        if wide and result and not (is_set_lines(block.lines, layout.width) or "\n" in result[-1].text):
            opens = True
        result.append(Paragraph(text, opens and bool(result), block.line))
        opens = False
    while result and result[-1].text == BREAK_MARK:
        result.pop()
    return result

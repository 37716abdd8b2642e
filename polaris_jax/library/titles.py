"""Chapters headed by a title alone: short, isolated lines with more space around them than paragraphs have.

Used only if a book has no numbers. The evidence is collective: many such lines, set alike, each followed by a chapter
of prose.
"""

import re
from collections import Counter

from polaris_jax.library.blocks import Block
from polaris_jax.library.candidates import HeadingCandidate, prose_chars
from polaris_jax.library.headings import (
    UNIT_KEYWORDS,
    HeadingLine,
    is_apparatus,
    looks_titled,
    parse_heading,
    undecorate,
)

_WORDS = re.compile(r"[^\W_]+")
_MAX_WORDS = 16
_MIN_CHAPTER_CHARS = 2_500
_MIN_SHORT_CHARS = 400  # least length of a chapter whose title is set like nearly all the others
_MIN_TITLES = 3
_MAX_LONE = 60  # most characters of a lone title line
_MIN_FULL = 0.85
_MIN_LETTERS = 5
_MIN_LETTER_CHARS = 400
_MIN_COVERED = 0.8
_SALUTATION = re.compile(
    r"(?:from .{3,40} )?to (?:the )?(?:mr|mrs|miss|dr|sir|lady|lord|rev|reverend|captain|col|master|madam|messrs|hon|"
    r"honourable|countess|count|duke|duchess|earl|[A-Z]{2,})\b",
    re.I,
)


def find_titles(blocks: list[Block], entries: frozenset[str]) -> list[HeadingCandidate]:
    """Title-only chapter headings, in order; empty when the book has no convincing set of them.

    Args:
      blocks: the book.
      entries: normalised lines of its contents page (may be empty); a match replaces typographic evidence.
    """
    usual = _usual_gap(blocks)
    found = []
    for index, block in enumerate(blocks[:-1]):
        if len(block.lines) > 2:
            continue
        core, marked = undecorate(" ".join(block.lines))
        listed = bool(entries) and normalise_title(core) in entries
        set_off = block.gap > usual and block.gap >= 2
        if not (marked or listed or set_off) or not _is_title(core, marked) or is_apparatus(core):
            continue
        numbered = parse_heading(block.lines[0])
        if (numbered is None or numbered.style in UNIT_KEYWORDS) and prose_chars(blocks[index + 1]):
            heading = HeadingLine("title", None, core, "", marked)
            found.append(HeadingCandidate(index, block.line, heading, len(block.lines), block.gap))
    for kind in ("marked", "listed", "wide", "any"):
        chosen = _of_kind(found, kind, entries)
        chosen = _with_text(chosen, blocks)
        if len(chosen) >= _MIN_TITLES:
            return chosen
    return _lone_lines(blocks)


def _lone_lines(blocks: list[Block]) -> list[HeadingCandidate]:
    """Titles with no more space than paragraphs have: lone lines set alike, the first of them above all prose.

    Signatures, dates and inscriptions stand alone too. But they do not open a book, and some of them have little text
    between them. If either holds for a set of lines, the whole set is rejected.
    """
    found = []
    for index, block in enumerate(blocks[:-1]):
        if len(block.lines) > 1 or len(block.lines[0]) > _MAX_LONE or not prose_chars(blocks[index + 1]):
            continue
        core, marked = undecorate(block.lines[0])
        if core[-1:].isalnum() and _is_title(core, marked) and not is_apparatus(core) and not prose_chars(block):
            heading = HeadingLine("title", None, core, "", marked)
            found.append(HeadingCandidate(index, block.line, heading, 1, block.gap))
    if len(found) < _MIN_TITLES or any(map(prose_chars, blocks[: found[0].block])):
        return []
    capitals = sum(c.heading.label.isupper() for c in found)
    if 0 < capitals < len(found):
        found = [c for c in found if c.heading.label.isupper()] if 2 * capitals > len(found) else found
    ends = [*(c.block for c in found[1:]), len(blocks)]
    sizes = [sum(map(prose_chars, blocks[c.block + 1 : end])) for c, end in zip(found, ends, strict=True)]
    return found if sum(size >= _MIN_CHAPTER_CHARS for size in sizes) >= _MIN_FULL * len(found) else []


def find_salutations(blocks: list[Block]) -> list[HeadingCandidate]:
    """Letters headed by the addressee ("To Mrs HILL, at Bath"), in order; empty without a series of them."""
    found = []
    for index, block in enumerate(blocks[:-1]):
        first = block.lines[0]
        if len(first) > 80 or len(block.lines) > 2 or first.lstrip(" _#*")[:1] not in "TF":
            continue
        core, marked = undecorate(first)
        if not _SALUTATION.match(core) or core.endswith(("!", "?", '"')) or (core.endswith(",") and ". " not in core):
            continue
        heading = HeadingLine("title", None, core.rstrip(".,"), "", marked)
        found.append(HeadingCandidate(index, block.line, heading, len(block.lines), block.gap))
    if len(found) < _MIN_LETTERS:
        return []
    ends = [c.block for c in found[1:]] + [len(blocks)]
    sizes = [sum(map(prose_chars, blocks[c.block + 1 : end])) for c, end in zip(found, ends, strict=True)]
    chosen = [c for c, size in zip(found, sizes, strict=True) if size >= _MIN_LETTER_CHARS]
    enough = sum(sizes) > _MIN_COVERED * sum(map(prose_chars, blocks))
    return chosen if len(chosen) >= _MIN_LETTERS and enough else []


def normalise_title(text: str) -> str:
    """A title as a key for comparison: lower-case letters and digits, without leader dots and page numbers."""
    words = _WORDS.findall(text.lower())
    while words and words[-1].isdigit():
        words.pop()
    return " ".join(words)


def _usual_gap(blocks: list[Block]) -> int:
    gaps = Counter(block.gap for block in blocks if block.gap)
    return gaps.most_common(1)[0][0] if gaps else 1


def _is_title(core: str, marked: bool) -> bool:
    words = core.split()
    if not 1 <= len(words) <= _MAX_WORDS or not any(c.isalpha() for c in core) or len(core) > 120:
        return False
    if core[0].islower() or core.endswith((",", ";", ":")):
        return False
    return marked or looks_titled(core.rstrip("."))


def _of_kind(found: list[HeadingCandidate], kind: str, entries: frozenset[str]) -> list[HeadingCandidate]:
    if kind == "marked":
        marked = [c for c in found if c.heading.marked]
        return marked
    if kind == "listed":
        return [c for c in found if normalise_title(c.heading.label) in entries]
    if kind == "wide" and found:
        gaps = Counter(c.gap for c in found if c.gap >= 3)
        wide = gaps.most_common(1)[0][0] - 1 if gaps else 0
        return [c for c in found if c.gap >= wide] if wide else []
    return found


def _with_text(chosen: list[HeadingCandidate], blocks: list[Block]) -> list[HeadingCandidate]:
    """The candidates with long chapters, if these are nearly all of them after the title page."""
    if not chosen:
        return []
    ends = [c.block for c in chosen[1:]] + [len(blocks)]
    sizes = [
        sum(prose_chars(block) for block in blocks[c.block + 1 : end]) for c, end in zip(chosen, ends, strict=True)
    ]
    full = [c for c, size in zip(chosen, sizes, strict=True) if size >= _MIN_CHAPTER_CHARS]
    if len(full) < 0.6 * len(chosen):
        return []
    settings = Counter(map(_setting, full))
    return [
        c
        for c, size in zip(chosen, sizes, strict=True)
        if size >= _MIN_CHAPTER_CHARS or (size >= _MIN_SHORT_CHARS and settings[_setting(c)] >= 0.8 * len(full))
    ]


def _setting(c: HeadingCandidate) -> tuple[bool, bool, bool]:
    """How a title is set: marks, capitals, space above."""
    return c.heading.marked, c.heading.label.isupper(), c.gap >= 3

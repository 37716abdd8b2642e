"""Chapters headed by a title alone: short, isolated lines set off by more space than paragraphs are.

Only consulted when a book numbers nothing. The evidence is collective: many such lines, evenly set, each followed by
a chapter's worth of prose.
"""

import re
from collections import Counter

from polaris_jax.library.blocks import Block
from polaris_jax.library.candidates import Candidate, prose_chars
from polaris_jax.library.headings import HeadingLine, is_apparatus, looks_titled, parse_heading, undecorate

_WORDS = re.compile(r"[^\W_]+")
_MAX_WORDS = 16
_MIN_CHAPTER_CHARS = 2_500
_MIN_TITLES = 3


def find_titles(blocks: list[Block], entries: frozenset[str]) -> list[Candidate]:
    """Title-only chapter headings, in order; empty when the book has no convincing set of them.

    Args:
      blocks: the book.
      entries: normalised lines of its contents page (may be empty); a match stands for typographic evidence.
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
        if parse_heading(block.lines[0]) is None and prose_chars(blocks[index + 1]):
            heading = HeadingLine("title", None, core, "", marked)
            found.append(Candidate(index, block.line, heading, len(block.lines), block.gap))
    for kind in ("marked", "listed", "wide", "any"):
        chosen = _of_kind(found, kind, entries)
        chosen = _with_text(chosen, blocks)
        if len(chosen) >= _MIN_TITLES:
            return chosen
    return []


def normalise_title(text: str) -> str:
    """Letters and digits of a title in lower case, without leader dots and page numbers: the key for comparing."""
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


def _of_kind(found: list[Candidate], kind: str, entries: frozenset[str]) -> list[Candidate]:
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


def _with_text(chosen: list[Candidate], blocks: list[Block]) -> list[Candidate]:
    """The candidates whose chapters are long, if that is nearly all of them after the title page."""
    if not chosen:
        return []
    ends = [c.block for c in chosen[1:]] + [len(blocks)]
    sizes = [
        sum(prose_chars(block) for block in blocks[c.block + 1 : end]) for c, end in zip(chosen, ends, strict=True)
    ]
    full = [c for c, size in zip(chosen, sizes, strict=True) if size >= _MIN_CHAPTER_CHARS]
    return full if len(full) >= 0.6 * len(chosen) else []

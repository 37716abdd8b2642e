"""Text before the numbered chapters: a first chapter whose number is lost, or an introduction by another author."""

import re
from dataclasses import replace

from polaris_jax.library.blocks import Block
from polaris_jax.library.candidates import HeadingCandidate, prose_chars
from polaris_jax.library.gutenberg import is_credit
from polaris_jax.library.headings import HeadingLine, is_apparatus, looks_titled, undecorate
from polaris_jax.library.outline import Outline, Unit
from polaris_jax.library.prose import is_break

_MIN_FIRST_CHARS = 2_000
_OPENING_CHARS = 150
_TITLE_REACH = 6
_BY = re.compile(r"\b(?:introduction|introductory (?:note|essay)|preface|foreword|note)\b.{0,40}?\bby\b[ :]*(.*)", re.I)
_CRITICAL = re.compile(
    r"\b(?:novels?|novelist|author(?:'s|’s|ship)?|readers?|edition|published|publication|publisher|fiction|literary|"
    r"literature|critics?|criticism|masterpiece|romance|reprint|works?|genius|volume|style|wrote|written|century)\b",
    re.I,
)
_CRITICAL_SHARE = 0.012  # share of such words: narrative stays below 0.005, criticism above 0.01
_WORD = re.compile(r"[^\W\d_]+")


def restore_first(blocks: list[Block], outline: Outline) -> Outline:
    """Adds the first unit to an outline whose numbers begin at two: at its title, or where its text begins."""
    first = outline.units[0]
    if first.head.number != 2 or first.head.style != outline.style:
        return outline
    stop = min([first.head.block, *(part.block for part in outline.parts)])
    if stop == first.head.block:
        head = _untitled_head(blocks[:stop])
        if head:
            unit = Unit(replace(head, heading=replace(head.heading, style=first.head.style)), first.kind, first.parts)
            return replace(outline, units=(unit, *outline.units))
    return outline


def _untitled_head(front: list[Block]) -> HeadingCandidate | None:
    """The heading of a first unit without a number: the nearest title above the first long text, else that text."""
    opening = next(
        (i for i, b in enumerate(front) if prose_chars(b) >= _OPENING_CHARS and not is_credit(b.lines[0])), None
    )
    if opening is None or sum(map(prose_chars, front[opening:])) < _MIN_FIRST_CHARS:
        return None
    for index in range(opening - 1, max(0, opening - _TITLE_REACH), -1):
        block = front[index]
        core, marked = undecorate(" ".join(block.lines))
        if is_apparatus(block.lines[0]) or is_credit(block.lines[0]) or core.lower().startswith("by "):
            break
        if len(block.lines) <= 2 and looks_titled(core.rstrip(".")) and not is_break(block) and block.gap >= 2:
            heading = HeadingLine("title", 1, core, "", marked)
            return HeadingCandidate(index, block.line, heading, len(block.lines), block.gap)
    heading = HeadingLine("title", 1, "I", "", False)
    return HeadingCandidate(opening, front[opening].line, heading, 0, front[opening].gap)


def drop_foreign_introduction(blocks: list[Block], outline: Outline, author: str) -> Outline:
    """The outline without an introduction outside the story: one by another author, or an essay on the book."""
    first = outline.units[0]
    if first.kind != "prologue" or len(outline.units) < 2 or not _is_introduction(first.head):
        return outline
    start, stop = first.head.block, outline.units[1].head.block
    text = " ".join(" ".join(block.lines) for block in blocks[start + 1 : stop])
    head = " ".join([*blocks[start].lines, *(blocks[start + 1].lines if start + 1 < len(blocks) else [])][:2])
    announced = [_BY.search(" ".join(block.lines)) for block in blocks[:start] if len(block.lines) <= 4]
    named = _BY.search(head) or next(filter(None, announced), None)
    foreign = named is not None and not _is_of_the_book(named[1], author, blocks[stop:])
    words = len(_WORD.findall(text))
    essay = len(_CRITICAL.findall(text)) > _CRITICAL_SHARE * words and not re.search(r"[\"“][A-Z]", text)
    return replace(outline, units=outline.units[1:]) if foreign or essay else outline


def _is_introduction(head: HeadingCandidate) -> bool:
    return head.heading.label.lower().removeprefix("the ").startswith(("introduct", "foreword", "preamble"))


def _is_of_the_book(name: str, author: str, story: list[Block]) -> bool:
    """Whether an introduction is signed by the author or by a person in the story."""
    words = [
        word for word in _WORD.findall(name) if len(word) > 2 and word.lower() not in ("the", "author", "mrs", "sir")
    ]
    if not words or "author" in name.lower():
        return True
    surname = words[-1].lower()
    if surname in author.lower():
        return True
    mentions = sum(surname in " ".join(block.lines).lower() for block in story)
    return mentions >= 3

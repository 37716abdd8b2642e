"""Builds the account: every line of a file is in a chapter, in a heading, or dropped for a stated reason."""

import re
from itertools import compress, groupby

from polaris_jax.library.account import Account, Dropped
from polaris_jax.library.blocks import Block
from polaris_jax.library.candidates import prose_chars
from polaris_jax.library.checks import confidence, structure_warnings
from polaris_jax.library.contents import is_contents_line
from polaris_jax.library.gutenberg import is_credit
from polaris_jax.library.headings import is_apparatus, parse_heading, undecorate
from polaris_jax.library.novel import word_count
from polaris_jax.library.prose import is_break
from polaris_jax.library.structure import Structure

_KINDS = (
    ("contents page", r"contents|chapters"),
    ("list of illustrations", r"illustrations"),
    ("dedication", r"dedicat|inscription"),
    ("advertisement", r"advertisements?"),
    ("transcriber's note", r"transcriber|preparer"),
    ("introduction by another hand", r"introduct|foreword|about the author|biographical"),
    ("appendix", r"appendix"),
    ("index", r"index"),
    ("glossary", r"glossary"),
    ("note", r"(?:foot|end)?notes?\b|note on"),
)
_UNHEADED_CHARS = 1_500  # prose before the first heading; less is an epigraph or a dedication
_NOTES = re.compile(r"[\s_]*(?:foot|end)?notes?[.:]\s+[\[(]?\d", re.I)  # the first of a list beside its heading
_DEDICATION = re.compile(r"[\s_]*(?:to|for|my dear|dear)\b", re.I)


def take_account(
    text: str,
    body: tuple[int, int],
    blocks: list[Block],
    structure: Structure,
    dropped: list[Dropped],
    doubts: list[str],
    listed: tuple[str, ...] = (),
) -> Account:
    """Builds the account of a book.

    Args:
      text: the decoded file.
      body: first and last character of the book inside its licence frame.
      blocks: the book without captions and notes.
      structure: the structure read from the blocks.
      dropped: parts that were left out before that, in the order of the file.
      doubts: warnings about the kind of book and the state of its file.
      listed: titles in an EPUB's navigation.
    """
    lines = text.split("\n")
    reasons: list[str] = [""] * (len(lines) + 2)  # by 1-based line; '' means text of a chapter
    first, last = text.count("\n", 0, body[0]) + 1, text.count("\n", 0, body[1]) + 1
    if body[0]:
        reasons[1:first] = ["licence"] * (first - 1)
        reasons[first] = "licence" if text[: body[0]].rpartition("\n")[2].strip() else ""
    if body[1] < len(text):
        reasons[last:] = ["licence"] * (len(reasons) - last)
    if structure.name == "unread":
        reasons = [reason or "unread" for reason in reasons]
    for block, reason in _block_reasons(blocks, structure):
        reasons[block.line : block.stop] = [reason] * (block.stop - block.line)
    stops = {block.line: block.stop for block in blocks}
    for line in structure.reading.kept:
        if line in stops:
            reasons[line : stops[line]] = [""] * (stops[line] - line)
        else:
            _keep(reasons, blocks, line)  # text under a heading, in the same block
    for stretch in dropped:
        reasons[stretch.first_line : stretch.last_line + 1] = [stretch.reason] * (
            stretch.last_line + 1 - stretch.first_line
        )
    counts = [0, *(len(line.split()) for line in lines), 0]
    in_chapters = sum(map(word_count, structure.reading.chapters))
    stretches = _stretches(reasons, counts)
    words = sum(counts)
    rest = words - in_chapters - sum(stretch.words for stretch in stretches)
    if rest > 0:
        stretches.append(Dropped(first, last, rest, "page mark"))
    warnings = [*structure_warnings(blocks, structure, listed), *doubts]
    return Account(words, in_chapters, tuple(stretches), tuple(warnings), confidence(structure, warnings))


def _keep(reasons: list[str], blocks: list[Block], line: int) -> None:
    """Marks the lines of the paragraph that begins at ``line`` as text of a chapter."""
    low, high = 0, len(blocks)
    while low < high:  # the last block that begins at or before the line
        middle = (low + high) // 2
        low, high = (middle + 1, high) if blocks[middle].line <= line else (low, middle)
    stop = blocks[low - 1].stop
    reasons[line:stop] = [""] * (stop - line)


def _stretches(reasons: list[str], counts: list[int]) -> list[Dropped]:
    """Runs of lines with the same reason, including blank lines between them."""
    result = []
    for reason, group in groupby(compress(range(len(counts)), counts), key=reasons.__getitem__):
        if reason:
            members = list(group)
            result.append(Dropped(members[0], members[-1], sum(counts[line] for line in members), reason))
    return result


def _block_reasons(blocks: list[Block], structure: Structure) -> list[tuple[Block, str]]:
    """A reason for every block outside chapters. Reasons of blocks in chapters are overwritten afterwards."""
    if structure.name == "unread":
        return []
    reading = structure.reading
    parts = {part.block for part in structure.outline.parts}
    start = min([reading.start, *(part.block for part in structure.outline.parts)])
    result = list(zip(blocks[:start], _front_reasons(blocks[:start]), strict=True))
    current = ""
    for index, block in enumerate(blocks[start : reading.stop], start):
        if block.line in reading.kept:
            current = ""
            continue
        head = block.line in reading.heads
        current = "" if head or index in parts else _named_reason(block) or current
        short = head or len(block.lines) <= 3
        result.append(
            (block, "part heading" if index in parts else current or ("heading" if short else "between chapters"))
        )
    current = "end mark"
    for block in blocks[reading.stop :]:
        current = _named_reason(block) or ("end matter" if current == "end mark" and len(block.lines) > 2 else current)
        result.append((block, current))
    return result


def _front_reasons(front: list[Block]) -> list[str]:
    """Reasons for the blocks before the first heading: from the front-matter heading above them, or from their form."""
    reasons = []
    current, size = "title page", 0
    for block in front:
        named = _named_reason(block)
        if named:
            current = named
        elif current in ("contents page", "list of illustrations") and prose_chars(block) > 300:
            current = "front matter"
        elif current == "title page" and len(block.lines) <= 2 and _DEDICATION.match(block.lines[0]):
            current = "dedication"
        elif current in ("title page", "text before the first heading"):
            size += prose_chars(block)
            current = "text before the first heading" if size > _UNHEADED_CHARS else current
        reasons.append("transcriber's note" if is_credit(block.lines[0]) else current)
    return reasons


def _named_reason(block: Block) -> str:
    """The reason that a heading of front or end matter gives; '' for any other block."""
    line = block.lines[0]
    if len(block.lines) > 3 and not is_contents_line(line):
        return ""
    if _NOTES.match(line):
        return "footnotes"
    heading = parse_heading(line)
    named = heading is not None and heading.style == "prologue"
    if not (is_apparatus(line) or named or is_contents_line(line)) or is_break(block):
        return ""
    core = undecorate(line)[0].lower()
    return next((reason for reason, pattern in _KINDS if re.search(pattern, core)), "preface")

"""The chapters in an EPUB's table of contents, which may contradict the headings found in the text."""

from bisect import bisect_right
from collections.abc import Sequence

from polaris_jax.library.blocks import Block
from polaris_jax.library.candidates import HeadingCandidate, prose_chars
from polaris_jax.library.epub import NavEntry
from polaris_jax.library.headings import HeadingLine, is_apparatus, parse_heading, undecorate
from polaris_jax.library.outline import Outline, Unit
from polaris_jax.library.titles import normalise_title

_MIN_CHARS = 1_000  # least length of a chapter; less is a title page, a dedication or an imprint
_MIN_UNITS = 3
_MIN_COVERED = 0.8  # least share of the book's prose in the declared chapters
_AGREE = 0.6  # share of declared chapters for which a heading was found
_REACH = 2  # most blocks between an entry's place and its heading
_KINDS = {"prologue": "prologue", "epilogue": "epilogue", "letter": "letter"}


def declared_outline(blocks: list[Block], navigation: Sequence[NavEntry], found: Outline) -> Outline | None:
    """The outline by the table of contents, if it differs from the headings found; None if both agree or it is useless.

    Args:
      blocks: the book.
      navigation: entries of the table of contents, in order.
      found: the outline by the headings in the text.
    """
    starts = [block.line for block in blocks]
    entries = [(max(0, bisect_right(starts, entry.line) - 1), entry) for entry in navigation]
    entries = [(index, entry) for index, entry in entries if not is_apparatus(entry.title)]
    chosen = _chapters(blocks, entries)
    if len(chosen) < _MIN_UNITS:
        return None
    heads = {unit.head.block for unit in found.units}
    agree = sum(any(at in heads for at in range(index - _REACH, index + _REACH + 1)) for index, _, _ in chosen)
    if agree >= _AGREE * len(chosen):
        return None
    parts: dict[int, HeadingCandidate] = {}
    units = []
    for index, entry, above in chosen:
        stack = tuple(parts.setdefault(at, _candidate(blocks, at, part)) for at, part in above)
        head = _candidate(blocks, index, entry)
        units.append(Unit(head, _KINDS.get(head.style, "chapter"), stack))
    own = {unit.head.block for unit in units}
    inner = [head for head in (*(unit.head for unit in found.units), *found.inner) if head.block not in own]
    outer = tuple(part for at, part in parts.items() if at not in own)
    return Outline(tuple(units), outer, tuple(head for head in inner if head.block not in parts), "title")


def _chapters(
    blocks: list[Block], entries: list[tuple[int, NavEntry]]
) -> list[tuple[int, NavEntry, tuple[tuple[int, NavEntry], ...]]]:
    """(block, entry, entries above it) of the chapters: on the outermost level, or on the next if that holds parts."""
    children = [
        position + 1 < len(entries) and entries[position + 1][1].depth > entry.depth
        for position, (_, entry) in enumerate(entries)
    ]
    outer = min((entry.depth for _, entry in entries), default=0)
    level = outer
    while True:
        own = [has for has, (_, entry) in zip(children, entries, strict=True) if entry.depth == level]
        if not own or sum(own) * 2 <= len(own):
            break
        level += 1
    above: list[tuple[int, NavEntry]] = []
    marks: list[tuple[int, NavEntry, tuple[tuple[int, NavEntry], ...]]] = []
    for has, (index, entry) in zip(children, entries, strict=True):
        above = [pair for pair in above if pair[1].depth < entry.depth]
        if entry.depth == level or (entry.depth < level and not has):
            marks.append((index, entry, tuple(above)))
        above.append((index, entry))
    ends = [*(index for index, _, _ in marks[1:]), len(blocks)]
    sizes = [sum(map(prose_chars, blocks[mark[0] : end])) for mark, end in zip(marks, ends[: len(marks)], strict=True)]
    chosen = [mark for mark, size in zip(marks, sizes, strict=True) if size >= _MIN_CHARS]
    covered = sum(size for size in sizes if size >= _MIN_CHARS)
    return chosen if covered >= _MIN_COVERED * sum(map(prose_chars, blocks)) else []


def _candidate(blocks: list[Block], index: int, entry: NavEntry) -> HeadingCandidate:
    """The heading of an entry: its block if that prints the title, else a heading without a line of the text."""
    said = parse_heading(entry.title) or HeadingLine("title", None, " ".join(entry.title.split()), "", True)
    near = sorted(range(max(0, index - _REACH), min(len(blocks), index + _REACH + 1)), key=lambda at: abs(at - index))
    at = next((at for at in near if _prints(blocks[at], entry.title)), None)
    block = blocks[index if at is None else at]
    taken = 0 if at is None else len(block.lines)
    return HeadingCandidate(index if at is None else at, block.line, said, taken, block.gap)


def _prints(block: Block, title: str) -> bool:
    """Whether a block is a heading that reads like an entry."""
    if len(block.lines) > 3 or prose_chars(block):
        return False
    printed, said = normalise_title(undecorate(" ".join(block.lines))[0]), normalise_title(title)
    return bool(printed) and (printed in said or said in printed)

"""A book as blocks: runs of non-blank lines, each with its line number and the blank lines before it.

Text whose form shows that it is not the author's prose (illustration captions, footnote bodies, page marks, licence
text) is removed here and reported. So later stages see only headings and paragraphs.
"""

import re
from itertools import pairwise

from polaris_jax.library.account import Dropped
from polaris_jax.library.paragraphs import cut_run, measure_style

_MARK = re.compile(r"\[(?:\.{3} ?)?\d{1,4}[a-z]?\]|\{\d{1,4}\}|\[(?:pg|page|p\.) ?\d+\]|\[[A-Z*†‡]\]", re.I)
_LEADING_MARK = re.compile(r"[ \t]*(\[\w{1,4}\]|\{\d{1,4}\})[ \t]")
_CAPTION = re.compile(r"[ \t]*\[_?(?:illustrations?|picture|image|figure|frontispiece|map|plate)\b", re.I)
_NOTE = re.compile(
    r"[ \t]*[\[{]_?(?:footnotes?|fn|note|transcriber['’]?s|editor['’]?s|sidenote|t\. ?n\.)[ \d:_*'’.-]*", re.I
)
_NOTE_LIST = re.compile(r"[ \t]*(?:foot)?notes?[.:]*[ \t]*$", re.I)
_STAR_NOTE = re.compile(r"[ \t]*(\*{1,3}|†|‡) ?(?=[\w“\"_(])(?!.*\w:?\*)")  # not bold words, which have closing stars
_PAGE = re.compile(r"[ \t]*[\[({]?[ \t]*(?:pg\.?|page|p\.)?[ \t]*(\d{1,4})[ \t]*[\])}]?[ \t]*$", re.I)
_LICENCE = ("gutenberg", "Gutenberg", "GUTENBERG")
_NOTICE = re.compile(r"project gutenberg|gutenberg\.(?:org|net)|gutenberg (?:e-?text|e-?book)", re.I)
_TRANSCRIBER = re.compile(r"[ \t]*[\[{(*_]*(?:transcriber|preparer)['’]?s?['’]? (?:end)?notes?\b", re.I)
_MAX_NOTICE_LINES = 40
_MAX_NOTICE_LINE = 2_000
_MAX_CAPTION_BLOCKS = 6
_MIN_PAGES = 20
_MAX_PAGE_WORDS = 700


class Block:
    """A run of non-blank lines.

    Attributes:
      line: 1-based line number of the first line.
      lines: the lines as they stand in the file.
      gap: blank lines before the block.
      after_apparatus: something was removed between the previous block and this one, so its gap says nothing.
      stop: 1-based number of the line after its last one in the file.
    """

    __slots__ = ("after_apparatus", "gap", "line", "lines", "stop")

    def __init__(self, line: int, lines: list[str], gap: int):
        self.line, self.lines, self.gap = line, lines, gap
        self.after_apparatus = False
        self.stop = line + len(lines)

    def __repr__(self) -> str:
        return f"Block({self.line}, gap={self.gap}, {self.lines[0][:50]!r})"

    @property
    def words(self) -> int:
        """Whitespace-separated words."""
        return sum(len(line.split()) for line in self.lines)


def split_blocks(text: str, first_line: int, heading: str | None = None) -> list[Block]:
    """Cuts text into blocks, one per paragraph, heading or stanza, by the text's measured paragraph style.

    Args:
      text: the body of a book, LF line ends.
      first_line: 1-based number of its first line in the file.
      heading: a regular expression; a line whose start it matches is a block of its own.
    """
    blocks: list[Block] = []
    run: list[str] = []
    gap = 0
    lines = text.split("\n")
    style = measure_style(lines)
    for number, line in enumerate([*lines, ""], first_line):
        if line and (line[0] > " " or not line.isspace()):
            run.append(line)
            continue
        if run:
            starts = cut_run(run, style)
            if heading is not None:
                starts = _cut_headings(run, starts, heading)
            for start, stop in zip(starts, [*starts[1:], len(run)], strict=True):
                blocks.append(Block(number - len(run) + start, run[start:stop], 0 if start else gap))
            run, gap = [], 0
        gap += 1
    return blocks


def _cut_headings(run: list[str], starts: list[int], heading: str) -> list[int]:
    """The starts of paragraphs, plus those of the caller's headings; each heading is a block by itself."""
    heads = [i for i, line in enumerate(run) if re.match(heading, line.strip())]
    return sorted({*starts, *heads, *(i + 1 for i in heads if i + 1 < len(run))})


def drop_apparatus(blocks: list[Block]) -> tuple[list[Block], list[Dropped]]:
    """The blocks without captions, footnotes, page marks and licence text, and what was dropped.

    Marks inside lines are removed in place.
    """
    kept: list[Block] = []
    dropped: list[Dropped] = []
    pages = _page_numbers(blocks)
    referenced: set[str] = set()
    i, removed = 0, False
    while i < len(blocks):
        block = blocks[i]
        reason = "page number" if i in pages else _stated_reason(block)
        first_line = block.line
        size = len(block.lines)
        words = block.words if block.lines[0].lstrip()[:1] in "[{" else 0
        skip = 1 if reason else _apparatus_blocks(blocks, i, kept, referenced)
        if skip:
            stretch = blocks[i : i + skip]
            reason = reason or ("caption" if _CAPTION.match(block.lines[0]) else "footnote")
            dropped.append(Dropped(block.line, stretch[-1].stop - 1, sum(b.words for b in stretch), reason))
        else:
            if block.line > first_line:
                dropped.append(Dropped(first_line, block.line - 1, words - block.words, "caption"))
            _strip_marks(block, referenced)
            if block.lines:
                block.after_apparatus = removed
                kept.append(block)
            else:
                dropped.append(Dropped(block.line, block.stop - 1, words or size, "page mark"))
        removed = skip > 0
        i += max(1, skip)
    return kept, dropped


def _stated_reason(block: Block) -> str:
    """Why the words of a paragraph show that it belongs to no book: licence, transcriber's note; '' if they do not."""
    if len(block.lines) > _MAX_NOTICE_LINES:
        return ""
    first = block.lines[0]
    if len(first) < _MAX_NOTICE_LINE and _TRANSCRIBER.match(first):
        return "transcriber's note"
    text = " ".join(block.lines)
    return "licence" if any(name in text for name in _LICENCE) and _NOTICE.search(text) else ""


def _apparatus_blocks(blocks: list[Block], i: int, kept: list[Block], referenced: set[str]) -> int:
    """How many blocks from block i on are apparatus. A caption in the same block as prose is cut off."""
    block = blocks[i]
    first = block.lines[0]
    lead = first.lstrip()[:1]
    if lead in "[{":
        while _CAPTION.match(block.lines[0]) or _NOTE.match(block.lines[0]):
            span = _bracket_blocks(blocks, i)
            if span > 1 or not _drop_bracket(block):
                return span
        mark = _LEADING_MARK.match(block.lines[0])
        if mark and mark[1] in referenced:
            referenced.discard(mark[1])
            return 1
    elif lead in "*†‡":
        star = _STAR_NOTE.match(first)
        return int(star is not None and _starred(kept, star[1]))
    elif lead in "FfNn" and len(first) < 20 and _NOTE_LIST.match(first):
        return int(_opens_notes(blocks, i))
    return 0


def _drop_bracket(block: Block) -> bool:
    """Removes the bracket that opens a block; False when the block holds nothing else."""
    text = "\n".join(block.lines)
    close = next((i for i, char in enumerate(text) if char in "]}"), len(text))
    while text.count("[", 0, close + 1) > text.count("]", 0, close + 1) and "]" in text[close + 1 :]:
        close = text.index("]", close + 1)
    rest = text[close + 1 :].strip()
    if not rest:
        return False
    block.lines = rest.split("\n")
    block.line = block.stop - len(block.lines)
    return True


def _bracket_blocks(blocks: list[Block], i: int) -> int:
    """How many blocks the bracket that opens block i spans (1 when it does not close nearby)."""
    depth = 0
    for span in range(min(_MAX_CAPTION_BLOCKS, len(blocks) - i)):
        for line in blocks[i + span].lines:
            depth += line.count("[") - line.count("]") + line.count("{") - line.count("}")
        if depth <= 0:
            return span + 1
    return 1


def _starred(kept: list[Block], star: str) -> bool:
    """Whether one of the last paragraphs has this star as a reference after a word."""
    pattern = re.compile(r"[\w.,;:!?\"”’')]" + re.escape(star) + r"(?![*\w])")
    return any(pattern.search(line) for block in kept[-8:] for line in block.lines)


def _opens_notes(blocks: list[Block], i: int) -> bool:
    """Whether a line ``Footnotes`` is followed by a note."""
    if i + 1 >= len(blocks):
        return False
    first = blocks[i + 1].lines[0]
    return bool(_LEADING_MARK.match(first) or _NOTE.match(first))


def _strip_marks(block: Block, referenced: set[str]) -> None:
    """Removes page marks and note references from a block's lines, and adds the references to ``referenced``."""
    changed = False
    for index, line in enumerate(block.lines):
        if "[" in line or "{" in line:
            if line.lstrip()[:1] in "[{" and _PAGE.match(line) and len(block.lines) == 1:
                continue  # a lone bracketed number may be a heading; page numbers were already found as a series
            for match in _MARK.finditer(line):
                if match.start() and not line[match.start() - 1].isspace():
                    referenced.add(match[0])
            stripped = _MARK.sub("", line).rstrip()
            block.lines[index] = stripped.lstrip() if line[:1] != " " else stripped
            changed = True
    if changed:
        block.lines = [line for line in block.lines if line]


def _page_numbers(blocks: list[Block]) -> set[int]:
    """Indices of blocks that are page numbers: many lone, rising numbers, a page apart."""
    found: list[tuple[int, int]] = []
    for index, block in enumerate(blocks):
        if len(block.lines) == 1 and len(block.lines[0]) < 24:
            match = _PAGE.match(block.lines[0])
            if match:
                found.append((index, int(match[1])))
    if len(found) < _MIN_PAGES:
        return set()
    rising = [(a, b) for a, b in pairwise(found) if 0 < b[1] - a[1] <= 3]
    if len(rising) < 0.8 * (len(found) - 1):
        return set()
    words = sorted(sum(block.words for block in blocks[a[0] : b[0]]) / (b[1] - a[1]) for a, b in rising)
    if not 40 <= words[len(words) // 2] <= _MAX_PAGE_WORDS:
        return set()
    return {index for index, _ in found}

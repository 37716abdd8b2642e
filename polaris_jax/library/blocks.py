"""A book as blocks: runs of non-blank lines, each knowing its line number and the blank space before it.

Everything that is not the author's prose (illustration captions, footnote bodies, page marks) leaves the book here, so
that later stages see headings and paragraphs only.
"""

import re
from itertools import pairwise

_NO_BLANKS_SHARE = 0.02
_LONG_LINE = 120
_CLOSED_SHARE = 0.7  # wrapped prose closes a sentence on one line in eight, verse on fewer than half
_SENTENCE_END = (".", "!", "?", '"', "”", "’")
_MARK = re.compile(r"\[(?:\.{3} ?)?\d{1,4}[a-z]?\]|\{\d{1,4}\}|\[(?:pg|page|p\.) ?\d+\]|\[[A-Z*†‡]\]", re.I)
_LEADING_MARK = re.compile(r"[ \t]*(\[\w{1,4}\]|\{\d{1,4}\})[ \t]")
_CAPTION = re.compile(r"[ \t]*\[_?(?:illustrations?|picture|image|figure|frontispiece|map|plate)\b", re.I)
_NOTE = re.compile(
    r"[ \t]*[\[{]_?(?:footnotes?|fn|note|transcriber['’]?s|editor['’]?s|sidenote|t\. ?n\.)[ \d:_*'’.-]*", re.I
)
_NOTE_LIST = re.compile(r"[ \t]*(?:foot)?notes?[.:]*[ \t]*$", re.I)
_STAR_NOTE = re.compile(r"[ \t]*(\*{1,3}|†|‡) ?(?=[\w“\"_(])")
_PAGE = re.compile(r"[ \t]*[\[({]?[ \t]*(?:pg\.?|page|p\.)?[ \t]*(\d{1,4})[ \t]*[\])}]?[ \t]*$", re.I)
_MAX_CAPTION_BLOCKS = 6
_MIN_PAGES = 20
_MAX_PAGE_WORDS = 700


class Block:
    """A run of non-blank lines.

    Attributes:
      line: 1-based line number of the first line.
      lines: the lines as they stand in the file.
      gap: blank lines before the block.
      after_apparatus: something was removed between the previous block and this one (its gap tells nothing).
    """

    __slots__ = ("after_apparatus", "gap", "line", "lines")

    def __init__(self, line: int, lines: list[str], gap: int):
        self.line, self.lines, self.gap = line, lines, gap
        self.after_apparatus = False

    def __repr__(self) -> str:
        return f"Block({self.line}, gap={self.gap}, {self.lines[0][:50]!r})"

    @property
    def words(self) -> int:
        """Whitespace-separated words."""
        return sum(len(line.split()) for line in self.lines)


def split_blocks(text: str, first_line: int) -> list[Block]:
    """Cut text into blocks at blank lines; a file that has none is cut at indents or single lines instead.

    Args:
      text: the body of a book, LF line ends.
      first_line: 1-based number of its first line in the file.
    """
    blocks: list[Block] = []
    run: list[str] = []
    gap = total = 0
    for number, line in enumerate(text.split("\n"), first_line):
        if line and (line[0] > " " or not line.isspace()):
            run.append(line)
            total += 1
        else:
            if run:
                blocks.append(Block(number - len(run), run, gap))
                run, gap = [], 0
            gap += 1
    if run:
        blocks.append(Block(number + 1 - len(run), run, gap))
    if len(blocks) <= max(1, _NO_BLANKS_SHARE * total):
        blocks = _split_dense(blocks)
    return blocks


def _split_dense(blocks: list[Block]) -> list[Block]:
    """Paragraphs of a text without blank lines: one per line if lines are long or close sentences, else per indent."""
    lines = [line for block in blocks for line in block.lines]
    closed = sum(line.rstrip().endswith(_SENTENCE_END) for line in lines)
    by_line = sum(map(len, lines)) > _LONG_LINE * len(lines) or closed > _CLOSED_SHARE * len(lines)
    result: list[Block] = []
    for block in blocks:
        gap = block.gap
        for offset, line in enumerate(block.lines):
            if offset == 0 or by_line or line[:1] in " \t":
                result.append(Block(block.line + offset, [line], gap))
                gap = 0
            else:
                result[-1].lines.append(line)
    return result


def drop_apparatus(blocks: list[Block]) -> list[Block]:
    """The blocks without captions, footnotes and page marks; marks inside lines are removed in place."""
    kept: list[Block] = []
    pages = _page_numbers(blocks)
    referenced: set[str] = set()
    i, removed = 0, False
    while i < len(blocks):
        block = blocks[i]
        skip = 1 if i in pages else _apparatus_blocks(blocks, i, kept, referenced)
        if not skip:
            _strip_marks(block, referenced)
            if block.lines:
                block.after_apparatus = removed
                kept.append(block)
        removed = skip > 0
        i += max(1, skip)
    return kept


def _apparatus_blocks(blocks: list[Block], i: int, kept: list[Block], referenced: set[str]) -> int:
    """How many blocks from block i on are apparatus; a caption that shares its block with prose is cut off it."""
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
    """Remove the bracket a block opens with; False when nothing else is in the block."""
    text = "\n".join(block.lines)
    close = next((i for i, char in enumerate(text) if char in "]}"), len(text))
    while text.count("[", 0, close + 1) > text.count("]", 0, close + 1) and "]" in text[close + 1 :]:
        close = text.index("]", close + 1)
    rest = text[close + 1 :].strip()
    if not rest:
        return False
    block.lines = rest.split("\n")
    return True


def _bracket_blocks(blocks: list[Block], i: int) -> int:
    """How many blocks the bracket opening block i spans (1 when it never closes nearby)."""
    depth = 0
    for span in range(min(_MAX_CAPTION_BLOCKS, len(blocks) - i)):
        for line in blocks[i + span].lines:
            depth += line.count("[") - line.count("]") + line.count("{") - line.count("}")
        if depth <= 0:
            return span + 1
    return 1


def _starred(kept: list[Block], star: str) -> bool:
    """Whether one of the last paragraphs carries this star as a reference behind a word."""
    pattern = re.compile(r"[\w.,;:!?\"”’')]" + re.escape(star) + r"(?![*\w])")
    return any(pattern.search(line) for block in kept[-8:] for line in block.lines)


def _opens_notes(blocks: list[Block], i: int) -> bool:
    """Whether a line ``Footnotes`` is followed by a note."""
    if i + 1 >= len(blocks):
        return False
    first = blocks[i + 1].lines[0]
    return bool(_LEADING_MARK.match(first) or _NOTE.match(first))


def _strip_marks(block: Block, referenced: set[str]) -> None:
    """Remove page marks and note references from a block's lines, remembering the references."""
    changed = False
    for index, line in enumerate(block.lines):
        if "[" in line or "{" in line:
            if line.lstrip()[:1] in "[{" and _PAGE.match(line) and len(block.lines) == 1:
                continue  # a bracketed number alone may be a heading; page numbers were found as a series
            for match in _MARK.finditer(line):
                if match.start() and not line[match.start() - 1].isspace():
                    referenced.add(match[0])
            stripped = _MARK.sub("", line).rstrip()
            block.lines[index] = stripped.lstrip() if line[:1] != " " else stripped
            changed = True
    if changed:
        block.lines = [line for line in block.lines if line]


def _page_numbers(blocks: list[Block]) -> set[int]:
    """Indices of blocks that are page numbers: many lone numbers, rising, a page apart."""
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

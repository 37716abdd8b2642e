"""Heading candidates: every block that could be a heading, with the prose after it; contents pages are removed.

A contents page is a run of headings without prose between them. Only the end of such a run, which leads down to the
first real text (``VOLUME I``, ``BOOK FIRST``, ``CHAPTER I``), belongs to the book.
"""

import re
from dataclasses import dataclass, replace
from itertools import accumulate

from polaris_jax.library.blocks import Block
from polaris_jax.library.headings import (
    PART_KEYWORDS,
    UNIT_KEYWORDS,
    HeadingLine,
    is_apparatus,
    looks_titled,
    parse_heading,
    undecorate,
)
from polaris_jax.library.paragraphs import had_room
from polaris_jax.library.sequence import Numbered, best_sequence

PROSE_CHARS = 300  # about fifty words; less is an epigraph or a date line, not a chapter
_LONG_BLOCK = 8
_RUN = 3
_TITLE_PAGE_LINES = 5
_SENTENCE_END = tuple(".!?\"”'’—:;,)-_*…")
_POSSIBLE = re.compile(
    r"[\W_]*(?:the |an? )?(?:[ivxlc]+\b|\d{1,3}\b|chap|letter|canto|stave|episode|section|adventure|entry|scene|vol|"
    r"book|part|epoch|period|phase|narrative|division|tome|quarter|ch\b|bk\b|pt\b|one\b|two\b|three|four|five|six|seven|"
    r"eigh|nin|ten|eleven|twel|thir|fif|twent|fort|hundred|first|second|last|final|prol|prel|indu|proem|over|intro|"
    r"fore|pream|epil|conc|after|post|coda|note|envoi|l'envoi|interl|interm|entr|pref|dedic|content|table|ackno|adver|"
    r"author|edit|publ|prep|trans|list|illus|char|dram|app|foot|end|index|gloss|bibl|erra|notice|expl|etym|extr|biog|"
    r"about|orig|inscr|epig|to the reader|[a-z] [a-z] [a-z]\b|h[1-6]\b)",
    re.I,
)
_WORD_AND_NUMBER = re.compile(r"[\W_]*(?:The )?[^\W_]+\.?(?: the| no\.?)?[ #]+[\w-]+\W*$", re.I)
_MAX_WORD_AND_NUMBER = 40
_MIN_SERIES = 3
_KEYWORD_FIRST = re.compile(r"[\s_#*=]*(?:chap|book|part|vol|letter|[IVXL]+[.:—-])", re.I)

RANKS = {
    **dict.fromkeys(PART_KEYWORDS, 20),
    "volume": 10,
    "tome": 10,
    "narrative": 25,
    "prologue": 30,
    "epilogue": 30,
    "interlude": 30,
    "apparatus": 30,
    **dict.fromkeys(UNIT_KEYWORDS, 40),
    "roman": 50,
    "arabic": 50,
    "word": 50,
    "small roman": 50,
    "title": 60,
}
_OTHER_WORD = 45  # rank of an unknown word with a number ("Day One")


def rank_of(style: str) -> int:
    """The depth of headings of a style: parts 10-25, named sections 30, chapters 40-50, titles 60."""
    return RANKS.get(style, _OTHER_WORD)


@dataclass(frozen=True)
class HeadingCandidate:
    """A block, or the first lines of one, that can be a heading.

    Attributes:
      block: index of the block.
      line: 1-based line in the file.
      heading: the parsed line.
      taken: number of the block's lines that belong to the heading.
      gap: blank lines before.
      text: characters of prose from here to the next candidate.
    """

    block: int
    line: int
    heading: HeadingLine
    taken: int
    gap: int
    text: int = 0

    @property
    def style(self) -> str:
        return self.heading.style

    @property
    def number(self) -> int | None:
        return self.heading.number

    @property
    def rank(self) -> int:
        return rank_of(self.heading.style)

    @property
    def weak(self) -> bool:
        return self.heading.weak


def prose_chars(block: Block) -> int:
    """Characters of a block if it reads as prose or verse, 0 for title lines and lists."""
    lines = block.lines
    size = sum(map(len, lines))
    if len(lines) >= 3 and (_lists_headings(lines) or _lists_pages(lines)):
        return 0
    if len(lines) >= 3 and size < 45 * len(lines):
        ends = sum(line.rstrip().endswith(_SENTENCE_END) for line in lines)
        return size if ends * 3 > len(lines) else 0
    last = lines[-1].rstrip()
    if size < 50:
        return size if last.endswith((".", "!", "?", '"', "”", "’")) and not last.isupper() else 0
    return size if size > 300 or last.endswith(_SENTENCE_END) else 0


def _lists_headings(lines: list[str]) -> bool:
    """Whether a block is a list of headings."""
    if not (_may_head(lines[0], len(lines)) and parse_heading(lines[0])):
        return False
    return any(parse_heading(line) for line in lines[1:4])


def _lists_pages(lines: list[str]) -> bool:
    """Whether a block is a list of entries with page numbers."""
    if not (lines[0].rstrip()[-1:].isdigit() or lines[1].rstrip()[-1:].isdigit()):
        return False
    return sum(line.rstrip()[-1:].isdigit() for line in lines) > 0.3 * len(lines)


def _may_head(first: str, lines: int) -> bool:
    """A cheap test, so that ordinary paragraphs need not be parsed."""
    if lines > 2 and len(first) > 50:
        return _KEYWORD_FIRST.match(first) is not None
    if _POSSIBLE.match(first):
        return True
    return len(first) < _MAX_WORD_AND_NUMBER and _WORD_AND_NUMBER.match(first) is not None


def find_candidates(blocks: list[Block]) -> tuple[list[HeadingCandidate], list[HeadingCandidate]]:
    """All heading candidates of a book in order, contents pages still included.

    Returns:
      (candidates by their own form, the same with the weak ones that form a series); both are equal without a series.
    """
    found = _scan(blocks)
    if not found:
        return [], []
    sums = list(accumulate((prose_chars(block) for block in blocks), initial=0))
    strong = _with_text(blocks, [c for c in found if not c.weak], sums)
    series = _series(_with_text(blocks, found, sums))
    if not series:
        return strong, strong
    return strong, _with_text(blocks, [c for c in found if not c.weak or (c.block, c.line) in series], sums)


def _series(found: list[HeadingCandidate]) -> set[tuple[int, int]]:
    """Places of the weak candidates whose numbers are consistent, alone or between others of their style."""
    chosen: set[tuple[int, int]] = set()
    for style in {c.style for c in found if c.weak}:
        own: list[HeadingCandidate] = []
        numbers: list[Numbered] = []
        part = 0
        for c in found:
            part += c.rank < 30 and not c.weak
            if c.style == style:
                own.append(c)
                worth = (0.4 if c.text >= PROSE_CHARS else -0.4) + 0.2 * min(c.gap, 2)
                numbers.append(Numbered(c.number or 0, part, worth + 0.5 * (not c.weak)))
        best = [own[i] for i in best_sequence(numbers)]
        if sum(c.text >= PROSE_CHARS for c in best) >= _MIN_SERIES and (best[0].number or 0) <= 2:
            chosen.update((c.block, c.line) for c in best if c.weak)
    return chosen


def _scan(blocks: list[Block]) -> list[HeadingCandidate]:
    """Every block whose form could be a heading, also a weak one."""
    found: list[HeadingCandidate] = []
    for index, block in enumerate(blocks):
        first = block.lines[0]
        if _may_head(first, len(block.lines)):
            found.extend(_under_title(blocks, candidate) for candidate in _block_candidates(index, block))
        elif 1 < len(block.lines) <= _TITLE_PAGE_LINES and len(block.lines[-1]) < 40 and _may_head(block.lines[-1], 1):
            found.extend(_title_page_part(index, block))
    return found


def _with_text(blocks: list[Block], found: list[HeadingCandidate], sums: list[int]) -> list[HeadingCandidate]:
    """Candidates with the amount of prose up to the next one; ``sums``: prose before each block."""
    ends = [*(candidate.block for candidate in found[1:]), len(blocks)][: len(found)]
    return [
        replace(candidate, text=max(0, sums[end] - sums[candidate.block] - _own(blocks[candidate.block], candidate)))
        for candidate, end in zip(found, ends, strict=True)
    ]


def _under_title(blocks: list[Block], candidate: HeadingCandidate) -> HeadingCandidate:
    """A named section whose name is only the subtitle of the line above ("THE MILL" / "INTRODUCTORY TO THE TALE")."""
    if candidate.style != "prologue" or not candidate.heading.title or candidate.block == 0:
        return candidate
    above = blocks[candidate.block - 1]
    if len(above.lines) > 1 or above.gap <= candidate.gap or not looks_titled(above.lines[0]):
        return candidate
    label, _ = undecorate(above.lines[0])
    heading = replace(candidate.heading, label=label, title="")
    return replace(candidate, block=candidate.block - 1, line=above.line, heading=heading, taken=1, gap=above.gap)


def _own(block: Block, candidate: HeadingCandidate) -> int:
    """How many prose characters of a heading's block belong to the heading itself."""
    chars = prose_chars(block)
    return chars if candidate.taken == len(block.lines) else min(chars, sum(map(len, block.lines[: candidate.taken])))


def _block_candidates(index: int, block: Block) -> list[HeadingCandidate]:
    lines = block.lines
    first = parse_heading(lines[0], weak=True)
    if first is None or (first.weak and is_apparatus(lines[0])):
        if len(lines) <= 2 and is_apparatus(lines[0]):
            heading = HeadingLine("apparatus", None, lines[0].strip(), "", False)
            return [HeadingCandidate(index, block.line, heading, len(lines), block.gap)]
        return []
    if len(lines[0]) > 120 and not first.marked and first.style not in ("chapter", "book", "part"):
        return []
    headings = [(0, first)]
    for offset, line in enumerate(lines[1:_LONG_BLOCK], 1):
        below = parse_heading(line)
        if below is None:
            break
        rank, above = rank_of(below.style), rank_of(headings[-1][1].style)
        unit = rank == above or rank == RANKS["chapter"]
        if unit and rank <= above and below.style != headings[-1][1].style and offset == len(lines) - 1:
            break  # a title that reads like a heading ("CHAPTER IX" / "THE SECOND LETTER")
        if rank <= above:
            return []  # a list of headings belongs to a contents page
        headings.append((offset, below))
    if (inline := parse_heading(first.title)) and rank_of(inline.style) > rank_of(first.style) and inline.number:
        headings = [(0, replace(first, title="")), (0, inline)]  # "BOOK I. CHAPTER I."
    offset, last = headings[-1]
    rest = lines[offset + 1 :]
    taken = offset + 1
    bare = rank_of(last.style) >= _OTHER_WORD
    glued = rest and last.number is not None and _stands_alone(last, lines[offset], rest)
    if glued and bare and (last.title or last.weak) and not looks_titled(" ".join(rest)):
        headings[-1] = (offset, replace(last, weak=True))
    elif rest and _continues_heading(last, rest):
        title = " ".join([last.title, *(line.strip() for line in rest)]).replace("_", "").strip()
        headings[-1] = (offset, replace(last, title=title))
        taken = len(lines)
    elif rest and ((bare and (last.title or last.weak)) or (last.weak and not glued) or last.number is None):
        return []  # a numbered paragraph, or a sentence that begins with a heading word
    return [
        HeadingCandidate(index, block.line + at, heading, taken, block.gap if at == 0 else 0)
        for at, heading in headings
    ]


def _stands_alone(heading: HeadingLine, line: str, rest: list[str]) -> bool:
    """Whether the author ended a line with a number and a title above text that begins directly below it."""
    begins = rest[0].lstrip(" \t\"“‘'_(")[:1]
    return (
        had_room(line, rest[0], max(map(len, rest)) - 2)
        and begins.isupper()
        and (not heading.title or looks_titled(heading.title))
    )


def _title_page_part(index: int, block: Block) -> list[HeadingCandidate]:
    """A part in the last line of a title page's block ("IN THREE VOLUMES." / "VOL. II.")."""
    heading = parse_heading(block.lines[-1])
    if heading is None or rank_of(heading.style) > 20 or heading.title or max(map(len, block.lines)) > 60:
        return []
    if not all(looks_titled(line) for line in block.lines[:-1]):
        return []
    return [HeadingCandidate(index, block.line + len(block.lines) - 1, heading, len(block.lines), block.gap)]


def _continues_heading(heading: HeadingLine, rest: list[str]) -> bool:
    """Whether the lines under a heading line, in the same block, are still its title."""
    if len(rest) > 5:
        return False
    text = " ".join(line.strip() for line in rest)
    if heading.title:
        return len(text) < 400 and not (len(rest) > 2 and len(text) > 250)
    return looks_titled(text) or (len(rest) == 1 and len(text) < 70 and not text.endswith((",", ";")))


def drop_contents(candidates: list[HeadingCandidate]) -> list[HeadingCandidate]:
    """The candidates without those of contents pages."""
    kept: list[HeadingCandidate] = []
    run: list[HeadingCandidate] = []
    last_seen = {(c.style, c.number): position for position, c in enumerate(candidates)}
    for position, candidate in enumerate(candidates):
        run.append(candidate)
        if candidate.text >= PROSE_CHARS:
            recurs = last_seen[candidate.style, candidate.number] > position
            kept.extend([] if recurs and _is_list(run) else _real_tail(run))
            run = []
    kept.extend(_real_tail(run) if len(run) < _RUN else [])
    later: set[tuple] = set()
    result: list[HeadingCandidate] = []
    for candidate in reversed(kept):
        key = (candidate.style, candidate.number)
        stray_part = candidate.rank < 30 and candidate.text < PROSE_CHARS and (candidate.number or 0) > 1
        if not (stray_part and key in later and not _leads_on(result, candidate)):
            result.append(candidate)
        later.add(key)
    return [
        c for previous, c in zip([None, *result[::-1]], result[::-1], strict=False) if not _is_title_of(previous, c)
    ]


def _is_title_of(previous: HeadingCandidate | None, c: HeadingCandidate) -> bool:
    """Whether a named section directly under a numbered heading is only its title ("X." / "THE EPILOGUE.")."""
    if previous is None or c.heading.number is not None or c.block != previous.block + 1 or previous.text:
        return False
    return previous.rank >= 40 or (c.style == "apparatus" and previous.rank >= 30)


def _is_list(run: list[HeadingCandidate]) -> bool:
    """Whether a run counts 1, 2, 3... to its end: a contents page whose last entry only seems to have text."""
    same = [c for c in run if c.style == run[-1].style]
    return len(same) >= _RUN and [c.number for c in same] == list(range(1, len(same) + 1))


def _leads_on(following: list[HeadingCandidate], part: HeadingCandidate) -> bool:
    """Whether a part heading is followed by the next part or its first chapter, and not by a new beginning."""
    for candidate in reversed(following):
        if candidate.style == part.style:
            return candidate.number != 1
    return True


def _real_tail(run: list[HeadingCandidate]) -> list[HeadingCandidate]:
    """The last headings of a run without prose between them: those that lead down to the text at its end."""
    tail = run[-1:]
    for candidate in reversed(run[:-1]):
        if candidate.rank >= tail[0].rank:
            break
        tail.insert(0, candidate)
    dropped = run[: len(run) - len(tail)]
    return tail if len(dropped) >= _RUN else run

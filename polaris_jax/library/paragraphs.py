"""Measures how a file marks its paragraphs, and cuts its lines into paragraphs.

Four styles occur, often several in one file: blank lines between paragraphs; one paragraph per line; wrapped lines
whose paragraphs only end in a short line; the same with an indent. The measurement looks at every line that ends a
sentence and had room for the next word: a blank line follows, or an indent, or neither.
"""

import re
from dataclasses import dataclass
from itertools import pairwise

from polaris_jax.library.headings import PART_KEYWORDS, UNIT_KEYWORDS, looks_titled, parse_heading, undecorate

_SENTENCE_END = (".", "!", "?", '"', "”", "’", "'", "_", ")", "]", "*", ":", "—", "-")
_CLOSING = "\"'”’)]_*"
_STOPS = (".", "!", "?", "…")
_LONG_LINE = 120
_MAX_WRAP = 140
_FULL_LINE = 0.75
_DENSE = 0.5  # if more than this share of paragraph ends lack a blank line, blank lines do not mark paragraphs
_INDENTED = 0.6
_MIN_RUN = 12  # a run of this many lines with several sentences that end in short lines may hold several paragraphs
_MIN_VERSE = 3
_VERSE_FILL = 0.85
_MAX_HEAD = 90
_HEAD_START = re.compile(
    rf"[\W_]*(?:the )?(?:(?:{'|'.join((*UNIT_KEYWORDS, *PART_KEYWORDS))}|ch|last|one|two|ten)\b|"
    r"chap|vol|first|second|third|three|four|fif|five|six|seven|eigh|nin|ten|eleven|twel|thir|twent|fort|hundred|"
    r"[ivxlc]+\b|\d{1,3}\b|h[1-6]\b|[a-z] [a-z] [a-z]\b)",
    re.I,
)
_KEYWORD_START = re.compile(r"[\W_]*(?:the )?(?:chap|book|part|vol|letter|canto|stave)", re.I)
_MARKED = re.compile(r"\s*(?:#{1,6}[ \t]+\S|<h[1-6]\b[^<>]*>.*</h[1-6]>\s*$)", re.I)
_KEYWORDS = frozenset((*UNIT_KEYWORDS, *PART_KEYWORDS))
_BARE = ("roman", "arabic", "word", "small roman")


@dataclass(frozen=True)
class ParagraphStyle:
    """How a file separates paragraphs.

    Attributes:
      kind: ``blank`` (blank lines), ``line`` (one paragraph per line) or ``wrapped`` (wrapped lines without blanks).
      width: characters of a full line; 0 when lines are not wrapped.
      indents: whether an indent opens a paragraph.
      spaced: whether a file of one paragraph per line has blank lines between them.
    """

    kind: str
    width: int
    indents: bool
    spaced: bool


def measure_style(lines: list[str]) -> ParagraphStyle:
    """Measures the paragraph style of a body of lines."""
    lengths = sorted(len(line) for line in lines if line and not line.isspace())
    if not lengths:
        return ParagraphStyle("blank", 0, False, False)
    width = lengths[int(0.8 * (len(lengths) - 1))]
    total = sum(lengths)
    full = sum(size for size in lengths if _FULL_LINE * width <= size <= 1.2 * width)
    if width > _MAX_WRAP or (width > _LONG_LINE and full < 0.6 * total):
        return ParagraphStyle("line", 0, False, _spaced(lines))
    inside = indented = blank = 0
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if len(line) < 2 or not line.rstrip().endswith(_SENTENCE_END):
            continue
        if not following or following.isspace():
            blank += 1
        elif had_room(line, following, width):
            inside += 1
            indented += following[0] in " \t"
        elif following[0] in " \t":
            indented += 1
            inside += 1
    kind = "wrapped" if inside > _DENSE * max(1, inside + blank) else "blank"
    if kind == "wrapped" and sum(size for size in lengths if size < 0.7 * width) > 0.5 * total:
        kind = "line"  # nothing is wrapped: every line is a paragraph
    return ParagraphStyle(kind, width, indented > _INDENTED * inside, False)


def _spaced(lines: list[str]) -> bool:
    """Whether most long lines are followed by a blank one."""
    long_lines = [i for i, line in enumerate(lines[:-1]) if len(line) > _LONG_LINE]
    return sum(not lines[i + 1].strip() for i in long_lines) > 0.7 * len(long_lines)


def had_room(line: str, following: str, width: int) -> bool:
    """Whether the first word of the next line would have fitted on this one, so the author ended the line."""
    word = following.lstrip().find(" ")
    return len(line.rstrip()) + 1 + (word if word > 0 else len(following.strip())) < width


def cut_run(run: list[str], style: ParagraphStyle) -> list[int]:
    """Where paragraphs begin in a run of non-blank lines (offsets, the first is 0)."""
    if len(run) == 1:
        return [0]
    if style.kind == "line" and not _is_wrapped(run):
        if style.spaced and max(map(len, run)) < _LONG_LINE:
            return _heads(run, 80)
        return list(range(len(run)))
    if style.kind == "wrapped" or (len(run) >= _MIN_RUN and _holds_paragraphs(run, style)):
        return _cut_wrapped(run, style)
    if style.width and _by_line(run, style.width):
        return list(range(len(run)))
    return _heads(run, style.width)


def _is_wrapped(run: list[str]) -> bool:
    """Whether a run in a file of long lines is wrapped: most lines except the last are nearly full."""
    size = max(map(len, run))
    return len(run) >= 4 and size <= 100 and sum(len(line) > size - 15 for line in run[:-1]) > 0.6 * (len(run) - 1)


def _by_line(run: list[str], width: int) -> bool:
    """Whether a run in a wrapped file has long lines, each of them a paragraph."""
    wide = sum(len(line) for line in run if len(line) > 2 * width)
    return wide > 0.6 * sum(map(len, run)) and all(line.rstrip().endswith(_SENTENCE_END) for line in run)


def _holds_paragraphs(run: list[str], style: ParagraphStyle) -> bool:
    """Whether a long run of wrapped lines has lost its blank lines, in a file that otherwise has them.

    Then lines that the author ended also end sentences, and the lines around them are full. Verse and letters differ.
    """
    if not style.width:
        return False
    ends = [i for i in range(len(run) - 1) if had_room(run[i], run[i + 1], style.width - 4)]
    closed = sum(run[i].rstrip(_CLOSING + " ").endswith(_STOPS) for i in ends)
    return 3 <= len(ends) <= 0.5 * len(run) and closed >= 0.9 * len(ends)


def _cut_wrapped(run: list[str], style: ParagraphStyle) -> list[int]:
    """Paragraphs of wrapped lines: a line end by the author closes one; verse stays together, headings stand alone."""
    room = [had_room(line, following, style.width) for line, following in pairwise(run)] + [True]
    verse = _verse_lines(run, room, style.width)
    heads = set(_heads(run, style.width))
    starts = [0]
    for i in range(1, len(run)):
        before, line = run[i - 1], run[i]
        if verse[i] and verse[i - 1]:
            continue
        opens = line[0] in " \t" and before[0] not in " \t"
        ended = room[i - 1] and _begins(line) and (before.rstrip().endswith(_SENTENCE_END) or _titled(before))
        cut = opens if style.indents and not _titled(before) else ended or (opens and verse[i])
        # A title has no indent where paragraphs have one, and is a short line between two sentences.
        flush = room[i] and line[0] not in " \t" and _titled(line) and i + 1 < len(run) and _begins(run[i + 1])
        flush = flush and (ended if style.indents else _is_short_title(before, line, style.width))
        if cut or flush or i in heads or verse[i] != verse[i - 1] or (i - 1 in heads and _is_head(before)):
            starts.append(i)
    return starts


def _verse_lines(run: list[str], room: list[bool], width: int) -> list[bool]:
    """Which lines are verse: three or more in a row that the author ended early, mostly inside a sentence."""
    verse = [False] * len(run)
    i = 0
    while i < len(run):
        j = i
        while j < len(run) and room[j] and len(run[j]) < _VERSE_FILL * width and not _titled(run[j]):
            j += 1
        closed = sum(line.rstrip(_CLOSING + " ").endswith(_STOPS) for line in run[i:j])
        if j - i >= _MIN_VERSE and closed < 0.5 * (j - i):
            verse[i:j] = [True] * (j - i)
        i = j + 1
    return verse


def _heads(run: list[str], width: int) -> list[int]:
    """Starts of headings inside a run, and of the paragraphs after them; a list of headings is not cut."""
    starts = {0}
    full = 0.8 * width if width else _MAX_HEAD
    for i, line in enumerate(run):
        if len(line) > _MAX_HEAD or (len(line) > full and not _KEYWORD_START.match(line)):
            continue
        if line.lstrip()[:1] in ("#", "<") and _MARKED.match(line) and (_titled(undecorate(line)[0]) or _is_head(line)):
            starts.update((i, i + 1))  # in Markdown and HTML, text may follow a heading without a blank line
        elif i and _HEAD_START.match(line) and _is_head(line):
            following = run[i + 1] if i + 1 < len(run) else ""
            if _opens(run[i - 1], line, following, width):
                starts.add(i)
    return sorted(starts - {len(run)})


def _opens(before: str, line: str, following: str, width: int) -> bool:
    """Whether a line that could be a heading is between two paragraphs, not inside one or in a list."""
    if _lists(before, line) or (following and (_lists(line, following) or not _begins(following))):
        return False
    heading = parse_heading(line, weak=True)
    alone = not following or (width > 0 and had_room(line, following, width))
    if heading is not None and (heading.weak or heading.title) and heading.style in _BARE and not alone:
        return False
    if before.rstrip(_CLOSING + " ").endswith(_STOPS) or (width > 0 and had_room(before, line, width)):
        return True
    keyword = heading is not None and heading.style in _KEYWORDS and not heading.title
    return keyword and (line.isupper() or (alone and bool(following) and not line.rstrip().endswith(".")))


def _lists(line: str, following: str) -> bool:
    """Whether two heading lines belong together: entries of one list, or a part and its first chapter."""
    if not (_is_head(line) and _is_head(following)):
        return False
    first, second = parse_heading(line, weak=True), parse_heading(following, weak=True)
    return first is None or second is None or first.style != second.style or second.number != 1


def _is_head(line: str) -> bool:
    """Whether a line has the form of a numbered heading: keyword and number, a number alone, a number and a title."""
    if len(line) > _MAX_HEAD:
        return False
    heading = parse_heading(line, weak=True)
    if heading is None or heading.number is None:
        return False
    if heading.style in _KEYWORDS:
        return not heading.title or looks_titled(heading.title) or not line.rstrip().endswith((",", ";"))
    if heading.style not in _BARE:
        return False
    if heading.style == "word" and not heading.title:
        return line.isupper() or not line.rstrip().endswith(".")  # not the end of a sentence
    return not heading.title or looks_titled(heading.title)


def _titled(line: str) -> bool:
    return len(line) < 60 and looks_titled(line)


def _is_short_title(before: str, line: str, width: int) -> bool:
    """Whether a line is much shorter than a full one and has no full stop, and the line above ends a sentence."""
    closed = before.rstrip(_CLOSING + " ").endswith(_STOPS)
    return closed and len(line) < 0.5 * width and line.rstrip()[-1:].isalnum()


def _begins(line: str) -> bool:
    """Whether a line can begin a paragraph."""
    lead = line.lstrip()[:1]
    return not lead.islower()

"""The frame around a Project Gutenberg text: header, licence, small print, credits, and the header's fields.

Files from four decades use different markers (``*** START OF``, ``*END*THE SMALL PRINT``, ``End of Project
Gutenberg's``), so each boundary has several patterns. A text without any of them is returned whole.
"""

import re
from dataclasses import dataclass

_START = re.compile(r"^[ \t]*\*{2,}[ \t]*START OF (?:THE|THIS) PROJECT GUTENBERG.*$", re.M | re.I)
_SMALL_PRINT_END = re.compile(r"^[ \t]*\*+[ \t]*END[ \t*]*THE SMALL PRINT.*$", re.M | re.I)
_END = re.compile(
    r"[ \t]*(?:\*{2,}[ \t]*END OF (?:THE|THIS) PROJECT GUTENBERG"
    r"|(?:the )?end of (?:the |this )?project gutenberg(?:['’]s)? "
    r"|\*{3}[ \t]*START\**THE SMALL PRINT|START: FULL LICENSE)",
    re.I,
)
_END_WORDS = ("GUTENBERG", "Gutenberg", "gutenberg", "SMALL PRINT", "FULL LICENSE")
_FIELD = re.compile(r"^(Title|Author|Language|Translator|Edition):[ \t]*(.*(?:\n[ \t]+\S.*)*)", re.M)
_FIRST_LINE = re.compile(
    r"Project Gutenberg(?:['’]s)?[ \t]+(?:e-?(?:text|book)s?[ \t,]*)?(?:of[ \t]+)?([^\n]+?),?\s+by\s+([^\n]+)", re.I
)
_CREDIT = re.compile(
    r"(?:produced|(?:e-?text )?prepared|transcribed|scanned|proofread|digiti[sz]ed|typed|converted|html version|"
    r"this (?:e-?text|e-?book|file) (?:was|is)|(?:and the )?(?:pg |online )?distributed proofread|"
    r"credits?:|\[?transcriber['’]?s['’]? notes?|\[?preparer['’]?s note|note: )",
    re.I,
)
_HEADER_SPAN = 30_000


@dataclass(frozen=True)
class GutenbergFrame:
    """The place of the book inside its file, and the fields of the header.

    Attributes:
      start, stop: the body is ``text[start:stop]`` (characters).
      title, author, language, translator, edition: as declared in the header, or ''.
      found: whether any Project Gutenberg marker was seen.
    """

    start: int
    stop: int
    title: str
    author: str
    language: str
    found: bool
    translator: str = ""
    edition: str = ""


def find_frame(text: str) -> GutenbergFrame:
    """Locates the body of a book between licence header and footer."""
    head = text[:_HEADER_SPAN]
    starts = [match.end() for match in (_START.search(head), _SMALL_PRINT_END.search(head)) if match]
    start = max(starts, default=0)
    stop = _find_end(text, start)
    found = bool(starts) or stop < len(text)
    fields: dict[str, str] = {}
    if found:
        for name, value in _FIELD.findall(text[: start or 6_000]):
            fields.setdefault(name, " ".join(value.split()))
        first = _FIRST_LINE.search(head[:400])
        if first:
            fields.setdefault("Title", " ".join(first[1].split()).rstrip(".*"))
            fields.setdefault("Author", " ".join(first[2].split()).rstrip("*").strip())
    title, author, language, translator, edition = (
        fields.get(name, "") for name in ("Title", "Author", "Language", "Translator", "Edition")
    )
    return GutenbergFrame(start, stop, title, author, language, found, translator, edition)


def _find_end(text: str, start: int) -> int:
    """Offset of the first end marker's line, or the length of the text. Only lines with a typical word are checked."""
    stop = len(text)
    for word in _END_WORDS:
        at = text.find(word, start)
        while 0 <= at < stop:
            line = text.rfind("\n", start, at) + 1 or start
            if _END.match(text, line):
                stop = line
            at = text.find(word, at + 1)
    return stop


def is_credit(first_line: str) -> bool:
    """Whether a paragraph that opens with this line names the producer or transcriber of the file."""
    return _CREDIT.match(first_line.lstrip()) is not None

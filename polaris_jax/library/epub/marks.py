"""Marks the paragraphs that the table of contents points to as headings, if the pages do not."""

import re
from collections.abc import Sequence

from polaris_jax.library.epub.package import Target
from polaris_jax.library.epub.page import PageParagraph

_WORDS = re.compile(r"[^\W_]+")
_WINDOW = 6  # a heading may stand up to this many paragraphs after the place its entry points to
_LONGEST = 160  # most characters of a heading
_LEAST_UNPRINTED = 3  # from this many chapters without a printed heading on, their absence is the book's style
_NO_CHAPTER = re.compile(
    r"\W*(?:cover|(?:half )?title(?: ?page)?|copyright.*|imprint|colophon|(?:table of )?contents|start|begin reading|"
    r"uncopyright|dedication|epigraph|landmarks|list of .*|about the .*|also by .*|notes|endnotes|footnotes|index|"
    r"acknowledge?ments?|advertisements?|praise for .*|newsletter.*|transcriber.*|the full project gutenberg.*)\W*$",
    re.I,
)


class MarkedPassage:
    """A paragraph of the book, with its member.

    Attributes:
      level: 1-6 for a heading, 0 for text.
      above: a heading from the contents that belongs above this paragraph but is not printed on the page, or ''.
    """

    __slots__ = ("above", "ids", "level", "member", "text")

    def __init__(self, member: str, paragraph: PageParagraph):
        self.above = ""
        self.member, self.text, self.level, self.ids = member, paragraph.text, paragraph.level, paragraph.ids


def mark_headings(passages: Sequence[MarkedPassage], contents: Sequence[Target]) -> list[tuple[str, int, int]]:
    """Marks, in place, the headings that entries of the contents name.

    Returns:
      (title, index of the passage, depth) of the entries that point into the text.
    """
    places: dict[tuple[str, str], int] = {}
    for place, passage in enumerate(passages):
        places.setdefault((passage.member, ""), place)
        for name in passage.ids:
            places.setdefault((passage.member, name), place)
    entries = []
    unprinted = []
    for target in contents:
        index = places.get((target.page, target.fragment), places.get((target.page, "")))
        if index is None:
            continue
        run = _heading_run(passages, index, _key(target.title))
        for place in run:
            passages[place].level = passages[place].level or min(6, target.depth + 2)
        opens_page = index == places[passages[index].member, ""]
        if not run and opens_page and not passages[index].level and not _NO_CHAPTER.match(target.title):
            unprinted.append((index, target.title))
        entries.append((target.title, run.start if run else index, target.depth))
    if len(unprinted) >= max(_LEAST_UNPRINTED, len(entries) / 2):
        for index, title in unprinted:
            passages[index].above = title
    return entries


def _heading_run(passages: Sequence[MarkedPassage], index: int, title: str) -> range:
    """The paragraphs near a place that together read like an entry's title; empty if there are none."""
    stop = min(len(passages), index + _WINDOW)
    for start in range(max(0, index - 1), stop):
        said = ""
        for end in range(start, min(len(passages), start + 3)):
            passage = passages[end]
            if passage.member != passages[index].member or len(passage.text) > _LONGEST:
                break
            said = f"{said} {_key(passage.text)}".strip()
            if title and said and (said == title or (end == start and _part_of(said, title))):
                return range(start, end + 1)
    return range(0)


def _part_of(said: str, title: str) -> bool:
    """Whether a line is the entry without its number, or with a number that the entry lacks."""
    return len(min(said, title, key=len)) >= 3 and (title.endswith(f" {said}") or said.endswith(f" {title}"))


def _key(text: str) -> str:
    return " ".join(_WORDS.findall(text.lower()))

"""Reads an unfinished manuscript as an outline: its chapters are given with their prose, and the book continues.

Chapters begin at Markdown headings, or at lines such as ``Chapter 3``, ``PROLOGUE`` or ``第三章``; a text without
any is one chapter. If the text does not end with a finished sentence, the last chapter is unfinished and is continued.
"""

import re
from collections.abc import Callable

from polaris_jax.errors import InputError
from polaris_jax.trajectory.outline import (
    LONGEST_BULLET,
    LONGEST_NAME,
    BookOutline,
    PlannedChapter,
    check_title,
    markdown,
)
from polaris_jax.trajectory.sentences import last_sentence_end
from polaris_jax.trajectory.transcript import SPECIALS
from polaris_jax.trajectory.words import bin_word_count, count_words

TITLE_PAGE = 8  # most lines of a title page
BEATS = 4  # sentences of a written chapter on its card
_MARKDOWN = re.compile(r"#{1,6}\s+(.*?)\s*#*$")
_PLAIN = re.compile(
    r"(?:(?:chapter|part|book|kapitel|chapitre|capítulo|capitolo|глава|الفصل|פרק)\b.{0,80}"
    r"|(?:prologue|epilogue|prolog|epilog|interlude)\b.{0,40}|第[0-9〇零一二三四五六七八九十百千]+[章回節节].{0,40})$",
    re.IGNORECASE,
)


def read_draft(source: str, say: Callable[[str], None] = lambda line: None) -> BookOutline:
    """The outline of a manuscript: title, and chapters with their prose.

    Short lines above the first heading, none of them a sentence, are the title page: the first one is the title, and
    ``say`` is called with the others.

    Raises:
      InputError: there is no prose, a chapter has none, two chapters have one name, or the title has too many words.
    """
    text = markdown(source, "draft")
    for special in SPECIALS:
        if special in text:
            raise InputError("draft", special, "is reserved; remove it")
    chapters: list[tuple[str, list[str]]] = [("", [])]
    for block in re.split(r"\n[ \t]*\n", text.replace("\x0c", "\n\n")):
        lines = [" ".join(line.split()) for line in block.split("\n") if line.strip()]
        while lines and (heading := _heading(lines[0])) is not None:
            chapters.append((heading, []))
            lines = lines[1:]
        if lines:
            chapters[-1][1].append("\n".join(lines))
    title, above = "", [line for block in chapters[0][1] for line in block.split("\n")]
    if len(chapters) > 1 and _is_title_page(above):
        above = [line for line in above if any(map(str.isalnum, line))]  # a rule is no title
        title, chapters = above[0] if above else "", chapters[1:]
        if above[1:]:
            say(f"left out of the manuscript, as its title page: {'; '.join(above[1:])}")
    if not title and not chapters[0][1] and len(chapters) > 1:  # a first heading without text is the book's title
        title, chapters = chapters[0][0], chapters[1:]
    if title:
        check_title(title, "draft")
    return BookOutline(title=title, chapters=_planned(chapters))


def _planned(chapters: list[tuple[str, list[str]]]) -> tuple[PlannedChapter, ...]:
    planned = []
    for number, (name, wrapped) in enumerate(chapters, 1):
        blocks = [block.replace("\n", " ") for block in wrapped]
        named = name[:LONGEST_NAME].strip() or f"Chapter {number}"
        prose = "\n\n".join(block.replace("```", "'''") for block in blocks)
        if not prose:
            raise InputError("draft", named, "has no text under its heading; write some, or remove the heading")
        finished = number < len(chapters) or last_sentence_end(prose) == len(prose)
        words = count_words(prose)
        wanted = bin_word_count(words if finished else 2 * words)
        planned.append(PlannedChapter(named, _beats(blocks), wanted, prose, finished))
    names = [chapter.name for chapter in planned]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError("draft", twice, "is the name of two chapters; give each its own")
    return tuple(planned)


def _is_title_page(lines: list[str]) -> bool:
    """Whether the text above the first heading is empty, or a few lines without a sentence."""
    return len(lines) <= TITLE_PAGE and all(len(x) <= LONGEST_NAME and last_sentence_end(x) != len(x) for x in lines)


def _heading(line: str) -> str | None:
    found = _MARKDOWN.match(line)
    if found:
        return found[1].strip("*_ ")
    return line if len(line) <= LONGEST_NAME and _PLAIN.match(line) and last_sentence_end(line) != len(line) else None


def _beats(blocks: list[str]) -> tuple[str, ...]:
    """First sentences of evenly spread paragraphs."""
    chosen = sorted({round(place * (len(blocks) - 1) / max(BEATS - 1, 1)) for place in range(BEATS)})
    beats = []
    for block in (blocks[place] for place in chosen):
        first = re.match(r".*?(?:[.!?…؟][\"'”’)\]]*(?=\s|$)|[。！？][」』”]*|$)", block)
        text = (first[0] if first else block).strip()
        if len(text) > LONGEST_BULLET:
            text = text[:LONGEST_BULLET].rpartition(" ")[0] or text[:LONGEST_BULLET]
        if text and text not in beats:
            beats.append(text)
    return tuple(beats)

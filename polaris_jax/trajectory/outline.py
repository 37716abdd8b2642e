"""A person's outline: what the plan of a book must say, written in plain Markdown.

    # The Tide Book
    A keeper of a lighthouse hides a forged ledger.          (the premise)

    ## Characters
    - Mara: keeps the light, counts everything

    ## Style
    - short sentences, no adverbs

    ## The Lamp (1200 words)
    - Mara finds the ledger
    ## The Storm
    - the boat does not come back

Title, chapter names, word counts, and the first bullets of lists are taken as they stand; the model writes the rest.
"""

import re
import unicodedata
from dataclasses import dataclass, replace
from typing import Any

from polaris_jax.errors import InputError
from polaris_jax.trajectory import elements as e
from polaris_jax.trajectory.preview_words import words
from polaris_jax.trajectory.scripts import SCRIPTS, alphabet
from polaris_jax.trajectory.sentences import last_sentence_end
from polaris_jax.trajectory.words import LEGAL_COUNTS, bin_word_count

LONGEST_BULLET, LONGEST_NAME = 300, 120  # characters, as in the released grammar
_SECTIONS = {
    "characters": "characters",
    "main characters": "characters",
    "cast": "characters",
    "people": "characters",
    "side characters": "side",
    "style": "style",
    "writing style": "style",
    "voice": "style",
    "world": "rules",
    "world rules": "rules",
    "setting": "rules",
    "premise": "premise",
}
_CONTAINERS = ("chapters", "outline", "plot", "story", "synopsis")
_HEADING = re.compile(r"(#{1,6})(?:\s+(.*?))??\s*#*\s*$")
_UNDERLINED = re.compile(r"(?m)(?:(?<=\n\n)|\A)(?!#|[-*+•] )([^\n]{1,120})\n(=+|--+)[ \t]*$")
_FRONT_MATTER = re.compile(r"---[ \t]*\n[\w.-]+[ \t]*:")
_BULLET = re.compile(r"(?:[-*+•]|\d{1,3}[.)])\s+(.*)$")
_COUNT = re.compile(
    r"\s*[(（\[]\s*(?:about |ca\.? |~)?([0-9][0-9,. ]*)\s*(?:words?|字|w)?\s*[)）\]]\s*$", re.IGNORECASE
)
_NUMBER = re.compile(r"^(?:chapter|ch\.?|kapitel|chapitre|capítulo)\s+(?:\d+|[ivxlc]+)\s*[:.–—-]\s*", re.IGNORECASE)
_NOTE = re.compile(r"\s*[:：]\s+|\s+[–—]\s+|：")


@dataclass(frozen=True)
class Person:
    """A character's name and description."""

    name: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlannedChapter:
    """A chapter's name, its beats, and its rounded word count (0: the model's choice).

    Attributes:
      text: prose that is already written. finished: the chapter ends with it.
    """

    name: str
    beats: tuple[str, ...] = ()
    word_count: int = 0
    text: str = ""
    finished: bool = True


@dataclass(frozen=True)
class BookOutline:
    """What a plan must say; the model chooses the empty parts."""

    title: str = ""
    premise: str = ""
    rules: tuple[str, ...] = ()
    style: tuple[str, ...] = ()
    characters: tuple[Person, ...] = ()
    side: tuple[Person, ...] = ()
    chapters: tuple[PlannedChapter, ...] = ()

    def chapter(self, name: str) -> PlannedChapter:
        """The chapter with this name; an empty one if the outline has none."""
        return next((chapter for chapter in self.chapters if chapter.name == name), PlannedChapter(name))

    @property
    def text(self) -> str:
        """All words of the outline, for finding their scripts."""
        parts = [self.title, self.premise, *self.rules, *self.style]
        parts += [text for person in (*self.characters, *self.side) for text in (person.name, *person.notes)]
        parts += [text for one in self.chapters for text in (one.name, *one.beats, one.text)]
        return "\n".join(parts)


def read_outline(source: str) -> BookOutline:
    """The outline in a Markdown text.

    Raises:
      InputError: a line is out of place or breaks a rule of the plan; the error names it.
    """
    outline, where = BookOutline(), "premise"
    text = markdown(source, "outline")
    for number, raw in enumerate(text.splitlines(), 1):
        line = " ".join(raw.split())
        if not line or re.fullmatch(r"(?:[-*_] ?){3,}", line):
            continue
        heading = _HEADING.match(line)
        if heading:
            outline, where = _heading(outline, _plain(heading[2] or ""), len(heading[1]), number)
            continue
        bullet = _BULLET.match(line)
        outline = _entry(outline, where, _plain(bullet[1] if bullet else line), number)
    _check_sizes(outline)
    names = [chapter.name for chapter in outline.chapters]
    for name in names:
        if names.count(name) > 1:
            raise InputError("outline", name, "is the name of two chapters; give each its own")
    return outline


def markdown(source: str, field: str) -> str:
    """A person's text in NFC, with Markdown's underlined headings in the form with ``#``; no line changes its number.

    A finished sentence over a line of ``---`` is no heading: the line stands between scenes.

    Raises:
      InputError: it begins with front matter, which would become a part of the text.
    """
    text = unicodedata.normalize("NFC", source.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))
    if _FRONT_MATTER.match(text):
        raise InputError(f"{field} line 1", "---", "front matter is not read; remove it, and begin with # Title")

    def heading(found: re.Match[str]) -> str:
        over = found[1].strip()
        if not over or last_sentence_end(over) == len(over):
            return found[0]
        return f"{'#' if found[2][0] == '=' else '##'} {over}\n"

    return _UNDERLINED.sub(heading, text)


def _heading(outline: BookOutline, text: str, level: int, number: int) -> tuple[BookOutline, str]:
    """The outline with the chapter that a heading begins, and the section of the lines after it."""
    plain = text.rstrip(":：").casefold()
    if plain in _SECTIONS:
        return outline, _SECTIONS[plain]
    if plain in _CONTAINERS:
        return outline, "nowhere"
    if level == 1 and not outline.title and not outline.chapters:
        check_title(text, f"outline line {number}")
        return replace(outline, title=text), "premise"
    count = _COUNT.search(text)
    words_wanted = 0
    if count:
        text = text[: count.start()]
        words_wanted = bin_word_count(int(re.sub(r"\D", "", count[1])))
        if int(re.sub(r"\D", "", count[1])) > LEGAL_COUNTS[-1]:
            raise InputError(f"outline line {number}", count[1], f"a chapter has at most {LEGAL_COUNTS[-1]} words")
    name = _NUMBER.sub("", text).strip() or text
    if not name:
        raise InputError(f"outline line {number}", "#" * level, "is a heading without a name; name the chapter")
    _check_line(name, LONGEST_NAME, number)
    if name.startswith("#"):
        raise InputError(f"outline line {number}", name, "a chapter's name cannot begin with #")
    return replace(outline, chapters=(*outline.chapters, PlannedChapter(name, (), words_wanted))), "chapter"


def _entry(outline: BookOutline, where: str, text: str, number: int) -> BookOutline:
    """The outline with one more line of the section ``where``."""
    if where == "premise":
        return replace(outline, premise=f"{outline.premise}\n{text}".strip())
    if where == "nowhere":
        raise InputError(f"outline line {number}", text, "stands under no chapter; begin one with a heading (## Name)")
    if where in ("characters", "side"):
        name, *rest = _NOTE.split(text, maxsplit=1)
        _check_line(name, LONGEST_NAME, number)
        notes = tuple(part for part in rest if part)
        for note in notes:
            _check_line(note, LONGEST_BULLET, number)
        more: dict[str, Any] = {where: (*getattr(outline, where), Person(name, notes))}
        return replace(outline, **more)
    _check_line(text, LONGEST_BULLET, number)
    if where == "chapter":
        last = outline.chapters[-1]
        return replace(outline, chapters=(*outline.chapters[:-1], replace(last, beats=(*last.beats, text))))
    entries: dict[str, Any] = {where: (*getattr(outline, where), text)}
    return replace(outline, **entries)


def _check_sizes(outline: BookOutline) -> None:
    lists = {
        "World": (outline.rules, e.RULES),
        "Style": (outline.style, e.STYLE),
        "Characters": (outline.characters, e.CHARACTERS),
        "Side characters": (outline.side, e.CHARACTERS),
        **{chapter.name: (chapter.beats, e.CHAPTER) for chapter in outline.chapters},
    }
    for name, (entries, most) in lists.items():
        if len(entries) > most:
            raise InputError("outline", name, f"has {len(entries)} entries; use at most {most}")


def _plain(text: str) -> str:
    """The text without Markdown's emphasis and code marks."""
    return re.sub(r"(\*\*|__|`|(?<!\w)[*_]|[*_](?!\w))", "", text).strip()


def _check_line(text: str, longest: int, number: int) -> None:
    known = alphabet(tuple(SCRIPTS))
    wrong = next((char for char in text if char not in known), None)
    if wrong is not None:
        raise InputError(f"outline line {number}", text[:60], f"remove {wrong!r}: a plan cannot hold it")
    if not text or len(text) > longest:
        raise InputError(f"outline line {number}", text[:60], f"has {len(text)} characters; use 1 to {longest}")


def check_title(text: str, where: str) -> None:
    """Raises ``InputError`` if the grammar of a preview does not accept a title."""
    if not words("word", e.TEXT_MARKS, e.TITLE_WORDS, tuple(SCRIPTS), None).matches(text):
        low, high = e.TITLE_WORDS
        raise InputError(where, text, f"a title has {low} to {high} words, without other marks")

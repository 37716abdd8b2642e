"""Stories and passages: the units of the study.

A ``Story`` is a text with its own ending: a generated story, or one chapter of a novel. Most measures depend on length,
so they are taken on ``Passage``s: consecutive whole sentences of about ``PASSAGE_WORDS`` words.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from polaris_jax.scaffold.analysis.sentences import Sentence, quote_style, sentences, words
from polaris_jax.trajectory import Book

PASSAGE_WORDS = 200
_LONGEST_OVER = 120

_MARKUP = re.compile(r"^\s*(?:#+ .*|\*\*[^*\n]{1,80}\*\*|-{3,}|\*{3,})\s*$|\*\*|__|^\s*title:.*$", re.M | re.I)
_PLAIN = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "—": "-", "–": "-", "…": "..."})


@dataclass(frozen=True)
class Story:
    """One text.

    Attributes:
      text: prose, paragraphs separated by a blank line.
      author: its texts are never treated as independent of each other.
      work: the novel, or the story itself.
      name: name of the chapter or story.
      finished: False if the generation was cut off, so that its last words are not an ending.
      book, chapter: the plan it was written from (or that was made from it), and the chapter's index in it.
    """

    text: str
    author: str
    work: str
    name: str = ""
    finished: bool = True
    book: Book | None = None
    chapter: int = 0

    @cached_property
    def quotes(self) -> str:
        """The quotation mark the text uses, by its name in ``scaffold.analysis.sentences``."""
        return quote_style(self.text)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """All words in lower case with plain apostrophes."""
        return words(plain(self.text))


@dataclass(frozen=True)
class Passage:
    """Whole consecutive sentences of a story; ``stretch`` counts passages within the author's work."""

    text: str
    author: str
    work: str
    stretch: int
    quotes: str

    @cached_property
    def plain(self) -> str:
        """Lower case, typewriter quotes and dashes: free of a publisher's typography."""
        return plain(self.text)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Words of ``plain``."""
        return words(self.plain)

    @cached_property
    def sentences(self) -> tuple[Sentence, ...]:
        """Sentences as written, with the share of quoted words in each."""
        return sentences(self.text, self.quotes)


def plain(text: str) -> str:
    """``text`` in lower case and normal form C, with typewriter quotes and dashes."""
    return unicodedata.normalize("NFC", text).translate(_PLAIN).lower()


def without_markup(text: str) -> str:
    """A generated text without titles, rules and bold marks, which no novel has."""
    return re.sub(r"\n{3,}", "\n\n", _MARKUP.sub("", text)).strip()


def passages(stories: Iterable[Story], size: int = PASSAGE_WORDS) -> list[Passage]:
    """Every story cut at sentence ends into passages of ``size`` words or a sentence more.

    The remainder of a story, and sentences that would make a passage far longer, are left out.
    """
    found: list[Passage] = []
    stretches: dict[str, int] = {}
    for story in stories:
        taken: list[str] = []
        count, paragraph = 0, -1
        for sentence in sentences(story.text, story.quotes):
            taken.append(("\n\n" if paragraph not in (-1, sentence.paragraph) and taken else " ") + sentence.text)
            paragraph = sentence.paragraph
            count += len(words(sentence.text))
            if count > size + _LONGEST_OVER:  # a chapter without full stops would be one passage
                taken, count, paragraph = [], 0, -1
            elif count >= size:
                stretch = stretches[story.author] = stretches.get(story.author, -1) + 1
                found.append(Passage("".join(taken).strip(), story.author, story.work, stretch, story.quotes))
                taken, count, paragraph = [], 0, -1
    return found


def spread(items: Sequence, most: int) -> list:
    """At most ``most`` items, evenly spaced over the sequence."""
    if len(items) <= most:
        return list(items)
    return [items[round(index * (len(items) - 1) / max(1, most - 1))] for index in range(most)]


def spread_by_author(items: Sequence, most: int) -> list:
    """``spread`` within each author, so that a long book has no more weight than a short one."""
    by_author: dict[str, list] = {}
    for item in items:
        by_author.setdefault(item.author, []).append(item)
    return [item for author in by_author for item in spread(by_author[author], most)]

"""The passages of the study: openings of chapters, and the other plan that each is given for comparison."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from polaris_jax.errors import InputError
from polaris_jax.library import read_novel
from polaris_jax.library.novel import Novel
from polaris_jax.scaffold.drafts import cut, drafts
from polaris_jax.studies.style.stories import spread

OTHER_CHAPTER, OTHER_BOOK = "other chapter", "other book"
SHUFFLES = (OTHER_CHAPTER, OTHER_BOOK)
_WORD = re.compile(r"\S+", re.ASCII)


@dataclass(frozen=True)
class ChapterOpening:
    """The beginning of a chapter, cut at the end of a paragraph or sentence (or inside a very long sentence).

    Attributes:
      id: ``book/number of the chapter``.
      book: stem of the novel's file.
      name: name of the chapter.
    """

    id: str
    book: str
    author: str
    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """The words between ASCII white space: the unit of "nats per word"."""
        return _WORD.findall(self.text)


def read_openings(path: str | Path, count: int, words: int) -> tuple[Novel, list[ChapterOpening]]:
    """A novel, and the openings of up to ``count`` of its chapters, evenly spaced.

    Args:
      words: most words per opening; chapters with fewer than half as many are skipped.

    Raises:
      InputError: the novel was rejected, or fewer than two chapters are long enough.
    """
    novel = read_novel(path)
    book = Path(path).stem
    found = [
        ChapterOpening(f"{book}/{number}", book, novel.author, draft.name, cut(draft, words).text.strip())
        for number, draft in enumerate(drafts(novel, None), 1)
        if draft.words >= words / 2
    ]
    if len(found) < 2:
        raise InputError("books", str(path), f"needs two chapters of {words // 2} words or more")
    return novel, spread(found, count)


def shuffled(openings: Sequence[ChapterOpening]) -> dict[str, dict[str, str]]:
    """For each kind of ``SHUFFLES``: id of an opening -> id of the opening whose plan it is given.

    "Other chapter" is the next opening of the same book, so names and subject stay the same. "Other book" is the
    opening at the same place in the next book. An opening never gets its own plan.

    Raises:
      InputError: fewer than two books, or a book with one opening.
    """
    books: dict[str, list[str]] = {}
    for opening in openings:
        books.setdefault(opening.book, []).append(opening.id)
    if len(books) < 2:
        raise InputError("books", ", ".join(books) or None, "give at least two books: plans of one go to the other")
    if lonely := next((book for book, ids in books.items() if len(ids) < 2), None):
        raise InputError("books", lonely, "needs at least two openings: the plan of one goes to the other")
    following = dict(zip(books, [*list(books)[1:], next(iter(books))], strict=True))
    pairs: dict[str, dict[str, str]] = {kind: {} for kind in SHUFFLES}
    for book, ids in books.items():
        others = books[following[book]]
        for place, name in enumerate(ids):
            pairs[OTHER_CHAPTER][name] = ids[(place + 1) % len(ids)]
            pairs[OTHER_BOOK][name] = others[place % len(others)]
    return pairs

"""The review page of ``polaris segment``: headings, drops and warnings of each book side by side, in file order.

It helps to decide whether a book was read well. It shows every heading with its line, its length and the first and last
words of its chapter; every part outside the chapters with its text and reason; and all warnings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from polaris_jax.library import Dropped, Novel, NovelChapter
from polaris_jax.library.novel import word_count
from polaris_jax.library.read import decoded_text
from polaris_jax.library.record import is_unexplained
from polaris_jax.report.page import render

_SHOWN_WORDS, _FOLDED_WORDS = 24, 150  # words of a dropped part that are shown, and folded
_EDGE_WORDS = 14  # words shown of a chapter's beginning and end
_HEADINGS = ("heading", "part heading")  # shown as headings, not as dropped parts
_SHORT, _LONG = 0.15, 5.0  # a chapter outside these factors of the median length should be checked


@dataclass(frozen=True)
class DropView:
    """A part outside the chapters. ``text`` is shown, ``rest`` folded; ``left``, ``width``: its place in the file."""

    first_line: int
    last_line: int
    words: int
    reason: str
    unexplained: bool
    text: str
    rest: str
    left: float
    width: float


@dataclass(frozen=True)
class HeadingView:
    """A heading with its chapter, and the dropped parts up to the next heading.

    Attributes:
      length: words as a share of the book's longest chapter.
      odd: why the length should be checked, or ''.
      left, width: place in the file, 0 to 1.
    """

    line: int
    name: str
    part: str
    kind: str
    words: int
    length: float
    odd: str
    opening: str
    ending: str
    drops: tuple[DropView, ...]
    left: float
    width: float


@dataclass(frozen=True)
class BookView:
    """One book. ``before`` are the dropped parts above the first heading; ``words`` is None without an account."""

    record: dict
    words: int | None
    lines: int
    before: tuple[DropView, ...]
    headings: tuple[HeadingView, ...]
    warnings: tuple[str, ...]
    reasons: tuple[tuple[str, int], ...]
    divided: bool

    @property
    def drops(self) -> tuple[DropView, ...]:
        """All dropped parts in file order."""
        return (*self.before, *(drop for heading in self.headings for drop in heading.drops))

    @property
    def verdict(self) -> tuple[str, str]:
        """(badge, word): accepted without a warning, else to be checked, or rejected."""
        if not self.record["accepted"]:
            return "bad", "rejected"
        return ("wait", "look at it") if self.warnings or any(h.odd for h in self.headings) else ("good", "accepted")


def review_page(books: Sequence[tuple[Novel, dict]]) -> str:
    """The page for books from ``read_novel``, each with its ``segment_record``.

    Raises:
      InputError: a book's file no longer exists.
    """
    return render("segment_review.html", books=[view_book(novel, record) for novel, record in books])


def view_book(novel: Novel, record: dict) -> BookView:
    """One book's headings, dropped parts and warnings, aligned by line."""
    lines = decoded_text(novel.path).split("\n")
    account = record["account"] or {}
    stretches = novel.account.dropped if novel.account else ()
    drops = [_drop(stretch, lines) for stretch in stretches if stretch.reason not in _HEADINGS]
    drops.sort(key=lambda drop: drop.first_line)
    starts = [chapter.line for chapter in novel.chapters] + [len(lines) + 1]
    sizes = [word_count(chapter) for chapter in novel.chapters]
    headings = tuple(
        _heading(chapter, size, sizes, start, end, len(lines), [d for d in drops if start <= d.first_line < end])
        for chapter, size, start, end in zip(novel.chapters, sizes, starts[:-1], starts[1:], strict=True)
    )
    reasons: dict[str, int] = {}
    for drop in drops:
        reasons[drop.reason] = reasons.get(drop.reason, 0) + drop.words
    return BookView(
        record,
        account.get("words"),
        len(lines),
        tuple(drop for drop in drops if drop.first_line < starts[0]),
        headings,
        tuple(account.get("warnings", ())),
        tuple(sorted(reasons.items(), key=lambda item: -item[1])),
        novel.structure not in ("undivided", "unread"),
    )


def _heading(
    chapter: NovelChapter, size: int, sizes: list[int], start: int, end: int, lines: int, drops: list[DropView]
) -> HeadingView:
    words = chapter.text.split()
    usual = median(sizes)
    odd = (
        "much shorter than usual" if size < _SHORT * usual else "much longer than usual" if size > _LONG * usual else ""
    )
    return HeadingView(
        line=chapter.line,
        name=chapter.name,
        part=chapter.part or "",
        kind=chapter.kind,
        words=size,
        length=size / max(sizes),
        odd=odd if len(sizes) > 3 else "",
        opening=" ".join(words[:_EDGE_WORDS]),
        ending=" ".join(words[_EDGE_WORDS:][-_EDGE_WORDS:]),
        drops=tuple(drops),
        left=(start - 1) / lines,
        width=(end - start) / lines,
    )


def _drop(stretch: Dropped, lines: list[str]) -> DropView:
    words = " ".join(lines[max(0, stretch.first_line - 1) : stretch.last_line]).split()
    return DropView(
        stretch.first_line,
        stretch.last_line,
        stretch.words,
        stretch.reason,
        is_unexplained(stretch),
        " ".join(words[:_SHOWN_WORDS]),
        " ".join(words[_SHOWN_WORDS:_FOLDED_WORDS]) + (" …" if len(words) > _FOLDED_WORDS else ""),
        (stretch.first_line - 1) / max(1, len(lines)),
        (stretch.last_line - stretch.first_line + 1) / max(1, len(lines)),
    )

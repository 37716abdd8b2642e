"""From a novel to one full book, or to a row of small volumes that each fit a window."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from polaris_jax.errors import InputError
from polaris_jax.library.novel import Novel
from polaris_jax.scaffold.annotator import Annotator, Context
from polaris_jax.scaffold.assemble import assemble
from polaris_jax.scaffold.drafts import Draft, cut, drafts, pieces
from polaris_jax.scaffold.profile import Detail, Profile
from polaris_jax.trajectory import Book, count_words, render

Progress = Callable[[int, int, str], None]
_MOST_CHAPTERS = 12 * 99  # of the grammar: arcs times chapters per arc


def build_books(
    novel: Novel, annotator: Annotator, profile: Profile, prompt_index: int = 0, progress: Progress | None = None
) -> list[Book]:
    """Plan a novel.

    The full profile gives one book with all the prose. The mini profile gives volumes of consecutive chapters, each
    chapter cut at a sentence end, such that every rendered transcript measures at most ``profile.budget``; no prose
    occurs twice.

    Args:
      prompt_index: which of the book's four prompts to use (pick another per epoch).
      progress: called with (chapters done, chapters in all, chapter name).

    Raises:
      InputError: the novel was rejected, has too little prose for two chapters, or not even the smallest volume fits.
    """
    parts = drafts(novel, None if profile.cuts else profile.max_chapter_words)
    if profile.cuts:
        return _Volumes(novel, annotator, profile, prompt_index, progress).make(parts)
    if len(parts) > _MOST_CHAPTERS:
        raise InputError("novel", novel.path, f"it has {len(parts)} chapters, a plan holds at most {_MOST_CHAPTERS}")
    text = _prose(parts)
    context = Context(novel.title, novel.author, text, text)
    arcs = max(-(-len(parts) // 99), min(profile.arcs[1], max(profile.arcs[0], round(len(parts) ** 0.5))))
    source = _provenance(novel, annotator, profile, 1, parts)
    book = assemble(parts, annotator, context, profile.details[0], arcs, prompt_index, source, progress)
    if profile.budget is not None and profile.count(render(book)) > profile.budget:
        raise InputError("budget", profile.budget, f"{novel.title} does not fit whole; use the mini profile")
    return [book]


def _prose(parts: list[Draft]) -> str:
    return "\n\n".join(draft.text for draft in parts)


def _provenance(novel: Novel, annotator: Annotator, profile: Profile, volume: int, parts: list[Draft]) -> dict:
    return {
        "author": novel.author, "source_title": novel.title, "volume": volume, "annotator": annotator.name,
        "profile": profile.name, "cut": tuple(draft.cut for draft in parts),
    }  # fmt: skip


@dataclass
class _Volumes:
    """The search for volumes: how many chapters, how rich a plan, how many words per chapter."""

    novel: Novel
    annotator: Annotator
    profile: Profile
    prompt_index: int
    progress: Progress | None
    whole: str = ""

    def make(self, parts: list[Draft]) -> list[Book]:
        """Volumes in reading order."""
        self.whole = _prose(parts)
        low, high = self.profile.chapters
        books: list[Book] = []
        parts, start, usual = list(parts), 0, low
        while len(parts) - start >= low:
            book = self._volume(parts[start:], min(max(usual, low), high), len(books) + 1)
            if book is None:
                start += 1  # this chapter cannot be planned in the budget; go on behind it
                continue
            usual = len(book.chapters)
            books.append(book)
            start += usual
            if self.progress:
                self.progress(start, len(parts), parts[start - 1].name)
            if len(parts) - start == 1 and low == 2:
                parts[start:] = _halves(parts[start], self.profile.least_words)
        if not books:
            raise InputError(
                "budget", self.profile.budget, "two short chapters with the smallest plan do not fit; use a larger one"
            )
        return books

    def _attempt(self, parts: list[Draft], detail: Detail, words: int, volume: int) -> tuple[Book, int]:
        """A volume with chapters of at most ``words`` words, and its units over the budget (0 or less: it fits)."""
        short = [cut(draft, words) for draft in parts]
        low, high = self.profile.arcs
        context = Context(self.novel.title, self.novel.author, self.whole, _prose(short))
        arcs = min(max(low, round(len(short) / 3)), high, len(short))
        source = _provenance(self.novel, self.annotator, self.profile, volume, short)
        book = assemble(short, self.annotator, context, detail, arcs, self.prompt_index, source)
        return book, self.profile.count(render(book)) - self.profile.budget if self.profile.budget is not None else 0

    def _volume(self, rest: list[Draft], guess: int, volume: int) -> Book | None:
        """The next volume: as many chapters as keep decent prose, then the richest plan, then the most words."""
        low, high = self.profile.chapters
        comfortable = min(self.profile.comfortable_words, self.profile.max_chapter_words)
        size = self._size(rest, min(guess, len(rest)), min(high, len(rest)), comfortable * 3 // 4, volume)
        if len(rest) - size == 1 and size > low:  # leave no chapter alone at the end
            size -= 1
        for detail in self.profile.details:
            smallest = detail is self.profile.details[-1]
            for least in (comfortable, comfortable * 3 // 4, self.profile.least_words) if smallest else (comfortable,):
                book = self._longest(rest[:size], detail, least, volume)
                if book is not None:
                    return book
        return None

    def _size(self, rest: list[Draft], guess: int, high: int, words: int, volume: int) -> int:
        """The most chapters that fit with the smallest plan and ``words`` of prose each, searched from ``guess``."""
        low = self.profile.chapters[0]
        excess = lambda size: self._attempt(rest[:size], self.profile.details[-1], words, volume)[1]  # noqa: E731
        size, over = guess, excess(guess)
        if over > 0:
            while size > low and over > 0:
                size -= 1
                over = excess(size) if size > low else 0
            return size
        budget = self.profile.budget
        while size < high:
            if budget is not None and -over < 0.5 * (budget + over) / (size + 2):  # no room for one more
                break
            over = excess(size + 1)
            if over > 0:
                break
            size += 1
        return size

    def _longest(self, parts: list[Draft], detail: Detail, least: int, volume: int) -> Book | None:
        """The book with the most words per chapter that fits, None when ``least`` words do not; a secant search."""
        most, words = self.profile.max_chapter_words, least
        best, excess = self._attempt(parts, detail, words, volume)
        if excess > 0:
            return None
        if self.profile.budget is None:
            return self._attempt(parts, detail, most, volume)[0]
        prose = "\n\n".join(chapter.text for chapter in best.chapters)
        per_word = 1.1 * len(parts) * self.profile.count(prose) / count_words(prose)
        for _ in range(4):
            target = min(most, words + int(-excess / per_word))
            if target - words < max(8, words // 20):
                break
            book, over = self._attempt(parts, detail, target, volume)
            if over <= 0:
                best, excess, words = book, over, target
            else:
                per_word *= 1.3
        return best


def _halves(draft: Draft, least: int) -> list[Draft]:
    """The last chapter as two, when it is long enough; else unchanged (and left out)."""
    if draft.words < 2 * least:
        return [draft]
    runs = pieces(draft.text, -(-draft.words // 2) + 20)
    if len(runs) < 2:
        return [draft]
    first, second = runs[0].rstrip(), "".join(runs[1:]).strip()
    return [
        replace(draft, name=f"{draft.name} (1 of 2)", scenes=(first,)),
        replace(draft, name=f"{draft.name} (2 of 2)", scenes=(second,)),
    ]

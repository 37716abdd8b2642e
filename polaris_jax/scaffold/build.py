"""Turns a novel into one full book, or into small volumes that each fit a window."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from polaris_jax.errors import InputError
from polaris_jax.library.novel import Novel
from polaris_jax.scaffold.annotator import AnnotationTask, Annotator, Context, Progress
from polaris_jax.scaffold.assemble import assemble
from polaris_jax.scaffold.drafts import Draft, cut, drafts, pieces
from polaris_jax.scaffold.offline import OfflineAnnotator
from polaris_jax.scaffold.profile import Detail, ScaffoldProfile
from polaris_jax.scaffold.shrink import shrink
from polaris_jax.trajectory import Book, count_words, render

_MOST_CHAPTERS = 12 * 99  # the grammar's limit: arcs times chapters per arc
_MODEL_ROOM = 0.9  # share of the budget: volumes are cut with the offline plan, and a model writes longer plans


def build_books(
    novel: Novel,
    annotator: Annotator,
    profile: ScaffoldProfile,
    prompt_index: int = 0,
    progress: Progress | None = None,
) -> list[Book]:
    """Plans a novel.

    The full profile gives one book with all the prose. The mini profile gives volumes of consecutive chapters. Each
    chapter is cut at a sentence end, so that every rendered transcript measures at most ``profile.budget``. No prose
    occurs twice. The search for volumes uses only the offline annotator; a model annotates each chosen volume once.

    Args:
      prompt_index: which of the book's four prompts to use (pick another per epoch).
      progress: called with (chapters done, chapters in all, chapter name).

    Raises:
      InputError: the novel was rejected, has too little prose for two chapters, or not even the smallest volume fits;
        or a model's server refuses the key or the request.
      BudgetSpent: the annotator's client has spent its budget; its answers are cached, so a later run continues.
    """
    parts = drafts(novel, None if profile.cuts else profile.max_chapter_words)
    if profile.cuts:
        return _Volumes(novel, annotator, profile, prompt_index, progress).make(parts)
    if len(parts) > _MOST_CHAPTERS:
        raise InputError("novel", novel.path, f"it has {len(parts)} chapters, a plan holds at most {_MOST_CHAPTERS}")
    text = _prose(parts)
    arcs = max(-(-len(parts) // 99), min(profile.arcs[1], max(profile.arcs[0], round(len(parts) ** 0.5))))
    context = Context(novel.title, novel.author, text, text, profile.form)
    task = AnnotationTask(novel, context, tuple(parts), profile.details[0], arcs)
    return [_whole(task, annotator, profile, prompt_index, progress)]


def _whole(
    task: AnnotationTask, annotator: Annotator, profile: ScaffoldProfile, prompt_index: int, progress: Progress | None
) -> Book:
    """The full profile's book; if there is a budget, a model is asked only when the offline plan fits it."""
    offline = isinstance(annotator, OfflineAnnotator)
    if offline or profile.budget is None:
        book = _book(task, annotator, profile, 1, prompt_index, progress)
        if profile.budget is None or profile.count(render(book)) <= profile.budget:
            return book
    else:
        fallback = _book(task, OfflineAnnotator(), profile, 1, prompt_index)
        if profile.count(render(fallback)) <= profile.budget:
            book = _book(task, annotator, profile, 1, prompt_index, progress)
            return shrink(book, fallback, profile.budget, profile.count)
    raise InputError("budget", profile.budget, f"{task.context.title} does not fit whole; use the mini profile")


def _book(
    task: AnnotationTask,
    annotator: Annotator,
    profile: ScaffoldProfile,
    volume: int,
    prompt_index: int,
    progress: Progress | None = None,
) -> Book:
    source = {
        "author": task.context.author,
        "source_title": task.context.title,
        "volume": volume,
        "annotator": annotator.name,
        "instructions": annotator.version,
        "profile": profile.name,
        "cut": tuple(draft.cut for draft in task.parts),
    }
    return assemble(annotator.annotate(task, progress), task, prompt_index, source)


def _prose(parts: Sequence[Draft]) -> str:
    return "\n\n".join(draft.text for draft in parts)


@dataclass(frozen=True)
class _Attempt:
    """A volume with the offline plan, and its units over the search's budget (0 or less: it fits)."""

    task: AnnotationTask
    book: Book
    over: int


@dataclass
class _Volumes:
    """The search for volumes: how many chapters, how rich a plan, how many words per chapter."""

    novel: Novel
    annotator: Annotator
    profile: ScaffoldProfile
    prompt_index: int
    progress: Progress | None
    whole: str = ""

    def __post_init__(self) -> None:
        self.offline = OfflineAnnotator()
        self.asks_model = not isinstance(self.annotator, OfflineAnnotator)
        self.budget = self.profile.budget
        if self.asks_model and self.budget is not None:
            self.budget = int(_MODEL_ROOM * self.budget)
        self.fewest, most = self.profile.chapters  # per volume
        self.most = _MOST_CHAPTERS if most is None else most

    def make(self, parts: list[Draft]) -> list[Book]:
        """Volumes in reading order."""
        self.whole = _prose(parts)
        books: list[Book] = []
        parts, start, usual = list(parts), 0, self.fewest
        while len(parts) - start >= self.fewest:
            found = self._volume(parts[start:], min(max(usual, self.fewest), self.most), len(books) + 1)
            if found is None:
                start += 1  # this chapter cannot be planned within the budget; skip it
                continue
            usual = len(found.task.parts)
            books.append(self._annotated(found, len(books) + 1))
            start += usual
            if self.progress:
                self.progress(start, len(parts), parts[start - 1].name)
            if len(parts) - start == 1 and self.fewest == 2:
                parts[start:] = _halves(parts[start], self.profile.least_words)
        if not books:
            raise InputError(
                "budget", self.profile.budget, "two short chapters with the smallest plan do not fit; use a larger one"
            )
        return books

    def _annotated(self, found: _Attempt, volume: int) -> Book:
        """The chosen volume with the annotator's plan, within the budget."""
        if not self.asks_model:
            return found.book
        book = _book(found.task, self.annotator, self.profile, volume, self.prompt_index)
        if self.profile.budget is None:
            return book
        return shrink(book, found.book, self.profile.budget, self.profile.count)

    def _attempt(self, parts: list[Draft], detail: Detail, words: int, volume: int) -> _Attempt:
        """A volume with chapters of at most ``words`` words."""
        short = tuple(cut(draft, words) for draft in parts)
        low, high = self.profile.arcs
        context = Context(self.novel.title, self.novel.author, self.whole, _prose(short))
        arcs = min(max(low, round(len(short) / 3)), high, len(short))
        task = AnnotationTask(self.novel, context, short, detail, arcs)
        book = _book(task, self.offline, self.profile, volume, self.prompt_index)
        return _Attempt(task, book, self.profile.count(render(book)) - self.budget if self.budget is not None else 0)

    def _volume(self, rest: list[Draft], guess: int, volume: int) -> _Attempt | None:
        """The next volume: most chapters with enough prose each, then the richest plan, then the most words."""
        comfortable = min(self.profile.comfortable_words, self.profile.max_chapter_words)
        size = self._size(rest, min(guess, len(rest)), min(self.most, len(rest)), comfortable * 3 // 4, volume)
        if len(rest) - size == 1 and size > self.fewest:  # leave no chapter alone at the end
            size -= 1
        for detail in self.profile.details:
            smallest = detail is self.profile.details[-1]
            for least in (comfortable, comfortable * 3 // 4, self.profile.least_words) if smallest else (comfortable,):
                found = self._longest(rest[:size], detail, least, volume)
                if found is not None:
                    return found
        return None

    def _size(self, rest: list[Draft], guess: int, high: int, words: int, volume: int) -> int:
        """The most chapters that fit with the smallest plan and ``words`` of prose each, searched from ``guess``."""
        excess = lambda size: self._attempt(rest[:size], self.profile.details[-1], words, volume).over  # noqa: E731
        size, over = guess, excess(guess)
        if over > 0:
            while size > self.fewest and over > 0:
                size -= 1
                over = excess(size) if size > self.fewest else 0
            return size
        while size < high:
            if self.budget is not None and -over < 0.5 * (self.budget + over) / (size + 2):  # no room for one more
                break
            over = excess(size + 1)
            if over > 0:
                break
            size += 1
        return size

    def _longest(self, parts: list[Draft], detail: Detail, least: int, volume: int) -> _Attempt | None:
        """The volume with the most words per chapter that fits, by secant search; None if ``least`` do not fit."""
        most, words = self.profile.max_chapter_words, least
        best = self._attempt(parts, detail, words, volume)
        if best.over > 0:
            return None
        if self.budget is None:
            return self._attempt(parts, detail, most, volume)
        prose = "\n\n".join(chapter.text for chapter in best.book.chapters)
        per_word = 1.1 * len(parts) * self.profile.count(prose) / count_words(prose)
        for _ in range(4):
            target = min(most, words + int(-best.over / per_word))
            if target - words < max(8, words // 20):
                break
            tried = self._attempt(parts, detail, target, volume)
            if tried.over <= 0:
                best, words = tried, target
            else:
                per_word *= 1.3
        return best


def _halves(draft: Draft, least: int) -> list[Draft]:
    """The last chapter cut in two if it is long enough; else unchanged (and left out)."""
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

"""The verdict on a whole plan: one score with its parts, and its worst bullets.

Cards of scenes and chapters are judged by their prose, arcs by the chapters' cards: every level should follow from the
level below.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

from polaris_jax.scaffold.analysis.novel_stats import analyse
from polaris_jax.scaffold.analysis.sentences import WORD
from polaris_jax.scaffold.review.bullets import BulletVerdict, alike, content_roots, judge_bullet
from polaris_jax.scaffold.review.entailment import Entailment
from polaris_jax.scaffold.review.grammar import mistakes
from polaris_jax.scaffold.review.support import root
from polaris_jax.trajectory import Book, Chapter

# Part of the score -> its weight.
WEIGHTS = {
    "supported": 0.35,
    "grammar": 0.15,
    "distinct": 0.1,
    "specific": 0.1,
    "original": 0.1,
    "coverage": 0.1,
    "consistent": 0.1,
}
_WORST = 12  # bullets kept per plan
_SAME = 0.8  # share of common words from which on two bullets say the same
_TOLD = 0.5  # share of a bullet's words from which on a text or a card says what it says
_OPENING = 4  # first words by which lines of different books are compared
_TEMPLATE = 3  # number of books from which on a common opening is a template


@dataclass(frozen=True)
class ModelVerdicts:
    """What a model was asked for a review: its identity, the number of bullets, and how many it gave no answer for."""

    name: str
    bullets: int
    unanswered: int


@dataclass(frozen=True)
class PlanReview:
    """The review of one plan.

    Attributes:
      score: 0-100.
      parts: 0-1 each. ``supported``: scenes and chapters say what their bullets say, of the same people. ``grammar``,
        ``distinct`` (not said twice), ``specific`` (would not fit any book), ``original`` (not copied): shares of the
        bullets. ``coverage``: scenes that the chapter's card mentions, chapters that the arcs mention. ``consistent``:
        lines of the arcs that follow from the cards below.
      bullets: number of bullets.
      worst: the worst bullets, each with its place.
      openings: hash of a bullet's first words -> number of bullets; see ``template_share``.
      model: who else was asked whether scenes and chapters support their bullets; None if nobody was.
    """

    score: float
    parts: dict[str, float]
    bullets: int
    worst: tuple[tuple[str, BulletVerdict], ...]
    openings: dict[str, int]
    model: ModelVerdicts | None = None

    def facts(self) -> dict:
        """As JSON values."""
        return {
            "score": round(self.score, 1),
            "parts": {name: round(value, 4) for name, value in self.parts.items()},
            "bullets": self.bullets,
            "worst": [[where, said.line, round(said.score, 3), said.why] for where, said in self.worst],
            "openings": self.openings,
            "model": None if self.model is None else asdict(self.model),
        }


def review_plan(book: Book, novel: str, entailment: Entailment | None = None) -> PlanReview:
    """Judges every bullet of a plan.

    Args:
      novel: the whole novel's prose; names and the rarity of words come from it.
      entailment: a model that judges besides whether scenes and chapters support their bullets.

    Raises:
      BudgetSpent, InputError: the model cannot be asked any further.
    """
    stats = analyse(novel)
    cards = _cards(book)
    pairs = [(text, line) for _, lines, text in cards for line in lines]
    said = entailment.probabilities(pairs) if entailment else [None] * len(pairs)
    model = ModelVerdicts(entailment.identity, len(said), said.count(None)) if entailment else None
    coming = iter(said)
    judged = [
        (where, judge_bullet(line, text, stats, [*lines[:number], *lines[number + 1 :]], next(coming)))
        for where, lines, text in cards
        for number, line in enumerate(lines)
    ]
    arcs = [line for arc in book.arcs for line in (*arc.short, *arc.medium, *arc.long)]
    people = [line for group in (*book.main_characters, *book.side_characters) for line in group.bullets]
    lines = [said.line for _, said in judged] + arcs + people
    clean = [not said.faults.get("grammar") for _, said in judged] + [not mistakes(line, stats) for line in arcs]
    faults = [said.faults for _, said in judged]
    parts = {
        "supported": _mean(said.supported for _, said in judged),
        "grammar": _mean(clean),
        "distinct": 1.0 - _said_twice(lines),
        "specific": _mean(one.get("vague", 0) < 0.5 for one in faults),
        "original": _mean(stats.copies(line) is None for line in lines),
        "coverage": _coverage(book),
        "consistent": _consistent(book),
    }
    worst = sorted(judged, key=lambda pair: (pair[1].score, pair[0], pair[1].line))[:_WORST]
    return PlanReview(
        100 * sum(WEIGHTS[name] * value for name, value in parts.items()),
        parts,
        len(lines),
        tuple((where, said) for where, said in worst if said.why),
        dict(sorted(Counter(map(opening, lines)).items())),
        model,
    )


def _cards(book: Book) -> list[tuple[str, Sequence[str], str]]:
    """Every card with its place, its bullets and its prose: the scenes of a chapter, then the chapter."""
    found: list[tuple[str, Sequence[str], str]] = []
    for number, chapter in enumerate(book.chapters, 1):
        found += [(f"scene {number}.{i}", scene.summary, scene.text) for i, scene in enumerate(chapter.scenes, 1)]
        found.append((f"chapter {number}", chapter.summary, chapter.text))
    return found


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return fmean(found) if found else 1.0


def _said_twice(lines: Sequence[str]) -> float:
    """Share of the lines that repeat an earlier one; lines are compared if they share one of their two rarest words."""
    seen: dict[str, list[frozenset[str]]] = {}
    counts: Counter[str] = Counter()
    sets = [content_roots(line) for line in lines]
    for one in sets:
        counts.update(one)
    twice = 0
    for one in sets:
        keys = sorted(one, key=lambda word: (counts[word], word))[:2]
        twice += any(alike(one, other) >= _SAME for key in keys for other in seen.get(key, ()))
        for key in keys:
            seen.setdefault(key, []).append(one)
    return twice / max(1, len(lines))


def _text_roots(text: str) -> frozenset[str]:
    return frozenset(root(word.lower()) for word in WORD.findall(text))


def _share(line: str, roots: frozenset[str]) -> float:
    mine = content_roots(line)
    return len(mine & roots) / len(mine) if mine else 0.0


def _coverage(book: Book) -> float:
    """Mean of two shares: of scenes that the chapter's card mentions, and of chapters that the arcs mention."""
    scenes = []
    for chapter in book.chapters:
        roots = [_text_roots(scene.text) for scene in chapter.scenes]
        told: set[int] = set()
        for line in chapter.summary:
            shares = [_share(line, one) for one in roots]
            told |= {index for index, share in enumerate(shares) if share >= max(_TOLD, max(shares))}
        scenes.append(len(told) / max(1, len(roots)))
    chapters = {chapter.name: chapter for chapter in book.chapters}
    arcs: list[float] = []
    for arc in book.arcs:
        members = [chapters[name] for name in arc.chapter_names if name in chapters]
        arcs += _told_of(members, [*arc.long, *arc.medium])
    return (_mean(scenes) + _mean(arcs)) / 2


def _told_of(chapters: Sequence[Chapter], lines: Sequence[str]) -> list[float]:
    """For every chapter, whether a line is about it rather than about the others."""
    roots = [_text_roots(chapter.text) for chapter in chapters]
    found: set[int] = set()
    for line in lines:
        shares = [_share(line, one) for one in roots]
        if shares and max(shares) >= _TOLD:
            found |= {index for index, share in enumerate(shares) if share == max(shares)}
    return [float(index in found) for index in range(len(chapters))]


def _consistent(book: Book) -> float:
    """Share of the arcs' lines whose words are in the level below: chapters for long lines, longer for shorter ones."""
    chapters = {chapter.name: chapter for chapter in book.chapters}
    found: list[float] = []
    for arc in book.arcs:
        members = [chapters[name] for name in arc.chapter_names if name in chapters]
        roots = [_text_roots(" ".join([chapter.text, *chapter.summary])) for chapter in members]
        found += [float(max((_share(line, one) for one in roots), default=0.0) >= _TOLD) for line in arc.long]
        for lines, below in ((arc.medium, arc.long), (arc.short, arc.medium)):
            known = _text_roots(" ".join(below))
            found += [float(_share(line, known) >= _TOLD) for line in lines]
    return _mean(found)


def opening(line: str) -> str:
    """A hash of a bullet's first words, for comparing lines of different books."""
    words = " ".join(WORD.findall(line.lower())[:_OPENING])
    return hashlib.sha256(words.encode()).hexdigest()[:10]


def template_share(books: Sequence[Mapping[str, int]]) -> list[float]:
    """For every book, the share of its bullets that open like bullets of at least two other books.

    Args:
      books: ``PlanReview.openings`` of each.
    """
    found = Counter(name for book in books for name in book)
    templates = {name for name, count in found.items() if count >= _TEMPLATE}
    return [
        sum(count for name, count in book.items() if name in templates) / max(1, sum(book.values())) for book in books
    ]

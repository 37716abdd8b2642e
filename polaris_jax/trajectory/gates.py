"""Gates between stages: later stages must repeat the plan exactly (G2, V3, V4), and a card must be true of its prose
and scenes (V5, V7; trajectory specification 2.8).

Every function yields ``(stage index, violation)``. ``said`` holds the content of each stage, None if it is unreadable.
"""

from collections.abc import Iterator
from typing import Any

from polaris_jax.trajectory import stages
from polaris_jax.trajectory.book import DIMENSIONS, Scene
from polaris_jax.trajectory.stage_text import Card, write_vector
from polaris_jax.trajectory.strict import Violation
from polaris_jax.trajectory.transcript import Stage
from polaris_jax.trajectory.words import bin_word_count, count_words, is_legal_count, raw_interval

Found = Iterator[tuple[int, Violation]]


def check_plan(parts: list[Stage], said: list, family: str, planned: list[dict]) -> Found:
    """Checks that names, counts and vectors are those of the plan, chapter by chapter."""
    if family == "first_chapter":
        planned = _planned_24b(parts, said)
    seen: dict[str, int] = {}
    for index, (part, what) in enumerate(zip(parts, said, strict=True)):
        number = seen[part.role] = seen.get(part.role, 0) + 1
        if what is None or not planned:
            continue
        for violation in _departures(part.role, what, number, family, planned):
            yield index, violation


def _departures(role: str, what: Any, number: int, family: str, planned: list[dict]) -> Iterator[Violation]:
    if role == "first_chapter_plan" and family == "full_book":
        yield from _same_card(what[0], planned[0])
    elif role == "full_book_chapters_plan":
        if len(what) != len(planned) - 1:
            yield Violation("V3", "cards", f"expected {len(planned) - 1} chapter cards, found {len(what)}")
        for card, chapter in zip(what, planned[1:], strict=False):
            yield from _same_card(card, chapter)
    elif role in ("first_chapter_text", "first_chapter_scene_breakdown"):
        yield from _same("chapter name", what[0], planned[0]["chapter_name"])
    elif role in ("scene_breakdown", "chapter_text") and number < len(planned):
        yield from _same("chapter name", what[0], planned[number]["chapter_name"])


def _planned_24b(parts: list[Stage], said: list) -> list[dict]:
    cards = next((what for part, what in zip(parts, said, strict=True) if part.role == "first_chapter_plan"), None)
    return [{"chapter_name": card.name} for card in cards or ()]


def _same_card(card: Card, chapter: dict) -> Iterator[Violation]:
    yield from _same("chapter name", card.name, chapter["chapter_name"])
    yield from _same(f"{card.name}, word count", card.word_count, chapter["chapter_word_count"])
    yield from _same(f"{card.name}, vector", write_vector(card.vector), chapter["chapter_embedding_space"])


def _same(place: str, found: object, planned: object) -> Iterator[Violation]:
    if found != planned:
        yield Violation("V4", place, f"planned {planned!r}, found {found!r}")


def check_counts(parts: list[Stage], said: list, family: str) -> Found:
    """Checks V5 and V7 for every chapter with readable card, prose and scenes; chapters are matched by position."""
    cards: list[Card] = []
    scenes: list[tuple[int, tuple[Scene, ...]]] = []
    texts: list[tuple[int, str]] = []
    for index, (part, what) in enumerate(zip(parts, said, strict=True)):
        if what is None:
            continue
        if part.role == "first_chapter_plan" and family == "full_book":
            cards.append(what[0])
            scenes.append((index, what[1]))
        elif part.role in ("first_chapter_plan", "full_book_chapters_plan"):
            cards += what
        elif part.role in ("scene_breakdown", "first_chapter_scene_breakdown"):
            scenes.append((index, what[1]))
        elif part.role in stages.TEXT_ROLES:
            texts.append((index, what[1]))
    for card, (index, prose) in zip(cards, texts, strict=False):
        raw = count_words(prose)
        if bin_word_count(raw) != card.word_count:
            message = f"{raw} words are {bin_word_count(raw)}, not {card.word_count}"
            yield index, Violation("V5", f"{card.name}, word count", message)
    for card, (index, group) in zip(cards, scenes, strict=False):
        for violation in _mean_vector(card, group):
            yield index, violation


def _mean_vector(card: Card, scenes: tuple[Scene, ...]) -> Iterator[Violation]:
    """V7: the chapter's vector must be, within one, a weighted mean for some scene lengths inside their bins."""
    weights = [raw_interval(scene.word_count) if is_legal_count(scene.word_count) else (1, 1) for scene in scenes]
    for dimension in DIMENSIONS:
        values = [getattr(scene.vector, dimension) for scene in scenes]
        low, high = mean_interval(values, weights)
        stated = getattr(card.vector, dimension)
        if not low - 1.5 <= stated <= high + 1.5:  # 1, plus 0.5 for rounding
            message = f"{stated} is not the weighted mean of {values} within 1"
            yield Violation("V7", f"{card.name}, {dimension}", message)


def mean_interval(values: list[int], weights: list[tuple[int, int]]) -> tuple[float, float]:
    """Smallest and largest weighted mean of ``values`` if each weight may be anywhere in its interval.

    In an extreme mean, the values above some cut of the sorted values have their largest weights and the others their
    smallest, or the reverse. So trying every cut is exact.
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    means = []
    for cut in range(len(order) + 1):
        for heavy in (0, 1):
            chosen = [max(weights[i][heavy if place < cut else 1 - heavy], 1) for place, i in enumerate(order)]
            means.append(sum(values[i] * weight for i, weight in zip(order, chosen, strict=True)) / sum(chosen))
    return min(means), max(means)

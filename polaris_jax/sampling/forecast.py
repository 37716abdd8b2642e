"""How much of a book is still to be written: an estimate in characters, from the plan and from what is there.

Prose is planned in words, so it is known well; chapter cards and scene breakdowns are taken to be as long as those
already written. Before the plan is complete nobody knows how many chapters there will be, and there is no estimate.
"""

from collections.abc import Sequence

from polaris_jax.errors import InputError
from polaris_jax.trajectory import Stage, count_words, extract_planned_chapters
from polaris_jax.trajectory.verdict import stage_order

CHARACTERS_PER_WORD = 6.0
_TEXTS = ("first_chapter_text", "chapter_text")
# Before there is anything to measure: characters of planning per character of a chapter's prose (specification, fact
# 5: 0.65 over all levels, about half of it in what follows the plan).
_PLANNING_SHARE = 0.3


def planned_words(stages: Sequence[Stage]) -> list[int]:
    """Rounded word counts of the planned chapters, in order; empty while the plan is not finished.

    A first-chapter book plans its only chapter in its chapter plan.
    """
    for stage in stages:
        if stage.role == "book_plan":
            try:
                return [chapter["chapter_word_count"] for chapter in extract_planned_chapters(stage.text)]
            except InputError:  # a 24B plan names no chapters
                continue
        if stage.role == "first_chapter_plan":
            return [int(stage.text.partition("**Word Count:** ")[2].partition("\n")[0])]
    return []


def remaining_characters(stages: Sequence[Stage], family: str) -> float | None:
    """Characters that the stages after ``stages`` (all finished) will have, or None while that cannot be said."""
    words = planned_words(stages)
    if not words:
        return None
    order = stage_order(family, len(words))
    texts = [stage for stage in stages if stage.role in _TEXTS]
    per_word = CHARACTERS_PER_WORD
    if texts:
        per_word = sum(len(stage.text) for stage in texts) / max(sum(words[: len(texts)]), 1)
    prose = [count * per_word for count in words]
    average = sum(prose) / len(prose)
    breakdowns = [len(stage.text) for stage in stages if stage.role.endswith("scene_breakdown")]
    if not breakdowns:
        breakdowns = [len(stage.text) for stage in stages if stage.role == "first_chapter_plan"]
    breakdown = sum(breakdowns) / len(breakdowns) if breakdowns else _PLANNING_SHARE * average
    chapter, total = len(texts), 0.0
    for role in order[len(stages) :]:
        if role in _TEXTS:
            total += prose[chapter]
            chapter += 1
        elif role == "full_book_chapters_plan":
            total += breakdown / 2 * (len(words) - 1)
        else:
            total += breakdown
    return total


def written_words(stages: Sequence[Stage]) -> int:
    """Words of prose in the finished chapters, without headings and fences."""
    prose = (stage.text.partition("\n```\n")[2].removesuffix("```") for stage in stages if stage.role in _TEXTS)
    return sum(map(count_words, prose))

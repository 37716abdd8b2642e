"""Length generalisation without a judge: adherence to the requested length; self-repetition as a sign of collapse."""

from collections.abc import Mapping, Sequence
from typing import Any

from polaris_jax.evals.documents.bench_report import length_section
from polaris_jax.evals.documents.document import Document
from polaris_jax.evals.documents.published import published_sections
from polaris_jax.evals.generations import Generation
from polaris_jax.evals.judging.evaluation import StoryScore
from polaris_jax.rewards import self_repetition

REPETITION = "self-repetition (of the reward; 0 is none, 1.5 the most)"


def measure_lengths(generations: Sequence[Generation]) -> list[StoryScore]:
    """Words, requested words and self-repetition of every story."""
    return [
        StoryScore(
            one.model,
            one.id,
            "none",
            one.words,
            one.target_words,
            {REPETITION: self_repetition(one.story).penalty},
            empty=not one.story,
        )
        for one in generations
    ]


def length_document(
    scores: Sequence[StoryScore], *, facts: Mapping[str, Any], trained: tuple[float, float] | None = None, seed: int = 0
) -> Document:
    """Charts and tables of ``measure_lengths``."""
    requested = [one for one in scores if one.target_words]
    models = len({one.model for one in requested})
    lead = f"{len(requested)} stories of {models} model{'s' if models != 1 else ''} with a requested length; no judge."
    section = length_section(requested, REPETITION, "Self-repetition", trained, seed)
    return Document("Length generalisation", lead, [section, *published_sections("length")], facts)

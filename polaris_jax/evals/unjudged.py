"""Length generalisation without a judge: obedience to the requested length, and repetition as the sign of collapse."""

from collections.abc import Mapping, Sequence
from typing import Any

from polaris_jax.evals.document import Document
from polaris_jax.evals.evaluation import StoryScore
from polaris_jax.evals.findings import length_section
from polaris_jax.evals.generations import Generation
from polaris_jax.evals.length import TRAINED
from polaris_jax.evals.published import published_section
from polaris_jax.rewards import self_repetition

REPETITION = "self-repetition (of the reward; 0 is none, 1.5 the most)"


def measure_lengths(generations: Sequence[Generation]) -> list[StoryScore]:
    """Words, requested words and self-repetition of every story."""
    return [
        StoryScore(one.model, one.id, "none", one.words, one.target_words,
                   {REPETITION: self_repetition(one.story).penalty}, empty=not one.story)
        for one in generations
    ]  # fmt: skip


def length_document(
    scores: Sequence[StoryScore], *, facts: Mapping[str, Any], trained: tuple[float, float] = TRAINED, seed: int = 0
) -> Document:
    """Plots and tables of ``measure_lengths``."""
    asked = [one for one in scores if one.target_words]
    models = len({one.model for one in asked})
    lead = f"{len(asked)} stories of {models} model{'s' if models != 1 else ''} with a requested length; no judge."
    section = length_section(asked, REPETITION, "Self-repetition", trained, seed)
    return Document("Length generalisation", lead, [section, published_section("length")], facts)

"""EQ-Bench LongForm: 12 criteria from 0 to 20 in one answer; faults are inverted, and forced poetry weighs fivefold."""

from collections.abc import Mapping

from polaris_jax.evals.benches.one_answer import OneAnswerBench
from polaris_jax.evals.benches.score_lines import inverted

VIRTUES = {
    "Nuanced Characters": "people with contradictions, wants of their own and more than one side",
    "Emotionally Engaging": "the reader comes to care, and feels what the scenes mean to feel",
    "Compelling Plot": "events follow from one another, stakes rise, and one wants to know what comes next",
    "Coherent": "time, place, causes and people stay consistent from the first page to the last",
    "Well-earned Lightness or Darkness": "warmth or bleakness grows out of the events and is not painted on",
    "Faithful to Writing Prompt": "what the prompt asks for is there, and matters",
}
FAULTS = {
    "Weak Dialogue": "speech that is stiff, explains the plot, or sounds alike in every mouth",
    "Tell-Don't-Show": "feelings and meanings are stated where a scene should let us find them",
    "Unsurprising or Uncreative": "the first idea that anyone would have, carried out as expected",
    "Amateurish": "clumsy handling of viewpoint, scene, sentence or structure",
    "Purple Prose": "ornament beyond what the moment carries",
    "Forced Poetry or Metaphor": "figures that strain, pile up, or stand in for sense",
}
CRITERIA = {**VIRTUES, **FAULTS}
FORCED = "Forced Poetry or Metaphor"
WEIGHTS = {name: 5 if name == FORCED else 1 for name in CRITERIA}

_TASK = """You are a demanding literary critic who reads long fiction for a living. Judge the story below as a whole.

WRITING PROMPT
{prompt}

STORY
{story}

END OF STORY

Score each criterion with a whole number from 0 to 20. For the first group a high number is praise:
{virtues}

For the second group a high number means that the fault is severe, 0 that it is absent:
{faults}

Weights in the total: Forced Poetry or Metaphor counts five times, every other criterion once. Use the whole scale: 10
is ordinary competent work, 16 and more is rare. Length as such earns nothing. Think first, then score. Answer in
exactly this form, with plain text and no other marks:

{form}"""


class EqBenchLongform(OneAnswerBench):
    """See the module."""

    name, title, version = "eqbench-longform", "EQ-Bench LongForm", "1"
    headline, scale = "weighted", (0.0, 100.0)
    summary = "EQ-Bench LongForm: 12 criteria, 0 to 100"
    prompt_set = "eqbench-longform"
    answer_tokens = 900
    task, virtues, faults = _TASK, VIRTUES, FAULTS

    def adjust(self, scores: Mapping[str, float]) -> dict[str, float]:
        """See ``OneAnswerBench.adjust``."""
        return adjust(scores)

    def totals(self, scores: Mapping[str, float]) -> dict[str, float | None]:
        """See ``OneAnswerBench.totals``."""
        return {"weighted": weighted_score(scores), "uniform": uniform_score(scores)}


def adjust(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores with faults inverted, 0-20; forced poetry to the power of 1.7; four decimals."""
    scores = inverted(scores, list(FAULTS))
    if FORCED in scores:
        scores[FORCED] = 20.0 * (scores[FORCED] / 20.0) ** 1.7
    return {name: round(score, 4) for name, score in scores.items()}


def weighted_score(scores: Mapping[str, float]) -> float | None:
    """0-100 with the published weights, two decimals; None without scores."""
    if not scores:
        return None
    total = sum(WEIGHTS[name] for name in scores)
    return round(5.0 * sum(WEIGHTS[name] * score for name, score in scores.items()) / total, 2)


def uniform_score(scores: Mapping[str, float]) -> float | None:
    """0-100 with equal weights, as the published tables aggregate; None without scores."""
    return 5.0 * sum(scores.values()) / len(scores) if scores else None

"""EQ-Bench Creative Writing: 22 criteria from 0 to 20 in one answer; faults are inverted, and all weigh the same."""

from collections.abc import Mapping

from polaris_jax.evals.benches.one_answer import OneAnswerBench
from polaris_jax.evals.benches.score_lines import inverted

VIRTUES = {
    "Adherence to Instructions": "everything the prompt asks for is done, and done with sense",
    "Believable Character Actions": "people act from motives we can follow",
    "Nuanced Characters": "people with contradictions and more than one side",
    "Consistent Voice/Tone of Writing": "one narrating voice, held on purpose",
    "Imagery and Descriptive Quality": "precise, chosen, sensory detail",
    "Elegant Prose": "sentences that are well made without showing off",
    "Emotionally Engaging": "the reader is moved where the piece means to move",
    "Emotionally Complex": "feelings that mix and change, not one note",
    "Coherent": "sense and sequence hold throughout",
    "Well-earned Lightness or Darkness": "warmth or bleakness grows out of the events",
    "Sentences Flow Naturally": "rhythm and transitions carry the reading",
    "Overall Reader Engagement": "one wants to read on",
    "Overall Impression": "the piece as a whole",
}
FAULTS = {
    "Meandering": "wanders without purpose",
    "Weak Dialogue": "stiff, expository or interchangeable speech",
    "Tell-Don't-Show": "states what a scene should let us find",
    "Unsurprising or Uncreative": "the expected idea, carried out as expected",
    "Amateurish": "clumsy handling of craft",
    "Purple Prose": "ornament beyond what the moment carries",
    "Overwrought": "strained intensity",
    "Incongruent Ending Positivity": "a bright ending that the piece did not lead to",
    "Unearned Transformations": "changes of heart without cause",
}
CRITERIA = {**VIRTUES, **FAULTS}

_TASK = """You are an experienced editor of short fiction. Judge the piece below on its own
merits; do not guess who wrote it.

WRITING PROMPT
{prompt}

PIECE
{story}

END OF PIECE

Score each criterion with a whole number from 0 to 20. High is good for these:
{virtues}

High is bad for these (0 means that the fault is absent):
{faults}

Use the whole scale and be strict: most competent pieces lie near 10. Think first, then score. Answer in exactly this
form, with plain text and no other marks:

{form}"""


class EqBenchCreative(OneAnswerBench):
    """See the module."""

    name, title, version = "eqbench-creative", "EQ-Bench Creative Writing", "1"
    headline, scale = "score", (0.0, 100.0)
    summary = "EQ-Bench Creative Writing: 22 criteria, 0 to 100"
    prompt_set = "eqbench-creative"
    answer_tokens = 900
    task, virtues, faults = _TASK, VIRTUES, FAULTS

    def adjust(self, scores: Mapping[str, float]) -> dict[str, float]:
        """See ``OneAnswerBench.adjust``."""
        return adjust(scores)

    def totals(self, scores: Mapping[str, float]) -> dict[str, float | None]:
        """See ``OneAnswerBench.totals``."""
        return {"score": total_score(scores), "rubric": rubric_score(scores)}


def adjust(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores with faults inverted, 0-20."""
    return inverted(scores, list(FAULTS))


def rubric_score(scores: Mapping[str, float]) -> float | None:
    """Mean of the scored criteria, 0-20, four decimals; None without scores."""
    return round(sum(scores.values()) / len(scores), 4) if scores else None


def total_score(scores: Mapping[str, float]) -> float | None:
    """The same on 0-100, two decimals."""
    return round(5.0 * sum(scores.values()) / len(scores), 2) if scores else None

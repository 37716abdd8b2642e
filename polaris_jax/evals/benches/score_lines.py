"""EQ-Bench's answer form: an analysis, then ``[Scores]`` and lines ``criterion: number``."""

from collections.abc import Mapping, Sequence


def inverted(scores: Mapping[str, float], negative: Sequence[str], top: float = 20.0) -> dict[str, float]:
    """The scores with faults inverted, so that higher is better everywhere."""
    return {name: top - score if name in negative else score for name, score in scores.items()}


def describe(criteria: Mapping[str, str]) -> str:
    """The criteria as a list for the prompt."""
    return "\n".join(f"- {name}: {meaning}" for name, meaning in criteria.items())


def answer_form(criteria: Sequence[str]) -> str:
    """The form that a judge fills in."""
    return "[Analysis]\n<your analysis>\n\n[Scores]\n" + "\n".join(f"{name}: <0-20>" for name in criteria)

"""EQ-Bench's answer form (an analysis, then ``[Scores]`` and lines ``criterion: number``) and its published parser.

Benchmarks here read answers with ``rubric_answer``. The published parser is kept to compare results with it.
"""

import re
from collections.abc import Mapping, Sequence

_SCORES = re.compile(r"\[Scores\](.*?)(?:^\s*---|\Z)", re.DOTALL | re.IGNORECASE | re.MULTILINE)
_LINE = re.compile(r"^\s*([^:\n]+?)\s*:\s*\[?\s*(-?\d+(?:\.\d+)?)\s*\]?", re.MULTILINE)


def read_score_lines(text: str, criteria: Sequence[str], *, top: float = 20.0, prefix: int) -> dict[str, float]:
    """The scores that the published parser finds, clipped to ``[0, top]``; criteria without a score are absent.

    A line counts for the criterion with the same name, else with the same name in any case, else for all criteria that
    begin with the same ``prefix`` letters and have no line of their own. (By the last rule "Emotionally rich" fills
    both criteria that begin with "Emotionally", as in the published parser.)

    Args:
      text: read from ``[Scores]`` to ``---``; read whole if it has no such marks.
      prefix: number of first letters by which a line with another name may match a criterion.
    """
    section = _SCORES.search(text)
    found_lines = _LINE.findall(section[1] if section else text)
    lines = [(name, min(max(float(number), 0.0), top)) for name, number in found_lines]
    exact = {name: score for name, score in lines if name in criteria}
    lowered = {name.lower(): score for name, score in lines}
    found: dict[str, float] = {}
    for criterion in criteria:
        if criterion in exact:
            found[criterion] = exact[criterion]
        elif criterion.lower() in lowered:
            found[criterion] = lowered[criterion.lower()]
    own = {criterion.lower() for criterion in criteria}
    for name, score in lines:
        if name.lower() not in own:
            for criterion in criteria:
                if criterion not in found and criterion.lower()[:prefix] == name.lower()[:prefix]:
                    found[criterion] = score
    return found


def inverted(scores: Mapping[str, float], negative: Sequence[str], top: float = 20.0) -> dict[str, float]:
    """The scores with faults inverted, so that higher is better everywhere."""
    return {name: top - score if name in negative else score for name, score in scores.items()}


def describe(criteria: Mapping[str, str]) -> str:
    """The criteria as a list for the prompt."""
    return "\n".join(f"- {name}: {meaning}" for name, meaning in criteria.items())


def answer_form(criteria: Sequence[str]) -> str:
    """The form that a judge fills in."""
    return "[Analysis]\n<your analysis>\n\n[Scores]\n" + "\n".join(f"{name}: <0-20>" for name in criteria)

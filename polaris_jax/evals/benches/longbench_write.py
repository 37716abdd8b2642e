"""LongBench-Write: six criteria of 1-5 in one answer (S_q), and how close the length is to the one asked for (S_l)."""

from collections.abc import Mapping, Sequence
from typing import Any

from polaris_jax.evals.benches.bench import (
    Ask,
    Unusable,
    json_object,
    key_of,
    mean_readings,
    object_schema,
    whole_number,
)
from polaris_jax.evals.generations import Generation

CRITERIA = {
    "Relevance": "the text answers what was asked, with nothing beside the point",
    "Accuracy": "what it states is right, and what it invents is consistent",
    "Coherence": "the parts connect, and the order makes sense",
    "Clarity": "it is easy to follow, sentence by sentence",
    "Breadth and Depth": "it covers its subject and goes below the surface",
    "Reading Experience": "it is a pleasure to read",
}
KEYS = {name: name.replace(" ", "_") for name in CRITERIA}
_TASK = """You judge the quality of a text that answers a request. Judge quality only: whether the text has
the length that the request asks for is measured elsewhere and must not change any score.

REQUEST
{prompt}

TEXT
{story}

END OF TEXT

Criteria, each from 1 (poor) to 5 (excellent):
{criteria}

First write an analysis of the text, then the scores. Answer with a JSON object with the keys "analysis", {keys}."""
_SCHEMA = object_schema(
    {"analysis": {"type": "string"}}
    | {key: {"type": "integer", "minimum": 1, "maximum": 5} for key in KEYS.values()}
)


class LongBenchWrite:
    """See the module."""

    name, title, version = "longbench-write", "LongBench-Write", "1"
    headline, scale = "combined", (0.0, 100.0)

    def asks(self, generation: Generation) -> list[Ask]:
        """See ``Bench.asks``."""
        text = _TASK.format(
            prompt=generation.prompt, story=generation.story, keys=", ".join(f'"{key}"' for key in KEYS.values()),
            criteria="\n".join(f"- {KEYS[name]}: {meaning}" for name, meaning in CRITERIA.items()),
        )  # fmt: skip
        return [Ask("story", (("user", text),), _SCHEMA)]

    def read(self, text: str, generation: Generation, unit: str) -> dict[str, float]:
        """See ``Bench.read``. Without a requested length there is no ``length`` and no ``combined``."""
        scores = criteria_scores(text)
        if not scores:
            raise Unusable("no score from 1 to 5")
        sq = quality_score(scores)
        measures = {"quality": sq} | {key_of(name): score for name, score in scores.items()}
        if generation.target_words:
            # An empty story has no published length score and would drop out of the mean; here it counts as 0.
            measures["length"] = length_score(generation.target_words, generation.words) or 0.0
            measures["combined"] = combined_score(sq, measures["length"])
            measures["average"] = (sq + measures["length"]) / 2
        return measures

    def story(self, readings: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """See ``Bench.story``."""
        return mean_readings(readings)


def criteria_scores(answer: str | Mapping[str, Any]) -> dict[str, int]:
    """Valid scores by criterion, keys with blanks or underscores; out of range counts as not given.

    Raises:
      Unusable: the answer is no JSON object.
    """
    given = json_object(answer)
    found = {name: whole_number(given.get(key, given.get(name)), 1, 5) for name, key in KEYS.items()}
    return {name: score for name, score in found.items() if score is not None}


def quality_score(scores: Mapping[str, int]) -> float | None:
    """S_q: mean of ``25 * (score - 1)`` over the given criteria, 0-100."""
    return sum(25.0 * (score - 1) for score in scores.values()) / len(scores) if scores else None


def length_score(target_words: int | None, words: int | None) -> float | None:
    """S_l: 100 at the requested length, 0 from four times as much or a third of it; None without either number."""
    if not target_words or not words:
        return None
    if words > target_words:
        return 100.0 * max(0.0, 1 - (words / target_words - 1) / 3)
    return 100.0 * max(0.0, 1 - (target_words / words - 1) / 2)


def combined_score(quality: float | None, length: float | None) -> float | None:
    """``S_q * S_l / 100`` to two decimals. (The LongWriter paper averages the two; that is the measure ``average``.)"""
    return None if quality is None or length is None else round(quality * length / 100.0, 2)

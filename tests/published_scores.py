"""How the published code of the benchmarks reads a judge's answer, defects included: for golden cases."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median, stdev
from typing import Any

from polaris_jax.evals.benches import Unusable, pairwise, writingbench
from polaris_jax.evals.benches.longbench_write import KEYS
from polaris_jax.evals.benches.story_quality import MAX_OVERALL
from polaris_jax.rewards.reply import strip_fence

_SOURCE = "derived_from_positive_minus_negative_clamped_None_100"
_GRADE = re.compile(r"^\s*([AB])\s*(\+*)\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class PublishedScore:
    """The published evaluation's score of one reply; None where the reply is unreadable.

    Attributes:
      overall_score: ``positive - negative + bonus``, at most 100.
      model_overall: as the judge wrote it.
      unclipped: before the limit.
      source: how ``overall_score`` was derived.
    """

    overall_score: int | None = None
    model_overall: int | None = None
    unclipped: int | None = None
    source: str | None = None


def published_score(answer: str | Mapping) -> PublishedScore:
    """Scores a reply as the published evaluation does: bare JSON only, the judge's totals trusted."""
    try:
        content = json_object(answer)
    except Unusable:
        return PublishedScore()
    positive, negative, model = (
        _integer(content.get(name)) for name in ("positive_total", "negative_total", "overall_score")
    )
    bonus = _integer(content.get("bonus_total", content.get("bonus_score"))) or 0
    if positive is None or negative is None:
        return PublishedScore(model, model, model, None if model is None else "model")
    total = positive - negative + bonus
    return PublishedScore(min(total, MAX_OVERALL), model, total, _SOURCE)


def _integer(value: Any) -> int | None:
    try:
        return None if value is None or isinstance(value, bool) else int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def criteria_scores(answer: str | Mapping[str, Any]) -> dict[str, int]:
    """Valid scores by criterion in POLARIS's form of an answer; a score out of range counts as missing, as published.

    Raises:
      Unusable: the answer is not a JSON object.
    """
    given = json_object(answer)
    found = {name: whole_number(given.get(key, given.get(name)), 1, 5) for name, key in KEYS.items()}
    return {name: score for name, score in found.items() if score is not None}


def quality_score(scores: Mapping[str, int]) -> float | None:
    """S_q: mean of ``25 * (score - 1)`` over the scored criteria, 0-100; None without any."""
    return sum(25.0 * (score - 1) for score in scores.values()) / len(scores) if scores else None


def combined_score(quality: float | None, length: float | None) -> float | None:
    """``S_q * S_l / 100`` to two decimals. (The LongWriter paper averages the two; that is the measure ``average``.)"""
    return None if quality is None or length is None else round(quality * length / 100.0, 2)


def published_verdict(answer: str | Mapping[str, Any]) -> pairwise.PairVerdict:
    """Criteria without a readable grade are left out, and an unreadable answer is a tie."""
    return pairwise.verdict_of(_grades(answer))


def _grades(answer: str | Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    try:
        given = json_object(answer)
    except Unusable:
        return {}
    return {
        key: (grade[1].upper(), len(grade[2]))
        for key in pairwise.CRITERIA
        if isinstance(value := given.get(key), str) and (grade := _GRADE.match(value))
    }


def criterion_score(answer: str | Mapping[str, Any]) -> int | None:
    """The score of one criterion as the published code reads it: bare JSON; None out of range or unreadable."""
    try:
        return whole_number(json_object(answer).get("score"), writingbench.LOW, writingbench.HIGH)
    except Unusable:
        return None


def aggregate(records: Sequence[tuple[str, str, int | None]]) -> dict:
    """The published aggregate of ``(story, criterion, score or None)``: mean over stories of their criteria's mean."""
    stories: dict[str, list[int]] = {}
    criteria: dict[str, list[int]] = {}
    for story, criterion, score in records:
        if score is not None:
            stories.setdefault(story, []).append(score)
            criteria.setdefault(criterion, []).append(score)
    means = [mean(scores) for scores in stories.values()]
    return {
        "num_records": len(records),
        "num_scored": sum(map(len, stories.values())),
        "num_stories": len(stories),
        **{f"writingbench_score_{name}": value for name, value in _spread(means).items()},
        "per_criterion": {name: _spread(scores) | {"count": len(scores)} for name, scores in criteria.items()},
    }


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    """Mean, median and sample deviation to two decimals."""
    if not values:
        return {"mean": None, "median": None, "stdev": None}
    spread = stdev(values) if len(values) > 1 else 0
    return {"mean": round(mean(values), 2), "median": round(median(values), 2), "stdev": round(spread, 2)}


def json_object(answer: str | Mapping[str, Any]) -> Mapping[str, Any]:
    """The JSON object of an answer, in a code fence or bare; other text around it makes it unusable.

    Raises:
      Unusable: the answer is not a JSON object.
    """
    if isinstance(answer, Mapping):
        return answer
    try:
        value = json.loads(strip_fence(answer))
    except (ValueError, RecursionError):
        raise Unusable(f"not JSON: {answer[:80]!r}") from None
    if not isinstance(value, dict):
        raise Unusable(f"not a JSON object: {answer[:80]!r}")
    return value


def whole_number(value: object, low: int, high: int) -> int | None:
    """A score as a whole number, truncated; None outside ``[low, high]`` or when it is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = int(float(value))
    except (ValueError, OverflowError):
        return None
    return number if low <= number <= high else None

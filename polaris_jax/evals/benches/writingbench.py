"""WritingBench, domain D4 (literature and arts): a prompt brings its checklist, each criterion is judged 1-10."""

from collections.abc import Mapping, Sequence
from statistics import mean, median, stdev
from typing import Any

from polaris_jax.evals.benches.bench import Ask, Unusable, json_object, key_of, object_schema, whole_number
from polaris_jax.evals.generations import Generation

ANCHORS = ("1-2", "3-4", "5-6", "7-8", "9-10")
LOW, HIGH = 1, 10
_SYSTEM = (
    "You are a strict examiner of writing. You judge one criterion at a time and nothing else, by the anchor texts you "
    "are given. Begin at the bottom of the scale and move up only for what you can point to in the text."
)
_TASK = """WRITING TASK
{prompt}

RESPONSE
{story}

END OF RESPONSE

CRITERION: {name}
{description}

{anchors}

Give a whole number from 1 to 10 for this criterion alone. Answer with a JSON object: {{"score": <1-10>, "reason":
"<what in the response decided it>"}}"""
_SCHEMA = object_schema({"score": {"type": "integer", "minimum": LOW, "maximum": HIGH}, "reason": {"type": "string"}})


class WritingBench:
    """See the module."""

    name, title, version = "writingbench", "WritingBench D4", "1"
    headline, scale = "score", (1.0, 10.0)

    def asks(self, generation: Generation) -> list[Ask]:
        """See ``Bench.asks``; the checklist is the generation's field ``checklist``."""
        asks = []
        for name, criterion in checklist(generation.meta.get("checklist")).items():
            anchors = "\n".join(f"{span}: {criterion[span]}" for span in ANCHORS if criterion.get(span))
            text = _TASK.format(
                prompt=generation.prompt, story=generation.story, name=name, anchors=anchors,
                description=criterion.get("criteria_description") or criterion.get("description") or "",
            )  # fmt: skip
            asks.append(Ask(name, (("system", _SYSTEM), ("user", text)), _SCHEMA))
        return asks

    def read(self, text: str, generation: Generation, unit: str) -> dict[str, float]:
        """See ``Bench.read``."""
        score = criterion_score(text)
        if score is None:
            raise Unusable(f"no score from {LOW} to {HIGH}")
        return {"score": score, f"criterion/{key_of(unit)}": score}

    def story(self, readings: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """The mean over the criteria that were judged. (Criteria differ from prompt to prompt and are not averaged.)"""
        return {"score": mean(reading["score"] for reading in readings), "criteria": len(readings)}


def checklist(given: Any) -> dict[str, Mapping[str, Any]]:
    """Criteria by name.

    Raises:
      Unusable: there is no checklist.
    """
    found = {}
    for number, entry in enumerate(given if isinstance(given, list) else []):
        if isinstance(entry, Mapping):
            found[str(entry.get("name") or f"criterion {number + 1}")] = entry
    if not found:
        raise Unusable("no checklist: give --prompts with a checklist per prompt, or a checklist field per story")
    return found


def criterion_score(answer: str | Mapping[str, Any]) -> int | None:
    """The score of one criterion in a judge's answer (text or parsed); None out of range or unreadable."""
    try:
        return whole_number(json_object(answer).get("score"), LOW, HIGH)
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

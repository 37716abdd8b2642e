"""``Bench``, the interface of a benchmark, and helpers that read numbers from a judge's answer."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from polaris_jax.evals.generations import Generation


class Unusable(ValueError):
    """A judge's answer without a readable score, or a story that cannot be judged; one line.

    Attributes:
      kind: the kind of failure, as counted by ``rubric_answer`` and ``judging.ask``.
    """

    def __init__(self, detail: str, kind: str = "unusable"):
        super().__init__(detail)
        self.kind = kind


@dataclass(frozen=True)
class JudgePrompt:
    """One prompt to a judge about one story.

    Attributes:
      unit: what is judged: ``story``, or the name of a criterion.
      messages: ``(role, content)`` pairs.
      schema: JSON schema of the answer as text, or None for free text.
    """

    unit: str
    messages: tuple[tuple[str, str], ...]
    schema: str | None = None


class Bench(Protocol):
    """A benchmark over single stories.

    Attributes:
      name: its name on the command line.
      title: its name in reports.
      summary: one line of help: criteria and scale.
      prompt_set: the packaged prompts (``prompt_sets/NAME.jsonl``) for which a checkpoint writes stories by default.
      answer_tokens: tokens of a usual answer of a judge, with its reasons; for forecasts.
      headline: name of the measure that is the score of the story.
      scale: smallest and largest headline value.
      version: version of the instructions; part of the cache key.
      rubric_source: where the judge's prompt comes from, for reports.
    """

    name: str
    title: str
    summary: str
    prompt_set: str
    answer_tokens: int
    headline: str
    scale: tuple[float, float]
    version: str
    rubric_source: str

    def judge_prompts(self, generation: Generation) -> list[JudgePrompt]:
        """The prompts for a judge about a story.

        Raises:
          Unusable: the story cannot be judged (no checklist, no text); its record states this.
        """

    def read_answer(self, text: str, generation: Generation, unit: str) -> dict[str, float]:
        """The measures in one answer.

        Raises:
          Unusable: the answer has none.
        """

    def count_words(self, story: str) -> int:
        """Words of a story as the benchmark's published code counts them."""

    def story_measures(self, readings: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """The story's measures, computed from those of its answers (at least one)."""


def key_of(name: str) -> str:
    """A criterion's name as a field name: ``Tell-Don't-Show`` → ``tell_dont_show``."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower().replace("'", "").replace("’", "")).strip("_")


def mean_readings(readings: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each measure over the answers that have it."""
    names = dict.fromkeys(name for reading in readings for name in reading)
    return {
        name: sum(values) / len(values)
        for name in names
        if (values := [reading[name] for reading in readings if name in reading])
    }


def object_schema(properties: Mapping[str, Mapping[str, Any]]) -> str:
    """JSON schema of a closed object with these properties, all required, in this order."""
    return json.dumps(
        {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    )

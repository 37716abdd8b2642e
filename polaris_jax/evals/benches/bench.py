"""What a benchmark has to offer: ``Bench``; and how numbers are found in a judge's answer."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from polaris_jax.evals.generations import Generation
from polaris_jax.rewards.reply import strip_fence


class Unusable(ValueError):
    """A judge's answer from which no score can be read; one line."""


@dataclass(frozen=True)
class Ask:
    """One question about one story.

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
      name: on the command line.
      title: in reports.
      headline: the measure that stands for the story.
      scale: least and greatest headline value.
      version: of the instructions; part of the cache key.
    """

    name: str
    title: str
    headline: str
    scale: tuple[float, float]
    version: str

    def asks(self, generation: Generation) -> list[Ask]:
        """What to ask about a story.

        Raises:
          Unusable: the story cannot be judged (no checklist, no text); its record says so.
        """

    def read(self, text: str, generation: Generation, unit: str) -> dict[str, float]:
        """Measures in one answer.

        Raises:
          Unusable: there are none.
        """

    def story(self, readings: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """The story's measures from those of its answers (at least one)."""


def json_object(answer: str | Mapping[str, Any]) -> Mapping[str, Any]:
    """The JSON object that an answer is, in a code fence or bare; text around it makes it unusable.

    Raises:
      Unusable: it is none.
    """
    if isinstance(answer, Mapping):
        return answer
    try:
        value = json.loads(strip_fence(answer))
    except ValueError:
        raise Unusable(f"not JSON: {answer[:80]!r}") from None
    if not isinstance(value, dict):
        raise Unusable(f"not a JSON object: {answer[:80]!r}")
    return value


def whole_number(value: object, low: int, high: int) -> int | None:
    """A score as a whole number, cut towards zero; None outside ``[low, high]`` or when it is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = int(float(value))
    except (ValueError, OverflowError):
        return None
    return number if low <= number <= high else None


def key_of(name: str) -> str:
    """A criterion's name as a field: ``Tell-Don't-Show`` → ``tell_dont_show``."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower().replace("'", "").replace("’", "")).strip("_")


def mean_readings(readings: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Each measure's mean over the answers that have it."""
    names = dict.fromkeys(name for reading in readings for name in reading)
    return {
        name: sum(values) / len(values)
        for name in names
        if (values := [reading[name] for reading in readings if name in reading])
    }


def object_schema(properties: Mapping[str, Mapping[str, Any]]) -> str:
    """A closed JSON object with these properties, all required, in this order."""
    return json.dumps(
        {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    )

"""Benchmarks whose judge scores every criterion of a story in one plain-text answer."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from polaris_jax.evals.benches.bench import Ask, Unusable, key_of, mean_readings
from polaris_jax.evals.benches.score_lines import answer_form, describe
from polaris_jax.evals.generations import Generation


class OneAnswer(ABC):
    """The part of a ``Bench`` that such benchmarks share.

    Attributes:
      task: the question, with places for ``prompt``, ``story``, ``virtues``, ``faults`` and ``form``.
      virtues, faults: criteria with their meaning; a high score praises the former and blames the latter.
    """

    task: str
    virtues: Mapping[str, str]
    faults: Mapping[str, str]

    @abstractmethod
    def adjusted(self, text: str) -> dict[str, float]:
        """The answer's scores by criterion, 0-20, more is better; {} without any."""

    @abstractmethod
    def totals(self, scores: Mapping[str, float]) -> dict[str, float | None]:
        """The story's totals from at least one adjusted score."""

    def asks(self, generation: Generation) -> list[Ask]:
        """See ``Bench.asks``."""
        text = self.task.format(
            prompt=generation.prompt, story=generation.story, virtues=describe(self.virtues),
            faults=describe(self.faults), form=answer_form([*self.virtues, *self.faults]),
        )  # fmt: skip
        return [Ask("story", (("user", text),))]

    def read(self, text: str, generation: Generation, unit: str) -> dict[str, float]:
        """See ``Bench.read``."""
        scores = self.adjusted(text)
        if not scores:
            raise Unusable("no line of scores")
        return {**self.totals(scores), "rated": len(scores), **{key_of(name): score for name, score in scores.items()}}

    def story(self, readings: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """See ``Bench.story``."""
        return mean_readings(readings)

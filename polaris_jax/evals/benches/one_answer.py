"""``OneAnswerBench``: benchmarks whose judge scores every criterion of a story in one plain-text answer."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from polaris_jax.evals.benches.bench import JudgePrompt, key_of, mean_readings
from polaris_jax.evals.benches.judge_template import OURS, JudgeTemplate, read_template
from polaris_jax.evals.benches.rubric_answer import NumberScale, read_rubric
from polaris_jax.evals.benches.score_lines import answer_form, describe
from polaris_jax.evals.generations import Generation

_SCALE = NumberScale(0, 20)
# Placeholders of EQ-Bench's published prompts. The text is a piece (Creative Writing) or a whole story (LongForm).
_PROMPT, _CRITERIA, _FAULTS = "{writing_prompt}", "{creative_writing_criteria}", "{lower_is_better_criteria}"
_STORIES = ("{test_model_response}", "{full_story}", "{story}")


class OneAnswerBench(ABC):
    """The parts of a ``Bench`` that these benchmarks share.

    Args:
      rubric: address of a prompt in the published form; default: our own.

    Attributes:
      task: the prompt, with placeholders for ``prompt``, ``story``, ``virtues``, ``faults`` and ``form``.
      virtues, faults: criteria with their meaning; a high score is good for a virtue and bad for a fault.
    """

    task: str
    virtues: Mapping[str, str]
    faults: Mapping[str, str]
    version: str
    template: JudgeTemplate | None = None
    rubric_source = OURS

    def __init__(self, rubric: str | None = None):
        if rubric is not None:
            self.template = read_template(rubric, [(_PROMPT,), _STORIES], [_CRITERIA, _FAULTS])
            self.version, self.rubric_source = self.template.version, self.template.source

    @abstractmethod
    def adjust(self, scores: Mapping[str, float]) -> dict[str, float]:
        """The judge's scores with faults inverted: 0-20, higher is better."""

    @abstractmethod
    def totals(self, scores: Mapping[str, float]) -> dict[str, float | None]:
        """The story's totals from adjusted scores; None without any."""

    def judge_prompts(self, generation: Generation) -> list[JudgePrompt]:
        """See ``Bench.judge_prompts``."""
        if self.template is not None:
            values = {_PROMPT: generation.prompt} | dict.fromkeys(_STORIES, generation.story)
            values[_CRITERIA] = "\n".join(f"- {name}" for name in (*self.virtues, *self.faults))
            values[_FAULTS] = ", ".join(self.faults)
            return [JudgePrompt("story", self.template.messages(values))]
        text = self.task.format(
            prompt=generation.prompt,
            story=generation.story,
            virtues=describe(self.virtues),
            faults=describe(self.faults),
            form=answer_form([*self.virtues, *self.faults]),
        )
        return [JudgePrompt("story", (("user", text),))]

    def read_answer(self, text: str, generation: Generation, unit: str) -> dict[str, float]:
        """See ``Bench.read_answer``."""
        scores = self.adjust(read_rubric(text, [*self.virtues, *self.faults], _SCALE))
        totals = {name: total for name, total in self.totals(scores).items() if total is not None}
        return {**totals, "rated": len(scores), **{key_of(name): score for name, score in scores.items()}}

    def count_words(self, story: str) -> int:
        """See ``Bench.count_words``; EQ-Bench splits at white space."""
        return len(story.split())

    def story_measures(self, readings: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """See ``Bench.story_measures``."""
        return mean_readings(readings)

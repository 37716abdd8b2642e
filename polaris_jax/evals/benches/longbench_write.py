"""LongBench-Write: six criteria of 1-5 in one answer (S_q), and closeness to the requested length (S_l)."""

from collections.abc import Mapping, Sequence

from polaris_jax.evals.benches.bench import (
    JudgePrompt,
    key_of,
    mean_readings,
    object_schema,
)
from polaris_jax.evals.benches.judge_template import OURS, read_template
from polaris_jax.evals.benches.rubric_answer import NumberScale, read_rubric
from polaris_jax.evals.generations import Generation
from polaris_jax.rewards import count_longwriter

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
_SCALE = NumberScale(1, 5, whole=True)
_INSTRUCTION, _RESPONSE = "$INST$", "$RESPONSE$"  # placeholders of LongWriter's judge.txt
_SCHEMA = object_schema(
    {"analysis": {"type": "string"}} | {key: {"type": "integer", "minimum": 1, "maximum": 5} for key in KEYS.values()}
)


class LongBenchWrite:
    """See the module.

    Args:
      rubric: address of a prompt in the form of LongWriter's ``judge.txt``; default: our own.
    """

    name, title, version = "longbench-write", "LongBench-Write", "1"
    headline, scale = "combined", (0.0, 100.0)
    summary = "LongBench-Write: quality times obedience to the requested length, 0 to 100"
    prompt_set = "longbench-write"
    answer_tokens = 400
    rubric_source = OURS

    def __init__(self, rubric: str | None = None):
        self.template = None if rubric is None else read_template(rubric, [(_INSTRUCTION,), (_RESPONSE,)])
        if self.template is not None:
            self.version, self.rubric_source = self.template.version, self.template.source

    def judge_prompts(self, generation: Generation) -> list[JudgePrompt]:
        """See ``Bench.judge_prompts``."""
        if self.template is not None:
            values = {_INSTRUCTION: generation.prompt, _RESPONSE: generation.story}
            return [JudgePrompt("story", self.template.messages(values))]
        text = _TASK.format(
            prompt=generation.prompt,
            story=generation.story,
            keys=", ".join(f'"{key}"' for key in KEYS.values()),
            criteria="\n".join(f"- {KEYS[name]}: {meaning}" for name, meaning in CRITERIA.items()),
        )
        return [JudgePrompt("story", (("user", text),), _SCHEMA)]

    def read_answer(self, text: str, generation: Generation, unit: str) -> dict[str, float]:
        """See ``Bench.read_answer``. Without a requested length there is no ``length`` and no ``combined``."""
        scores = read_rubric(text, list(CRITERIA), _SCALE)
        quality = sum(25.0 * (score - 1) for score in scores.values()) / len(scores)
        measures: dict[str, float] = {"quality": quality, **{key_of(name): score for name, score in scores.items()}}
        if generation.target_words:
            # An empty story has no published length score and would drop out of the mean; here it counts as 0.
            length = length_score(generation.target_words, generation.length(self.count_words)) or 0.0
            measures |= {"length": length, "combined": _combined(quality, length), "average": (quality + length) / 2}
        return measures

    def count_words(self, story: str) -> int:
        """See ``Bench.count_words``."""
        return count_longwriter(story)

    def story_measures(self, readings: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """See ``Bench.story_measures``."""
        return mean_readings(readings)


def length_score(target_words: int | None, words: int | None) -> float | None:
    """S_l: 100 at the requested length, 0 from four times or a third of it; None if a number is missing."""
    if not target_words or not words:
        return None
    if words > target_words:
        return 100.0 * max(0.0, 1 - (words / target_words - 1) / 3)
    return 100.0 * max(0.0, 1 - (target_words / words - 1) / 2)


def _combined(quality: float, length: float) -> float:
    return round(quality * length / 100.0, 2)

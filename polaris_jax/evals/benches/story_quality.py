"""Story Quality: the reward's rubric with one judge call per story; the formula differs from the reward's.

The published evaluation uses the judge's own totals, ``positive - negative + bonus``, clipped above at 100, without a
penalty and without a floor on the bonus. Our headline measure is that formula over totals computed from range-checked
scores. The reward's formula is the measure ``training``. The judge never sees the requested length.
"""

from collections.abc import Mapping, Sequence

from polaris_jax import storage
from polaris_jax.errors import InputError
from polaris_jax.evals.benches.bench import JudgePrompt, Unusable, mean_readings
from polaris_jax.evals.benches.judge_template import OURS, JudgeTemplate, read_template
from polaris_jax.evals.benches.rubric_answer import NumberScale, read_rubric
from polaris_jax.evals.generations import Generation
from polaris_jax.rewards import count_words, rubric, without_length_request
from polaris_jax.rewards.dimensions import DIMENSIONS
from polaris_jax.rewards.quality import QualitySpec, story_quality
from polaris_jax.rewards.rubric_scores import InvalidJudgeReply, RubricScores, read_rubric_scores

MAX_OVERALL = 100
_PROMPT, _STORY = "{prompt}", "{story}"
_SCALES = {dimension.id: NumberScale(0, dimension.most) for dimension in DIMENSIONS}
_ALIASES = {
    alias: d.id
    for d in DIMENSIONS
    for alias in (d.title, f"{d.id} {d.title}", d.stem, d.score_key, f"{d.title} {d.id}")
}


class StoryQuality:
    """See the module.

    Args:
      kind: ``full``, ``brief`` for judges with a small context window, or the address of a rubric: a text that becomes
        the system message, or a prompt with the placeholders ``{prompt}`` and ``{story}``.
    """

    name, title = "story-quality", "Story Quality"
    headline, scale = "overall", (-151.0, 100.0)
    summary = "Story Quality: 16 dimensions, -151 to 100, with bands of requested length and slope"
    prompt_set = "story-quality"

    def __init__(self, kind: str = "full"):
        self.kind = kind
        self.answer_tokens = rubric.ANSWER_TOKENS.get(kind, rubric.ANSWER_TOKENS["full"])
        self.template: JudgeTemplate | None = None
        if kind in rubric.RUBRICS:
            self.version, self.rubric_source = rubric.version(kind), OURS
        elif storage.read(kind) is None:
            raise InputError("rubric", kind, f"one of {', '.join(rubric.RUBRICS)}, or a file")
        else:
            self.template = read_template(kind, [], [_PROMPT, _STORY])
            self.version, self.rubric_source = self.template.version, self.template.source

    def judge_prompts(self, generation: Generation) -> list[JudgePrompt]:
        """See ``Bench.judge_prompts``."""
        prompt = without_length_request(generation.prompt)
        question = rubric.question(prompt, generation.story)
        if self.template is not None:
            [*_, (_, text)] = filled = self.template.messages({_PROMPT: prompt, _STORY: generation.story})
            whole = text != self.template.text  # it has placeholders, so it holds the story
            return [JudgePrompt("story", filled if whole else (("system", text), ("user", question)))]
        messages = (("system", rubric.instructions(self.kind)), ("user", question))
        return [JudgePrompt("story", messages, rubric.schema(self.kind))]

    def read_answer(self, text: str, generation: Generation, unit: str) -> dict[str, float]:
        """See ``Bench.read_answer``."""
        scores = _read_scores(text)
        training, _ = story_quality(scores, QualitySpec())
        return {
            "overall": min(scores.positive - scores.negative + scores.bonus, MAX_OVERALL),
            "training": 100 * training,
            "positive": scores.positive,
            "negative": scores.negative,
            "bonus": scores.bonus,
            "penalty": scores.penalty,
            "miscounted": float(bool(scores.disagreements)),
            **scores.scores,
        }

    def count_words(self, story: str) -> int:
        """See ``Bench.count_words``."""
        return count_words(story)

    def story_measures(self, readings: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """See ``Bench.story_measures``."""
        return mean_readings(readings)


def _read_scores(text: str) -> RubricScores:
    """The scores in an answer: JSON with the rubric's keys, else any form with ids or titles.

    Raises:
      Unusable: see ``rubric_answer``.
    """
    try:
        return read_rubric_scores(text)
    except InvalidJudgeReply as wrong:
        if wrong.kind != "invalid_json":
            raise Unusable(wrong.detail, wrong.kind) from None
    return read_rubric_scores(read_rubric(text, list(_SCALES), _SCALES, _ALIASES))

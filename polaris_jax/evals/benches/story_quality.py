"""Story Quality: the rubric of the reward, asked once per story; its evaluation formula differs from the training one.

The published evaluation takes the judge's own totals, ``positive - negative + bonus``, clipped above at 100: no
penalty, no floor on the bonus. Our headline is that formula over totals we add up ourselves from range-checked scores;
the training formula stands beside it. The judge never sees the requested length.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from polaris_jax.errors import InputError
from polaris_jax.evals.benches.bench import Ask, Unusable, json_object, mean_readings
from polaris_jax.evals.generations import Generation
from polaris_jax.rewards import rubric
from polaris_jax.rewards.length import without_length_request
from polaris_jax.rewards.quality import QualitySpec, story_quality
from polaris_jax.rewards.sheet import BadSheet, read_sheet

MOST = 100
_SOURCE = "derived_from_positive_minus_negative_clamped_None_100"


class StoryQuality:
    """See the module.

    Args:
      kind: ``full``, or ``brief`` for judges with a small context window.
    """

    name, title = "story-quality", "Story Quality"
    headline, scale = "overall", (-151.0, 100.0)

    def __init__(self, kind: str = "full"):
        if kind not in rubric.RUBRICS:
            raise InputError("rubric", kind, f"one of {', '.join(rubric.RUBRICS)}")
        self.kind = kind
        self.version = rubric.version(kind)

    def asks(self, generation: Generation) -> list[Ask]:
        """See ``Bench.asks``."""
        question = rubric.question(without_length_request(generation.prompt), generation.story)
        messages = (("system", rubric.instructions(self.kind)), ("user", question))
        return [Ask("story", messages, rubric.schema(self.kind))]

    def read(self, text: str, generation: Generation, unit: str) -> dict[str, float]:
        """See ``Bench.read``."""
        try:
            sheet = read_sheet(text)
        except BadSheet as error:
            raise Unusable(str(error)) from None
        training, _ = story_quality(sheet, QualitySpec())
        return {
            "overall": min(sheet.positive - sheet.negative + sheet.bonus, MOST), "training": 100 * training,
            "positive": sheet.positive, "negative": sheet.negative, "bonus": sheet.bonus, "penalty": sheet.penalty,
            "miscounted": float(bool(sheet.disagreements)), **sheet.scores,
        }  # fmt: skip

    def story(self, readings: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """See ``Bench.story``."""
        return mean_readings(readings)


@dataclass(frozen=True)
class Evaluated:
    """The published evaluation of one reply; None where the reply cannot be read.

    Attributes:
      overall_score: ``positive - negative + bonus``, at most 100.
      model_overall: what the judge wrote.
      unclipped: before the limit.
      source: how ``overall_score`` came about.
    """

    overall_score: int | None = None
    model_overall: int | None = None
    unclipped: int | None = None
    source: str | None = None

    def to_json(self) -> dict:
        """As JSON values."""
        return asdict(self)


def evaluate_reply(answer: str | Mapping) -> Evaluated:
    """Reads a reply as the published evaluation does: bare JSON only, and the judge's totals trusted."""
    try:
        content = json_object(answer)
    except Unusable:
        return Evaluated()
    said = {name: _integer(content.get(name)) for name in ("positive_total", "negative_total", "overall_score")}
    bonus = _integer(content.get("bonus_total", content.get("bonus_score"))) or 0
    positive, negative, model = said.values()
    if positive is None or negative is None:
        return Evaluated(model, model, model, None if model is None else "model")
    total = positive - negative + bonus
    return Evaluated(min(total, MOST), model, total, _SOURCE)


def _integer(value: object) -> int | None:
    try:
        return None if value is None or isinstance(value, bool) else int(value)
    except (TypeError, ValueError, OverflowError):
        return None

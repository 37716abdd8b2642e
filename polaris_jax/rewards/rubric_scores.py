"""``RubricScores``: a judge's scores, range-checked, with totals computed here."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from polaris_jax.llm.replies import UnreadableReply, read_number, read_value
from polaris_jax.rewards.dimensions import BONUS, DIMENSIONS, NEGATIVE, PENALTY, POSITIVE, Dimension

_TOTALS = ("positive_total", "negative_total", "bonus_total", "penalty_total", "overall_score")
_TOLERANCE = 1e-6  # points; a smaller difference is rounding, not a disagreement


class InvalidJudgeReply(ValueError):
    """A reply without usable scores.

    Attributes:
      kind: one of ``UnreadableReply``, or ``incomplete`` (a score is missing or not a number), or ``out_of_range``.
    """

    def __init__(self, kind: str, detail: str):
        super().__init__(f"{kind}: {detail}")
        self.kind, self.detail = kind, detail


@dataclass(frozen=True)
class RubricScores:
    """One judge's scores of one story by the Story Quality rubric.

    Attributes:
      scores: dimension id → score within its range, all eighteen.
      stated: the totals that the judge wrote, if any.
    """

    scores: Mapping[str, float]
    stated: Mapping[str, float] = field(default_factory=dict)

    @property
    def positive(self) -> float:
        """P1 + ... + P6, 0-100."""
        return sum(self.scores[d.id] for d in POSITIVE)

    @property
    def negative(self) -> float:
        """N1 + ... + N10, 0-151."""
        return sum(self.scores[d.id] for d in NEGATIVE)

    @property
    def bonus(self) -> float:
        """0-8."""
        return self.scores[BONUS.id]

    @property
    def penalty(self) -> float:
        """0-8."""
        return self.scores[PENALTY.id]

    @property
    def disagreements(self) -> dict[str, tuple[float, float]]:
        """Totals that the judge got wrong: name → (stated total, sum of its scores)."""
        overall = self.positive - self.negative + self.bonus - self.penalty
        ours = dict(zip(_TOTALS, (self.positive, self.negative, self.bonus, self.penalty, overall), strict=True))
        return {
            name: (value, ours[name]) for name, value in self.stated.items() if abs(value - ours[name]) > _TOLERANCE
        }


def read_rubric_scores(reply: str | Mapping) -> RubricScores:
    """Reads the scores in a reply, under the long keys of the full rubric or the ids of the brief one.

    BONUS and PENALTY are 0 when missing, the rubric's default. A score may be text, also with the dimension's highest
    score (``"7/15"``).

    Raises:
      InvalidJudgeReply: the reply is not JSON, or a score is missing, not a number, or out of its range.
    """
    if not isinstance(reply, str):
        return _rubric_scores(reply)
    try:
        return read_value(reply, _rubric_scores)
    except UnreadableReply as wrong:
        raise InvalidJudgeReply(wrong.kind, wrong.detail) from None


def _rubric_scores(content: object) -> RubricScores:
    if not isinstance(content, Mapping):
        raise InvalidJudgeReply("invalid_json", f"a JSON {type(content).__name__}, not an object")
    nested = content.get("global_evaluation")
    content = nested if isinstance(nested, Mapping) else content
    scores = {dimension.id: _score(content, dimension) for dimension in DIMENSIONS}
    stated = {name: float(number) for name in _TOTALS if (number := read_number(content.get(name))) is not None}
    return RubricScores(scores, stated)


def _score(content: Mapping, dimension: Dimension) -> float:
    key = dimension.score_key if dimension.score_key in content else dimension.id
    value = content.get(key)
    if value is None and dimension in (BONUS, PENALTY):
        return 0.0
    number = read_number(value, out_of=dimension.most)
    if number is None:
        raise InvalidJudgeReply("incomplete", f"{key} is {'missing' if value is None else _brief(value)}")
    if not 0 <= number <= dimension.most:
        raise InvalidJudgeReply("out_of_range", f"{key}={number:g} is not in 0-{dimension.most}")
    return float(number)


def _brief(value: object) -> str:
    """A value in a few characters. Python refuses to print very large numbers, so they are described."""
    return "a number beyond all numbers" if isinstance(value, int) and abs(value) > 1e300 else repr(value)[:40]

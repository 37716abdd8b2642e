"""``ScoreSheet``: a judge's scores, range-checked, with totals that we add up ourselves."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from polaris_jax.rewards.dimensions import BONUS, DIMENSIONS, NEGATIVE, PENALTY, POSITIVE, Dimension
from polaris_jax.rewards.reply import read_object

_TOTALS = ("positive_total", "negative_total", "bonus_total", "penalty_total", "overall_score")
_TOLERANCE = 1e-6  # points; only rounding is no disagreement


class BadSheet(ValueError):
    """A reply that holds no usable scores.

    Attributes:
      kind: ``invalid_json``, ``incomplete`` (a score is missing or no number) or ``out_of_range``.
    """

    def __init__(self, kind: str, detail: str):
        super().__init__(f"{kind}: {detail}")
        self.kind, self.detail = kind, detail


@dataclass(frozen=True)
class ScoreSheet:
    """One judge's scores of one story.

    Attributes:
      scores: id of the dimension → score within its range, all eighteen.
      said: totals as the judge wrote them, where it did.
    """

    scores: Mapping[str, float]
    said: Mapping[str, float] = field(default_factory=dict)

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
        """Totals that the judge got wrong: name → (what it said, what its scores add up to)."""
        overall = self.positive - self.negative + self.bonus - self.penalty
        ours = dict(zip(_TOTALS, (self.positive, self.negative, self.bonus, self.penalty, overall), strict=True))
        return {name: (said, ours[name]) for name, said in self.said.items() if abs(said - ours[name]) > _TOLERANCE}


def read_sheet(reply: str | Mapping) -> ScoreSheet:
    """The scores in a reply, under the long keys of the full rubric or the ids of the brief one.

    BONUS and PENALTY are 0 when left out, as the rubric says they are by default.

    Raises:
      BadSheet: it is not JSON, or a score is missing, no number, or out of its range.
    """
    try:
        content = read_object(reply) if isinstance(reply, str) else dict(reply)
    except ValueError as error:
        raise BadSheet("invalid_json", str(error)) from None
    scores = {dimension.id: _score(content, dimension) for dimension in DIMENSIONS}
    said = {name: float(content[name]) for name in _TOTALS if _is_number(content.get(name))}
    return ScoreSheet(scores, said)


def _score(content: Mapping, dimension: Dimension) -> float:
    key = dimension.score_key if dimension.score_key in content else dimension.id
    value = content.get(key)
    if value is None and dimension in (BONUS, PENALTY):
        return 0.0
    if not _is_number(value):
        raise BadSheet("incomplete", f"{key} is {'missing' if value is None else repr(value)[:40]}")
    if not 0 <= value <= dimension.most:
        raise BadSheet("out_of_range", f"{key}={value:g} is not in 0-{dimension.most}")
    return float(value)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

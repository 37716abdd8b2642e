"""Story Quality: turns a judge's scores into one number (POLARIS §3.3.4 and §3.3.5)."""

from dataclasses import dataclass

import numpy as np

from polaris_jax.errors import InputError
from polaris_jax.options import ANY_NUMBER, NOT_NEGATIVE, Bounds, check, option
from polaris_jax.rewards.length import LengthTarget
from polaris_jax.rewards.rubric_scores import RubricScores


@dataclass(frozen=True)
class QualitySpec:
    """How totals become a score: overall = scale * (P - N + bonus - penalty) + bias, in points, clipped.

    The defaults are the recipe's.

    Raises:
      InputError: a field is out of range.
    """

    bonus_floor: bool = option(True, doc="no bonus for a story that loses more than half of the points it earns")
    penalty_cap: float | None = option(
        3.0,
        bounds=NOT_NEGATIVE,
        doc="most penalty for a story that earns 1.5 times what it loses, points; None: no cap",
    )
    scale: float = option(1.0, bounds=ANY_NUMBER, doc="factor of the overall score")
    bias: float = option(0.0, bounds=ANY_NUMBER, doc="added to the overall score, points")
    least: float = option(-159.0, bounds=ANY_NUMBER, doc="lowest overall score, points")
    most: float = option(108.0, bounds=ANY_NUMBER, doc="highest overall score, points")
    divisor: float = option(
        100.0, bounds=Bounds("points per unit of reward, more than 0", above=0), doc="points per unit of reward"
    )
    positive_only: bool = option(False, doc="leave the N dimensions out: (P + bonus - penalty) / divisor")
    dq: bool = option(
        False, doc="disqualify incoherent, overwritten or far too short stories: they get the lowest score"
    )
    dq_n2: float = option(7.0, bounds=ANY_NUMBER, doc="score of N2 from which a story is disqualified")
    dq_n10: float = option(8.0, bounds=ANY_NUMBER, doc="score of N10 from which a story is disqualified")
    dq_words: float = option(
        0.40,
        bounds=NOT_NEGATIVE,
        doc="share of the requested length below which a story is disqualified",
    )
    dq_references: bool = option(False, doc="human references can be disqualified too")

    def __post_init__(self) -> None:
        check(self)
        if self.least > self.most:
            raise InputError("least", self.least, f"must not exceed most={self.most}")


@dataclass(frozen=True)
class Overall:
    """An overall score and its derivation.

    Attributes:
      points: after floor, cap, scale, bias, disqualification and clipping.
      bonus, penalty: after floor and cap.
      bonus_floored, penalty_capped: whether floor and cap applied.
      disqualified: the reasons (``n2``, ``n10``, ``words``), or empty.
      before: points before the disqualification.
    """

    points: float
    bonus: float
    penalty: float
    bonus_floored: bool
    penalty_capped: bool
    disqualified: tuple[str, ...] = ()
    before: float | None = None


def overall(
    positive: float, negative: float, bonus: float, penalty: float, spec: QualitySpec, reasons: tuple[str, ...] = ()
) -> Overall:
    """The overall score of four totals, all in points. Any of ``reasons`` disqualifies it (``disqualification``)."""
    floored = spec.bonus_floor and negative > positive / 2
    capped = spec.penalty_cap is not None and positive > 1.5 * negative and penalty > spec.penalty_cap
    bonus = 0.0 if floored else float(bonus)
    penalty = float(spec.penalty_cap if capped and spec.penalty_cap is not None else penalty)
    before = spec.scale * (positive - negative + bonus - penalty) + spec.bias
    points = float(np.clip(spec.least if reasons else before, spec.least, spec.most))
    return Overall(points, bonus, penalty, floored, capped, reasons, float(before))


def disqualification(
    n2: float | None,
    n10: float | None,
    length_share: float | None,
    spec: QualitySpec,
    is_human_reference: bool = False,
) -> tuple[str, ...]:
    """Why a story is disqualified; empty when it is not, or when the check is off (no ``dq``, or a human reference).

    Args:
      n2, n10: scores of these dimensions; None does not disqualify.
      length_share: written length over requested length; None when no length was requested.
    """
    if not spec.dq or (is_human_reference and not spec.dq_references):
        return ()
    wrong = {
        "n2": n2 is not None and n2 >= spec.dq_n2,
        "n10": n10 is not None and n10 >= spec.dq_n10,
        "words": length_share is not None and length_share < spec.dq_words,
    }
    return tuple(reason for reason, applies in wrong.items() if applies)


def story_quality(
    scores: RubricScores,
    spec: QualitySpec,
    story: str = "",
    target: int | LengthTarget | None = None,
    is_human_reference: bool = False,
) -> tuple[float, Overall]:
    """Story Quality of one judge reply, in units of reward (-1.59 to 1.08 by default), and its derivation.

    Args:
      target: requested words or length; None when no length was requested.
    """
    share = None
    if target is not None:
        length = target if isinstance(target, LengthTarget) else LengthTarget.of(target)
        share = None if length.words is None else length.count(story) / max(1, length.words)
    reasons = disqualification(scores.scores["N2"], scores.scores["N10"], share, spec, is_human_reference)
    result = overall(scores.positive, scores.negative, scores.bonus, scores.penalty, spec, reasons)
    if spec.positive_only:
        return (scores.positive + scores.bonus - scores.penalty) / spec.divisor, result
    return result.points / spec.divisor, result

"""Story Quality: from a judge's scores to one number (POLARIS §3.3.4 and §3.3.5)."""

from dataclasses import dataclass

import numpy as np

from polaris_jax.errors import InputError
from polaris_jax.rewards.sheet import ScoreSheet


@dataclass(frozen=True)
class QualitySpec:
    """How totals become a score. The defaults are the recipe's.

    Attributes:
      bonus_floor: no bonus for a story that loses more than half of what it earns.
      penalty_cap: the penalty is at most this for a story that earns 1.5 times what it loses; None is no cap.
      scale, bias: overall = scale * (P - N + bonus - penalty) + bias, in points.
      least, most: points; the overall score is clipped to them.
      divisor: points per unit of reward.
      positive_only: leave the N dimensions out: (P + bonus - penalty) / divisor.
      dq: disqualify incoherent, overwritten or far too short stories: their overall score is ``least``.
      dq_n2, dq_n10: scores of N2 and N10 from which a story is disqualified.
      dq_words: share of the requested words (split at white space) below which it is.
      dq_references: references can be disqualified too.
    """

    bonus_floor: bool = True
    penalty_cap: float | None = 3.0
    scale: float = 1.0
    bias: float = 0.0
    least: float = -159.0
    most: float = 108.0
    divisor: float = 100.0
    positive_only: bool = False
    dq: bool = False
    dq_n2: float = 7.0
    dq_n10: float = 8.0
    dq_words: float = 0.40
    dq_references: bool = False

    def __post_init__(self):
        if self.least > self.most:
            raise InputError("least", self.least, f"must not exceed most={self.most}")
        if self.divisor <= 0:
            raise InputError("divisor", self.divisor, "points per unit of reward, more than 0")


@dataclass(frozen=True)
class Overall:
    """An overall score and how it came about.

    Attributes:
      points: after floor, cap, scale, bias, disqualification and clipping.
      bonus, penalty: as they counted.
      bonus_floored, penalty_capped: whether floor and cap applied.
      disqualified: the reasons: ``n2``, ``n10``, ``words``.
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
    """The overall score of four totals, all in points; ``reasons`` disqualify it (``disqualification``)."""
    floored = spec.bonus_floor and negative > positive / 2
    capped = spec.penalty_cap is not None and positive > 1.5 * negative and penalty > spec.penalty_cap
    bonus = 0.0 if floored else float(bonus)
    penalty = float(spec.penalty_cap if capped else penalty)
    before = spec.scale * (positive - negative + bonus - penalty) + spec.bias
    points = float(np.clip(spec.least if reasons else before, spec.least, spec.most))
    return Overall(points, bonus, penalty, floored, capped, reasons, float(before))


def disqualification(
    n2: float | None, n10: float | None, story: str, target: int | None, spec: QualitySpec, is_reference: bool = False
) -> tuple[str, ...]:
    """Why a story is disqualified; empty when it is not, or the gate is open (``dq`` off, or a reference).

    Args:
      n2, n10: scores of these dimensions; None does not disqualify.
      target: requested words, None when the prompt names no number.
    """
    if not spec.dq or (is_reference and not spec.dq_references):
        return ()
    wrong = {
        "n2": n2 is not None and n2 >= spec.dq_n2,
        "n10": n10 is not None and n10 >= spec.dq_n10,
        "words": target is not None and len(story.split()) < spec.dq_words * target,
    }
    return tuple(reason for reason, applies in wrong.items() if applies)


def story_quality(
    sheet: ScoreSheet, spec: QualitySpec, story: str = "", target: int | None = None, is_reference: bool = False
) -> tuple[float, Overall]:
    """Story Quality of one sheet, in units of reward (-1.59 to 1.08 by default), and how it came about."""
    reasons = disqualification(sheet.scores["N2"], sheet.scores["N10"], story, target, spec, is_reference)
    result = overall(sheet.positive, sheet.negative, sheet.bonus, sheet.penalty, spec, reasons)
    if spec.positive_only:
        return (sheet.positive + sheet.bonus - sheet.penalty) / spec.divisor, result
    return result.points / spec.divisor, result

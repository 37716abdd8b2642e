"""``RewardBreakdown``: a reward and its parts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from polaris_jax.rewards.spec import RewardSpec

COMPONENTS = ("story_quality", "self_rep", "length_pen", "blank_pen", "length_reward")


@dataclass(frozen=True)
class RewardBreakdown:
    """The reward of one response and what it is made of.

    Attributes:
      scalar: the reward; None when the judgement failed: the row leaves the gradient and its group's statistics.
      failed: None, or the kind of failure.
      components: by the names in ``COMPONENTS``, before weights; story_quality is None when nobody judged.
      diagnostics: JSON values: words, target, parts of the quality, disagreements, variance between draws.
    """

    scalar: float | None
    failed: str | None
    components: dict[str, float | None]
    diagnostics: dict[str, Any]

    def to_json(self) -> dict:
        """Plain values."""
        return {"scalar": self.scalar, "failed": self.failed, "components": dict(self.components),
                "diagnostics": dict(self.diagnostics)}  # fmt: skip


def penalties(components: Mapping[str, float | None], spec: RewardSpec) -> float:
    """The weighted sum of the three penalties."""
    return (spec.repetition_weight * components["self_rep"] + spec.length_weight * components["length_pen"]
            + spec.blank_weight * components["blank_pen"])  # fmt: skip

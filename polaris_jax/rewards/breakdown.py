"""``RewardBreakdown``: a reward and its parts."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RewardBreakdown:
    """The reward of one response and its parts.

    Attributes:
      scalar: the reward, or None when the judgement failed. Such a row is left out of the gradient and of its group's
        statistics.
      failed: None, or the kind of failure.
      components: by the names in ``terms.TERMS``, before weights; story_quality is None without a judgement.
      diagnostics: JSON values: words, target, parts of the quality, disagreements, variance between samples.
    """

    scalar: float | None
    failed: str | None
    components: dict[str, float | None]
    diagnostics: dict[str, Any]

    def to_json(self) -> dict:
        """The breakdown as JSON values."""
        return {
            "scalar": self.scalar,
            "failed": self.failed,
            "components": dict(self.components),
            "diagnostics": dict(self.diagnostics),
        }

"""The reward as the released trainer computes it, defects included, for comparison with the intended one.

``reward`` is the arithmetic. ``texts`` reads a response, a prompt and a judge's reply as the trainer does. Every
difference from the intended reward is here; ``rl.released`` does the same for the update. Known defects that are kept:
the judge's totals are trusted and never range-checked; an unclosed thinking block counts as the story; a failed
judgement takes the mean of unrelated rows, or 0; only the value at the last token of a tensor of token rewards is used
(POLARIS §0 and §3).
"""

from polaris_jax.rewards.released.reward import (
    THINK_REWARD_MODES,
    ReleasedQuality,
    ReleasedReward,
    ReleasedRow,
    ReleasedSpec,
    hand_off,
    released_batch,
    released_quality,
    released_score,
)
from polaris_jax.rewards.released.texts import (
    count_words,
    human_response,
    length_target,
    requested_words,
    split_thinking,
)

__all__ = [
    "THINK_REWARD_MODES",
    "ReleasedQuality",
    "ReleasedReward",
    "ReleasedRow",
    "ReleasedSpec",
    "count_words",
    "hand_off",
    "human_response",
    "length_target",
    "released_batch",
    "released_quality",
    "released_score",
    "requested_words",
    "split_thinking",
]

"""The reward as the released trainer computes it, defects included, for comparison with the intended one.

``reward`` is the arithmetic, ``texts`` how the trainer reads a response, a prompt and a judge's reply. Everything that
differs from the intended reward stands here; ``rl.released`` is the same for its update. Known defects that are kept:
the judge's totals are trusted and never range-checked, an unclosed thinking block is the story, a failed judgement
takes the mean of unrelated rows or 0, and of a tensor of token rewards only the value at the last token survives
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

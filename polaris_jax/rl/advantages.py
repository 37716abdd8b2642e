"""Group-relative advantages (GRPO, arXiv 2402.03300) with human-reference injection (HRI; POLARIS, arXiv 2606.04095).

A group is the rollouts of one prompt, perhaps with the human text of the same prompt. Mean and spread come from the
policy's own rows; a human reference is compared with them but does not change them. A row whose judgement failed has
no score: it counts in no statistic and gets no gradient.
"""

from collections.abc import Sequence

import numpy as np

EPSILON = 1e-6


def group_advantages(
    scores: Sequence[float] | np.ndarray,
    groups: Sequence,
    *,
    human_reference: Sequence[bool] | np.ndarray | None = None,
    valid: Sequence[bool] | np.ndarray | None = None,
    exclude_human_references: bool = True,
    normalise: bool = True,
    std_floor: float = 0.0,
    human_reference_limit: float = 0.0,
    human_reference_floor: float | None = None,
) -> np.ndarray:
    """``(score - mean) / (std + 1e-6)`` within each group; std is the sample standard deviation (n - 1).

    A group with one counted row has mean 0 and std 1. If failed judgements left only that row, nothing can be compared
    and the group gets no gradient. A group of human references only uses its own statistics.

    Args:
      scores: ``[B]``; scores of invalid rows are not read.
      groups: ``[B]`` labels.
      human_reference: ``[B]``, rows that the policy did not write.
      valid: ``[B]``, rows with a score.
      exclude_human_references: statistics from policy rows only; otherwise from all rows.
      normalise: divide by the spread.
      std_floor: the smallest spread to divide by. Rollouts with (nearly) equal scores carry no signal, yet without a
        floor their human reference would get an advantage of a million.
      human_reference_limit: advantages of human references are clipped to +- this; 0 is off.
      human_reference_floor: the smallest advantage of a human reference; None is no floor. Without a floor, a human
        text that scores below the rollouts is unlearned. This happens more often as the policy gets better.

    Returns:
      ``[B] float32``, 0 for invalid rows.
    """
    scores = np.asarray(scores, np.float32)
    size = len(scores)
    human = np.zeros(size, bool) if human_reference is None else np.asarray(human_reference, bool)
    scored = np.ones(size, bool) if valid is None else np.asarray(valid, bool)
    advantages = np.zeros(size, np.float32)
    for label in dict.fromkeys(groups):
        here = np.array([group == label for group in groups])
        counted = here & ~human if exclude_human_references and not human[here].all() else here
        left = scores[counted & scored]
        if len(left) == 0 or (len(left) == 1 and counted.sum() > 1):
            continue
        mean, std = (np.float32(0.0), np.float32(1.0)) if len(left) == 1 else (left.mean(), left.std(ddof=1))
        rows = here & scored
        advantages[rows] = scores[rows] - mean
        if normalise:
            advantages[rows] /= max(std, np.float32(std_floor)) + np.float32(EPSILON)
    if human_reference_limit:
        advantages[human] = np.clip(advantages[human], -human_reference_limit, human_reference_limit)
    if human_reference_floor is not None:
        advantages[human & scored] = np.maximum(advantages[human & scored], np.float32(human_reference_floor))
    return np.nan_to_num(advantages, nan=0.0, posinf=0.0, neginf=0.0)

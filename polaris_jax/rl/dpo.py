"""DPO: prefers the chosen answer over the rejected one, relative to a frozen reference (arXiv 2305.18290, eq. 7).

As in ORPO, the loss depends on one number per answer: the sum (or mean) of its log-probabilities. So one pass computes
the log-probabilities, ``dpo_cotangents`` turns them into a weight per token, and the usual training pass follows.
"""

from collections.abc import Sequence

import jax
import numpy as np

from polaris_jax.rl.pair_cotangents import pair_cotangents


def dpo_loss(
    chosen: jax.Array,
    rejected: jax.Array,
    reference_chosen: jax.Array,
    reference_rejected: jax.Array,
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The mean loss over pairs, ``-(1 - e) log sigmoid(m) - e log sigmoid(-m)`` with the margin

    ``m = beta ((chosen - reference_chosen) - (rejected - reference_rejected))``.

    Args:
      chosen, rejected: ``[N]`` log-probabilities of the answers under the policy, nats: sums over their tokens as
        published, or means (length-normalised DPO, arXiv 2411.15124).
      reference_chosen, reference_rejected: the same under the reference.
      beta: how strongly the policy is held to the reference.
      label_smoothing: e, the assumed share of pairs with swapped labels (conservative DPO).

    Returns:
      ``(loss, metrics)``: ``margin`` (mean of m), ``accuracy`` (share of pairs with m above 0), ``chosen_reward`` and
      ``rejected_reward``, whose difference is m.
    """
    rewards = beta * (chosen - reference_chosen), beta * (rejected - reference_rejected)
    margin = rewards[0] - rewards[1]
    loss = -(1 - label_smoothing) * jax.nn.log_sigmoid(margin) - label_smoothing * jax.nn.log_sigmoid(-margin)
    return loss.mean(), {
        "margin": margin.mean(),
        "accuracy": (margin > 0).mean(),
        "chosen_reward": rewards[0].mean(),
        "rejected_reward": rewards[1].mean(),
    }


def dpo_cotangents(
    values: Sequence[float] | np.ndarray,
    reference: Sequence[float] | np.ndarray,
    chosen: Sequence[int],
    rejected: Sequence[int],
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> tuple[dict[str, float], np.ndarray]:
    """The loss of a batch of pairs and, per row, minus its derivative with respect to the row's log-probability.

    Args:
      values, reference: per row, its sum (or mean) of log-probabilities under the policy and under the reference.
      chosen, rejected: rows of each pair.

    Returns:
      ``(metrics with "loss", [rows] float32)``.
    """
    frozen = np.asarray(reference, np.float32)
    sides = [frozen[np.asarray(rows)] for rows in (chosen, rejected)]
    return pair_cotangents(
        lambda c, r: dpo_loss(c, r, sides[0], sides[1], beta=beta, label_smoothing=label_smoothing),
        values,
        chosen,
        rejected,
    )

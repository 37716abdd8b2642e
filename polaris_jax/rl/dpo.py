"""DPO: prefers the chosen answer over the rejected one, relative to a frozen reference (arXiv 2305.18290, eq. 7).

As in ORPO, the loss depends on one number per answer: the sum (or mean) of its log-probabilities. So one pass computes
the log-probabilities, ``dpo_cotangents`` turns them into a weight per token, and the usual training pass follows.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


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
    policy, frozen = np.asarray(values, np.float32), np.asarray(reference, np.float32)
    sides = [np.asarray(chosen), np.asarray(rejected)]
    (loss, metrics), slopes = jax.value_and_grad(
        lambda c, r: dpo_loss(c, r, frozen[sides[0]], frozen[sides[1]], beta=beta, label_smoothing=label_smoothing),
        argnums=(0, 1),
        has_aux=True,
    )(jnp.asarray(policy[sides[0]]), jnp.asarray(policy[sides[1]]))
    shares = np.zeros(len(policy), np.float32)
    for rows, slope in zip(sides, slopes, strict=True):
        np.add.at(shares, rows, -np.asarray(slope))
    return {"loss": float(loss)} | {name: float(value) for name, value in metrics.items()}, shares

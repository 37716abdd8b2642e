"""ORPO: prefers the human chapter over a model's draft of the same plan (arXiv 2403.07691, eqs. 6 and 7).

The loss is the chosen text's negative log-likelihood per token plus ``beta`` times ``-log sigmoid`` of the log odds
ratio. It is a function of two mean log-probabilities, so its gradient is a weighted sum of token gradients. One pass
computes the log-probabilities, ``cotangents`` turns them into a weight per token, and the usual pass (the same as for
GRPO) does the rest, in any packing and on any mesh.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from polaris_jax.rl.pair_cotangents import pair_cotangents


def orpo_loss(chosen: jax.Array, rejected: jax.Array, beta: float) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The mean loss over pairs.

    Args:
      chosen, rejected: ``[N]`` mean log-probabilities per token, nats, below 0.
      beta: weight of the odds ratio (the book authors' run used 1).

    Returns:
      ``(loss, metrics)``: ``likelihood`` and ``odds`` (its two parts), ``preferred`` (share of pairs whose chosen text
      is more likely) and ``log_odds_ratio``.
    """
    ratio = _log_odds(chosen) - _log_odds(rejected)
    likelihood, odds = -chosen.mean(), -jax.nn.log_sigmoid(ratio).mean()
    return likelihood + beta * odds, {
        "likelihood": likelihood,
        "odds": odds,
        "log_odds_ratio": ratio.mean(),
        "preferred": (ratio > 0).mean(),
    }


def _log_odds(mean_logprob: jax.Array) -> jax.Array:
    """``log(p / (1 - p))``; p stays far enough below 1 that ``1 - p`` does not round to 0."""
    return mean_logprob - jnp.log1p(-jnp.exp(jnp.minimum(mean_logprob, -1e-6)))


def orpo_cotangents(
    means: Sequence[float] | np.ndarray, chosen: Sequence[int], rejected: Sequence[int], beta: float
) -> tuple[dict[str, float], np.ndarray]:
    """The loss of a batch of pairs and, per row, minus its derivative with respect to the row's mean log-probability.

    Args:
      means: per row, nats. chosen, rejected: rows of each pair.

    Returns:
      ``(metrics with "loss", [rows] float32)``.
    """
    return pair_cotangents(lambda c, r: orpo_loss(c, r, beta), means, chosen, rejected)


def cotangents(
    logprobs: Sequence[np.ndarray], chosen: Sequence[int], rejected: Sequence[int], beta: float
) -> tuple[dict[str, float], list[np.ndarray]]:
    """The loss of a batch of pairs and, per token, minus its derivative with respect to the log-probability.

    Args:
      logprobs: per row, ``[T]`` nats over the response.
      chosen, rejected: rows of each pair.

    Returns:
      ``(metrics with "loss", one array [T] per row)``.
    """
    lengths = np.array([max(len(row), 1) for row in logprobs], np.float32)
    means = np.array([row.sum() for row in logprobs], np.float32) / lengths
    metrics, shares = orpo_cotangents(means, chosen, rejected, beta)
    return metrics, [
        np.full(len(row), share / length, np.float32)
        for row, share, length in zip(logprobs, shares, lengths, strict=True)
    ]

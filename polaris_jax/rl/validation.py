"""Validation: one response to each held-out prompt, the same rewards, and the distributions of their values."""

from collections.abc import Sequence

import numpy as np

from polaris_jax.rl.groups import length_error
from polaris_jax.rl.journal import Reward

MOST_POINTS = 20_000
QUANTILES = (5, 25, 50, 75, 95)


def validation_metrics(rewards: Sequence[Reward], *, distributions: bool = False, bins: int = 50) -> dict:
    """Means and, on request, distributions of all values in the rewards.

    Returns:
      ``{"reward": mean, "failed": count, "length_error": ..., component: mean, ...}``; with ``distributions`` also
      ``"distributions"``: the result of ``distribution`` per name.
    """
    columns: dict[str, list[float]] = {}
    for reward in rewards:
        numbers = {"reward": reward.scalar, "length_error": length_error(reward), **reward.breakdown["components"]}
        for name, value in numbers.items():
            if value is not None:
                columns.setdefault(name, []).append(float(value))
    metrics: dict = {name: float(np.mean(values)) for name, values in columns.items()}
    metrics["failed"] = sum(reward.scalar is None for reward in rewards)
    if distributions:
        metrics["distributions"] = {name: distribution(values, bins) for name, values in columns.items()}
    return metrics


def distribution(values: Sequence[float], bins: int = 50) -> dict:
    """Count, mean, standard deviation (population), extremes, quantiles and histogram; at most 20,000 points."""
    points = np.asarray(values, np.float64)
    points = points[np.isfinite(points)]
    if len(points) > MOST_POINTS:
        points = points[np.linspace(0, len(points) - 1, MOST_POINTS).round().astype(int)]
    if not len(points):
        return {"n": 0}
    counts, edges = np.histogram(points, bins)
    return {
        "n": len(points),
        "mean": float(points.mean()),
        "std": float(points.std()),
        "min": float(points.min()),
        "max": float(points.max()),
        **{f"p{q:02d}": float(np.percentile(points, q)) for q in QUANTILES},
        "histogram": {"counts": counts.tolist(), "edges": edges.tolist()},
    }

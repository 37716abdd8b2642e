"""Bootstrap confidence intervals (percentile method) over stories, or over prompts where stories share one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

SAMPLES = 2_000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its confidence interval (both equal the estimate if nothing can be resampled)."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict:
        """The interval as JSON values."""
        return {"value": self.value, "low": self.low, "high": self.high}


def bootstrap(
    values: Sequence | np.ndarray,
    statistic: Callable[[np.ndarray], float] = np.mean,
    *,
    clusters: Sequence | np.ndarray | None = None,
    samples: int = SAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a statistic.

    Args:
      values: ``[n]``, or ``[n, k]`` for a statistic other than the mean; at least one row. Rows are resampled.
      statistic: a function of such an array. A resample for which it is NaN is left out. The mean is fast.
      clusters: ``[n]`` labels; rows with one label are resampled together (several stories on one prompt).
      samples: number of resamples.
      level: confidence level of the interval.
    """
    array = np.asarray(values, float)
    rng = np.random.default_rng(seed)
    value = float(statistic(array))
    members: Sequence = range(len(array)) if clusters is None else _members(clusters)
    if statistic is np.mean:
        draws = _means(array, members, samples, rng)
    else:
        rows = [np.atleast_1d(member) for member in members]
        draws = np.array(
            [
                statistic(array[np.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))])])
                for _ in range(samples)
            ],
            float,
        )
    return Interval(value, *percentiles(draws[np.isfinite(draws)], level, value))


def percentiles(draws: np.ndarray, level: float, otherwise: float) -> tuple[float, float]:
    """The ends of the central ``level`` share of the draws; ``otherwise`` for both ends without draws."""
    if not len(draws):
        return otherwise, otherwise
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _members(clusters: Sequence | np.ndarray) -> list[np.ndarray]:
    labels = np.asarray(clusters)
    return [np.flatnonzero(labels == label) for label in dict.fromkeys(labels.tolist())]


def _means(array: np.ndarray, members: Sequence, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Means of resampled clusters from their sums and sizes, several resamples at a time."""
    sums = np.array([array[member].sum() for member in members])
    sizes = np.array([np.size(member) for member in members])
    at_once = max(1, 4_000_000 // len(members))
    means = []
    for first in range(0, samples, at_once):
        picks = rng.integers(0, len(members), (min(at_once, samples - first), len(members)))
        means.append(sums[picks].sum(1) / sizes[picks].sum(1))
    return np.concatenate(means) if means else np.zeros(0)

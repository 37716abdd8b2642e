"""Effect size of one measure between two groups, with its interval.

The effect is Cliff's delta (Cliff, 1993): the probability that a value of the first group lies above one of the second,
minus that it lies below, from -1 to 1; it needs no normal distribution and no common unit. Intervals are percentile
bootstrap over clusters (texts of one author are resampled together), both groups resampled. Dominance counts are made
once per pair of clusters, so that a resample is two products with a small matrix.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from polaris_jax import storage
from polaris_jax.evals.intervals import percentiles

NEGLIGIBLE = 0.147  # a smaller effect is called negligible (Romano et al., 2006)
RESAMPLES = 4_000


@dataclass(frozen=True)
class Sample:
    """Values of one measure in one group: ``values [n] float64`` without NaN, and their cluster ``labels [n]``."""

    values: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, values: Sequence[float], labels: Sequence[str]) -> "Sample":
        """Without the values that are NaN."""
        array = np.asarray(values, float)
        kept = np.isfinite(array)
        return cls(array[kept], np.asarray(labels, object)[kept])

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Contrast:
    """The first group against the second.

    Attributes:
      mean_a, mean_b: means of the values.
      delta: Cliff's delta of a over b; low, high: its 95 % interval.
      sure_low, sure_high: the family-wise interval, wider when many measures are tested together (Bonferroni).
      n_a, n_b: numbers of values.
      clusters_a, clusters_b: numbers of clusters; values of different clusters are independent.
    """

    mean_a: float
    mean_b: float
    delta: float
    low: float
    high: float
    sure_low: float
    sure_high: float
    n_a: int
    n_b: int
    clusters_a: int
    clusters_b: int

    @property
    def separates(self) -> bool:
        """Whether the groups differ: the family-wise interval excludes 0 and the effect is not negligible."""
        return (self.sure_low > 0 or self.sure_high < 0) and abs(self.delta) >= NEGLIGIBLE

    def to_json(self) -> dict:
        """As JSON values; a contrast that could not be made has nulls."""
        return storage.finite(asdict(self)) | {"separates": self.separates}


def contrast(a: Sample, b: Sample, *, family: int = 1, resamples: int = RESAMPLES, seed: int = 0) -> Contrast:
    """Cliff's delta of ``a`` over ``b``.

    Args:
      family: number of measures tested together; the ``sure`` interval has level 1 - 0.05 / family (Bonferroni).
    """
    if not len(a) or not len(b):
        mean_a, mean_b = (float(sample.values.mean()) if len(sample) else math.nan for sample in (a, b))
        nan = math.nan
        return Contrast(mean_a, mean_b, nan, nan, nan, nan, nan, len(a), len(b), 0, 0)
    wins, sizes_a, sizes_b = dominance(a, b)
    rng = np.random.default_rng(seed)
    draws = resampled(wins, sizes_a, sizes_b, draw(len(sizes_a), resamples, rng), draw(len(sizes_b), resamples, rng))
    delta = float(wins.sum() / (sizes_a.sum() * sizes_b.sum()))
    low, high = percentiles(draws, 0.95, delta)
    sure_low, sure_high = percentiles(draws, 1 - 0.05 / family, delta)
    return Contrast(
        float(a.values.mean()),
        float(b.values.mean()),
        delta,
        low,
        high,
        sure_low,
        sure_high,
        len(a),
        len(b),
        len(sizes_a),
        len(sizes_b),
    )


@dataclass(frozen=True)
class Shift:
    """How much nearer to the baseline the second group lies than the first: ``|delta a| - |delta b|``, and its 95 %
    interval. Above 0 means that b is nearer to the baseline."""

    value: float
    low: float
    high: float


def shift(a: Sample, b: Sample, baseline: Sample, *, resamples: int = RESAMPLES, seed: int = 0) -> Shift:
    """Whether ``b`` is nearer to ``baseline`` than ``a`` is; the baseline is resampled once for both."""
    if not (len(a) and len(b) and len(baseline)):
        return Shift(math.nan, math.nan, math.nan)
    rng = np.random.default_rng(seed)
    wins_a, sizes_a, sizes = dominance(a, baseline)
    wins_b, sizes_b, _ = dominance(b, baseline)
    drawn = draw(len(sizes), resamples, rng)
    of_a = resampled(wins_a, sizes_a, sizes, draw(len(sizes_a), resamples, rng), drawn)
    of_b = resampled(wins_b, sizes_b, sizes, draw(len(sizes_b), resamples, rng), drawn)
    value = abs(wins_a.sum() / (sizes_a.sum() * sizes.sum())) - abs(wins_b.sum() / (sizes_b.sum() * sizes.sum()))
    return Shift(float(value), *percentiles(np.abs(of_a) - np.abs(of_b), 0.95, float(value)))


def dominance(a: Sample, b: Sample) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``wins [A, B]``: pairs with cluster i of a above cluster j of b, minus those below; and both cluster sizes."""
    clusters_a, clusters_b = _clusters(a), _clusters(b)
    wins = np.array([[_pairs_above(x, y) for y in clusters_b] for x in clusters_a], float)
    return wins, np.array([len(x) for x in clusters_a], float), np.array([len(y) for y in clusters_b], float)


def draw(clusters: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """``[resamples, clusters]``: how often each cluster is drawn."""
    return rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples).astype(float)


def resampled(
    wins: np.ndarray, sizes_a: np.ndarray, sizes_b: np.ndarray, drawn_a: np.ndarray, drawn_b: np.ndarray
) -> np.ndarray:
    """``[resamples]``: Cliff's delta in each resample."""
    return ((drawn_a @ wins) * drawn_b).sum(axis=1) / ((drawn_a @ sizes_a) * (drawn_b @ sizes_b))


def _clusters(sample: Sample) -> list[np.ndarray]:
    return [np.sort(sample.values[sample.labels == label]) for label in dict.fromkeys(sample.labels.tolist())]


def _pairs_above(x: np.ndarray, y: np.ndarray) -> int:
    """Pairs with x above y minus pairs with x below y; ``y`` is sorted."""
    return int(np.searchsorted(y, x, "left").sum() - (len(y) - np.searchsorted(y, x, "right")).sum())

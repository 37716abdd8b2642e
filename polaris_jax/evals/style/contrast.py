"""Two groups, one measure: effect size and its interval.

The effect is Cliff's delta (Cliff, 1993): how much likelier a value of the first group lies above one of the second
than below it, from -1 to 1; it needs no normal distribution and no common unit. Intervals are percentile bootstrap over
clusters (what one author wrote is drawn together), both groups resampled. All dominance counts are made once, per
pair of clusters, so that a resample is two products with a small matrix.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from polaris_jax.evals.intervals import percentiles

NEGLIGIBLE = 0.147  # below it an effect is called negligible (Romano et al., 2006)
RESAMPLES = 4_000


@dataclass(frozen=True)
class Sample:
    """Values of one measure in one group: ``values [n] float64`` without NaN, and their cluster ``labels [n]``."""

    values: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, values: Sequence[float], labels: Sequence[str]) -> "Sample":
        """Leaves out what has no value."""
        array = np.asarray(values, float)
        kept = np.isfinite(array)
        return cls(array[kept], np.asarray(labels, object)[kept])

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Contrast:
    """The first group against the second.

    Attributes:
      mean_a, mean_b: of the values.
      delta: Cliff's delta of a over b; low, high: its 95 % interval.
      sure_low, sure_high: the interval at the family's level, wider when many measures are looked at together.
      clusters_a, clusters_b: independent pieces of evidence.
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
        """Whether the groups differ: the family's interval leaves 0 out and the effect is not negligible."""
        return (self.sure_low > 0 or self.sure_high < 0) and abs(self.delta) >= NEGLIGIBLE

    def to_json(self) -> dict:
        """As JSON values; a contrast that could not be made has nulls."""
        row = {name: value if isinstance(value, int) or math.isfinite(value) else None
               for name, value in asdict(self).items()}
        return row | {"separates": self.separates}


def contrast(a: Sample, b: Sample, *, family: int = 1, resamples: int = RESAMPLES, seed: int = 0) -> Contrast:
    """Cliff's delta of ``a`` over ``b``.

    Args:
      family: how many measures are judged together; the ``sure`` interval has level 1 - 0.05 / family (Bonferroni).
    """
    if not len(a) or not len(b):
        means = (float(s.values.mean()) if len(s) else math.nan for s in (a, b))
        return Contrast(*means, *[math.nan] * 5, len(a), len(b), 0, 0)
    wins, sizes_a, sizes_b = dominance(a, b)
    rng = np.random.default_rng(seed)
    draws = resampled(wins, sizes_a, sizes_b, draw(len(sizes_a), resamples, rng), draw(len(sizes_b), resamples, rng))
    delta = float(wins.sum() / (sizes_a.sum() * sizes_b.sum()))
    low, high = percentiles(draws, 0.95, delta)
    sure_low, sure_high = percentiles(draws, 1 - 0.05 / family, delta)
    return Contrast(float(a.values.mean()), float(b.values.mean()), delta, low, high, sure_low, sure_high,
                    len(a), len(b), len(sizes_a), len(sizes_b))


@dataclass(frozen=True)
class Shift:
    """How much nearer to the reference the second group lies than the first: ``|delta a| - |delta b|``, and its 95 %
    interval. Above 0 means that b moved towards the reference."""

    value: float
    low: float
    high: float


def shift(a: Sample, b: Sample, reference: Sample, *, resamples: int = RESAMPLES, seed: int = 0) -> Shift:
    """Whether ``b`` is nearer to ``reference`` than ``a`` is; the reference is resampled once for both."""
    if not (len(a) and len(b) and len(reference)):
        return Shift(math.nan, math.nan, math.nan)
    rng = np.random.default_rng(seed)
    wins_a, sizes_a, sizes = dominance(a, reference)
    wins_b, sizes_b, _ = dominance(b, reference)
    drawn = draw(len(sizes), resamples, rng)
    of_a = resampled(wins_a, sizes_a, sizes, draw(len(sizes_a), resamples, rng), drawn)
    of_b = resampled(wins_b, sizes_b, sizes, draw(len(sizes_b), resamples, rng), drawn)
    value = abs(wins_a.sum() / (sizes_a.sum() * sizes.sum())) - abs(wins_b.sum() / (sizes_b.sum() * sizes.sum()))
    return Shift(float(value), *percentiles(np.abs(of_a) - np.abs(of_b), 0.95, float(value)))


def dominance(a: Sample, b: Sample) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``wins [A, B]``: pairs in which cluster i of a lies above cluster j of b, less those below; cluster sizes."""
    clusters_a, clusters_b = _clusters(a), _clusters(b)
    wins = np.array([[_pairs_above(x, y) for y in clusters_b] for x in clusters_a], float)
    return wins, np.array([len(x) for x in clusters_a], float), np.array([len(y) for y in clusters_b], float)


def draw(clusters: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """``[resamples, clusters]``: how often each cluster is drawn."""
    return rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples).astype(float)


def resampled(wins: np.ndarray, sizes_a: np.ndarray, sizes_b: np.ndarray, drawn_a: np.ndarray,
              drawn_b: np.ndarray) -> np.ndarray:
    """``[resamples]``: Cliff's delta in each resample."""
    return ((drawn_a @ wins) * drawn_b).sum(axis=1) / ((drawn_a @ sizes_a) * (drawn_b @ sizes_b))


def _clusters(sample: Sample) -> list[np.ndarray]:
    return [np.sort(sample.values[sample.labels == label]) for label in dict.fromkeys(sample.labels.tolist())]


def _pairs_above(x: np.ndarray, y: np.ndarray) -> int:
    """Pairs with x above y less pairs with x below y; ``y`` is sorted."""
    return int(np.searchsorted(y, x, "left").sum() - (len(y) - np.searchsorted(y, x, "right")).sum())

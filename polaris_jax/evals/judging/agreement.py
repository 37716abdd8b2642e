"""Agreement between judges: Krippendorff's alpha, rank correlations, and mean differences."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from polaris_jax.evals.intervals import Interval, bootstrap


class PairAgreement(NamedTuple):
    """Two judges over the stories that both scored; correlations are None when a judge gave only equal scores."""

    a: str
    b: str
    stories: int
    spearman: float | None
    kendall: float | None
    mean_difference: Interval


def krippendorff_alpha(scores: Sequence[Sequence[float]]) -> float | None:
    """Krippendorff's alpha for interval data (Krippendorff 2004, ch. 11): 1 is agreement, 0 is chance.

    Args:
      scores: ``[judges, stories]``; NaN where a judge has no score. Stories with fewer than two scores do not count.

    Returns:
      alpha, or None if no story has two scores or all scores are equal.
    """
    table = np.asarray(scores, float)
    if table.size == 0:
        return None
    counts = np.isfinite(table).sum(0)
    table, counts = table[:, counts >= 2], counts[counts >= 2]
    values = table[np.isfinite(table)]
    n = len(values)
    if n < 2:
        return None
    # Squared differences over ordered pairs: sum_ij (x_i - x_j)^2 = 2 m sum x^2 - 2 (sum x)^2; centred for precision.
    centre = values.mean()
    shifted = np.where(np.isfinite(table), table - centre, 0.0)
    within = 2 * counts * (shifted**2).sum(0) - 2 * shifted.sum(0) ** 2
    observed = float((within / (counts - 1)).sum()) / n
    expected = float(2 * n * ((values - centre) ** 2).sum() - 2 * (values - centre).sum() ** 2) / (n * (n - 1))
    return 1 - observed / expected if expected > 0 else None


def pair_agreements(names: Sequence[str], scores: Sequence[Sequence[float]], seed: int = 0) -> list[PairAgreement]:
    """Every pair of judges with at least three stories in common; ``scores`` as for ``krippendorff_alpha``."""
    from scipy import stats  # takes seconds to import, and is an extra: ``BENCHES`` must not need it

    table = np.asarray(scores, float)
    rows = []
    for i, j in combinations(range(len(names)), 2):
        both = np.isfinite(table[i]) & np.isfinite(table[j])
        x, y = table[i][both], table[j][both]
        if len(x) < 3:
            continue
        varied = np.ptp(x) > 0 and np.ptp(y) > 0
        rows.append(
            PairAgreement(
                names[i],
                names[j],
                len(x),
                float(stats.spearmanr(x, y).statistic) if varied else None,
                float(stats.kendalltau(x, y).statistic) if varied else None,
                bootstrap(x - y, seed=seed),
            )
        )
    return rows

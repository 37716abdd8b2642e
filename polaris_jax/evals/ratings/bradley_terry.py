"""Bradley-Terry strengths by Newton's method, many resamples at once.

Player i beats player j with probability 1 / (1 + exp(s_j - s_i)) (Bradley & Terry 1952). The log-likelihood of the
points is concave; a small ridge keeps the fit finite when a player won or lost every game. Draws and narrow wins are
fractional points, so the fit is a quasi-likelihood: intervals come from the bootstrap, not from its curvature.
"""

import numpy as np

RIDGE = 1e-2
_ITERATIONS = 100
_TOLERANCE = 1e-10


def bradley_terry(points: np.ndarray, ridge: float = RIDGE) -> np.ndarray:
    """Strengths with mean zero, in nats.

    Maximises ``sum_ij points[i, j] * log sigmoid(s_i - s_j) - ridge * sum_i s_i**2``.

    Args:
      points: ``[..., n, n] >= 0``; entry ``[i, j]`` is what i scored against j. Leading axes are separate problems.
      ridge: 0 gives pure maximum likelihood. It exists only if every player both won and lost against the rest,
        directly or through others (Ford 1957).

    Returns:
      ``[..., n]``.
    """
    points = np.asarray(points, float)
    n = points.shape[-1]
    games = points + np.swapaxes(points, -1, -2)
    strengths = np.zeros(points.shape[:-1])
    for _ in range(_ITERATIONS):
        gap = strengths[..., :, None] - strengths[..., None, :]
        wins = 1.0 / (1.0 + np.exp(-np.clip(gap, -500, 500)))
        gradient = (points - games * wins).sum(-1) - 2 * ridge * strengths
        weight = games * wins * np.swapaxes(wins, -1, -2)
        curvature = -weight
        diagonal = np.arange(n)
        curvature[..., diagonal, diagonal] = weight.sum(-1) - weight[..., diagonal, diagonal] + 2 * ridge
        # Only differences matter: ones/n fixes the mean and does not change the rest of the step.
        step = np.linalg.solve(curvature + 1.0 / n, gradient[..., None])[..., 0]
        # A full Newton step can overshoot where the curvature is flat.
        strengths = strengths + step / np.maximum(1.0, np.abs(step).max(-1, keepdims=True) / 2.0)
        strengths -= strengths.mean(-1, keepdims=True)
        if np.abs(step).max(initial=0.0) < _TOLERANCE:
            break
    return strengths

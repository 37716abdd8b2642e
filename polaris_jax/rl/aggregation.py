"""Turns losses per token into one loss: a weight per token, computed once over the whole batch.

The loss of a step is ``(weights * token losses).sum()``. Because the weights are fixed before the batch is cut into
micro-batches or spread over a mesh, neither can change the loss.
"""

import numpy as np

from polaris_jax.errors import InputError

MODES = ("token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm", "seq-mean-token-mean")


def aggregation_weights(mask: np.ndarray, mode: str = "token-mean", *, width: float | None = None) -> np.ndarray:
    """The share of every token in the loss.

    Args:
      mask: ``[B, T]``, 1 where a token counts. Rows without one are left out of sequence means.
      mode: ``token-mean`` (every token the same); ``seq-mean-token-sum`` (mean over rows of their sums);
        ``seq-mean-token-sum-norm`` (the same over ``width``); ``seq-mean-token-mean`` (mean over rows of their means).
      width: the divisor of ``seq-mean-token-sum-norm``; default ``T``.

    Returns:
      ``[B, T] float32``; zeros when no token counts.

    Raises:
      InputError: an unknown mode.
    """
    if mode not in MODES:
        raise InputError("config.rl.aggregation", mode, f"choose one of {', '.join(MODES)}")
    mask = np.asarray(mask, np.float64)
    per_row = mask.sum(1, keepdims=True)
    if mode == "token-mean":
        weights = mask / max(per_row.sum(), 1.0)
    else:
        weights = mask / max(np.count_nonzero(per_row), 1)
        if mode == "seq-mean-token-sum-norm":
            weights /= mask.shape[1] if width is None else width
        elif mode == "seq-mean-token-mean":
            weights /= np.maximum(per_row, 1.0)
    return weights.astype(np.float32)

"""Gradients of a loss over pairs, as one number per row; DPO and ORPO share it."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np


def pair_cotangents(
    loss: Callable[[jax.Array, jax.Array], tuple[jax.Array, dict[str, jax.Array]]],
    values: Sequence[float] | np.ndarray,
    chosen: Sequence[int],
    rejected: Sequence[int],
) -> tuple[dict[str, float], np.ndarray]:
    """The loss of a batch of pairs and, per row, minus its derivative with respect to the row's value.

    Args:
      loss: ``(values of the chosen rows [N], values of the rejected rows [N]) -> (loss, metrics)``.
      values: one number per row. chosen, rejected: rows of each pair.

    Returns:
      ``(metrics with "loss", [rows] float32)``.
    """
    numbers, sides = np.asarray(values, np.float32), [np.asarray(chosen), np.asarray(rejected)]
    (value, metrics), slopes = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(
        *(jnp.asarray(numbers[rows]) for rows in sides)
    )
    shares = np.zeros(len(numbers), np.float32)
    for rows, slope in zip(sides, slopes, strict=True):
        np.add.at(shares, rows, -np.asarray(slope))
    return {"loss": float(value)} | {name: float(metric) for name, metric in metrics.items()}, shares

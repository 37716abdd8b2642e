"""Loss per stage role on held-out authors, always on the same rows."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from polaris_jax.data import Batches, iterate_placed
from polaris_jax.training.metrics import loss_means


class Evaluation:
    """Held-out rows and the compiled forward pass.

    Args:
      evaluate: ``step.make_evaluation``.
      batches: of the held-out trajectories, without a curriculum.
      rows: how many windows, at most.
    """

    def __init__(
        self,
        evaluate: Callable[[Any, dict[str, jax.Array], Any], Any],
        batches: Batches,
        mesh: Mesh,
        *,
        rows: int,
        threads: int,
    ):
        self._rows, self._size = min(rows, len(batches.plan)), batches.shape(0)[0]
        self._evaluate, self._batches, self._mesh, self._threads = evaluate, batches, mesh, threads

    def __call__(self, params: Any, frozen: Any = None) -> dict[str, float]:
        """``{"eval/loss", "eval/loss/prose", "eval/loss/role/...", "eval/tokens"}``, nats per supervised token."""
        total: Any = None
        steps = -(-self._rows // self._size)
        for step, batch in iterate_placed(self._batches, self._mesh, 0, steps, threads=self._threads):
            batch = batch | {"weights": _only(batch["weights"], self._rows - step * self._size)}
            sums = jax.device_get(self._evaluate(params, batch, frozen or {}))
            total = sums if total is None else jax.tree.map(np.add, total, sums)
        loss, weight = total["roles"].sum(axis=1)
        means = {"loss": float(loss / max(weight, 1e-9)), **loss_means(total), "tokens": int(weight)}
        return {f"eval/{name}": value for name, value in means.items()}


@jax.jit
def _only(weights: jax.Array, rows: int) -> jax.Array:
    """The loss weights ``[B, S]`` of the first ``rows`` rows, zero in the others, which would count a second time."""
    return jnp.where(jnp.arange(weights.shape[0])[:, None] < rows, weights, 0.0)

"""Loss on the authors that were held out, per stage role: the same rows every time."""

import jax
import numpy as np
from jax.sharding import Mesh

from polaris_jax.data import iterate_placed
from polaris_jax.training.metrics import loss_means


class Evaluation:
    """Held-out rows and the compiled forward pass.

    Args:
      evaluate: ``step.make_evaluation``.
      batches: of the held-out trajectories, without a curriculum.
      rows: how many, at most; at least one batch is read.
    """

    def __init__(self, evaluate, batches, mesh: Mesh, *, rows: int, threads: int):
        size = batches.shape(0)[0]
        self._steps = max(1, min(rows, len(batches.plan)) // size)
        self._evaluate, self._batches, self._mesh, self._threads = evaluate, batches, mesh, threads

    def __call__(self, params) -> dict[str, float]:
        """``{"eval/loss", "eval/loss/prose", "eval/loss/role/...", "eval/tokens"}``, nats per supervised token."""
        total = None
        for _, batch in iterate_placed(self._batches, self._mesh, 0, self._steps, threads=self._threads):
            sums = jax.device_get(self._evaluate(params, batch))
            total = sums if total is None else jax.tree.map(np.add, total, sums)
        loss, weight = total["roles"].sum(axis=1)
        means = {"loss": float(loss / max(weight, 1e-9)), **loss_means(total), "tokens": int(weight)}
        return {f"eval/{name}": value for name, value in means.items()}

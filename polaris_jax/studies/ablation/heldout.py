"""Loss on held-out authors, per stage role and per kind of token; kept per batch for intervals."""

from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import Mesh

from polaris_jax.data import Batches, TokenStore, place, plan_bins
from polaris_jax.errors import InputError
from polaris_jax.models.config import ModelConfig
from polaris_jax.training.config import TrainConfig
from polaris_jax.training.metrics import loss_means
from polaris_jax.training.step import make_evaluation
from polaris_jax.trajectory import KINDS


@dataclass(frozen=True)
class HeldOut:
    """Mean nats per supervised token, by role and by kind (only those that occur).

    Attributes:
      prose_by_batch: ``(summed nats, tokens)`` of the prose in every batch of packed rows.
      tokens: supervised tokens in all.
    """

    roles: dict[str, float]
    kinds: dict[str, float]
    prose_by_batch: tuple[tuple[float, float], ...]
    tokens: int


def held_out_loss(
    config: TrainConfig, params, model: ModelConfig, mesh: Mesh, store: TokenStore, documents: np.ndarray
) -> HeldOut:
    """Loss of a model on trajectories of a store, packed into windows as in training, each once.

    Args:
      config: config of the training run; its window, batch size and precision are used.
      params: parameters on ``mesh``.
      documents: indices of the held-out trajectories; those longer than the window are left out, and those of an
        incomplete last batch.

    Raises:
      InputError: no trajectory is held out, or none fits the window.
    """
    if not len(documents):
        raise InputError("--store", store.path, "nothing is held out: build it with --split, or name another split")
    plan = plan_bins(store.lengths, config.data.window, documents=documents, overlong="drop")
    batches = Batches(store, plan, batch_size=config.data.batch_size, seed=0, shards=mesh.shape["context"])
    evaluate = make_evaluation(config, model, mesh)
    found = [
        jax.device_get(evaluate(params, place(batches, step, mesh)))
        for step in range(max(1, len(plan) // config.data.batch_size))
    ]
    total = jax.tree.map(lambda *parts: np.sum(parts, axis=0), *found)
    means, prose = loss_means(total), KINDS.index("prose")
    return HeldOut(
        {name.removeprefix("loss/role/"): loss for name, loss in means.items() if name.startswith("loss/role/")},
        {name.removeprefix("loss/"): loss for name, loss in means.items() if not name.startswith("loss/role/")},
        tuple((float(one["kinds"][0][prose]), float(one["kinds"][1][prose])) for one in found),
        int(total["kinds"][1].sum()),
    )

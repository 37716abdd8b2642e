"""Loss on authors that were not trained on, per stage role and per kind of token."""

from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

from polaris_jax.data import Batches, TokenStore, plan_bins
from polaris_jax.errors import InputError
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.decoder import head_kernel, hidden
from polaris_jax.ops import linear_cross_entropy
from polaris_jax.training.step import role_sums
from polaris_jax.trajectory import KINDS, ROLES


@dataclass(frozen=True)
class HeldOut:
    """Mean nats per supervised token, by role, by kind, and per row's prose.

    Attributes:
      roles, kinds: only those that occur.
      prose_by_row: ``(summed nats, tokens)`` of the prose in every packed row, for intervals.
      tokens: supervised tokens in all.
    """

    roles: dict[str, float]
    kinds: dict[str, float]
    prose_by_row: tuple[tuple[float, float], ...]
    tokens: int


def held_out_loss(
    params, config: ModelConfig, store: TokenStore, documents: np.ndarray, window: int, *, chunk: int = 256
) -> HeldOut:
    """Loss of a model on trajectories of a store, each in a window of its own context, packed as in training.

    Args:
      documents: indices of the held-out trajectories; those longer than ``window`` are left out.
      chunk: tokens per buffer of logits.

    Raises:
      InputError: nothing is held out, or nothing fits the window.
    """
    if not len(documents):
        raise InputError("--store", store.path, "holds nobody out: build it with --split, or name another split")
    plan = plan_bins(store.lengths, window, documents=documents, overlong="drop")
    batches = Batches(store, plan, batch_size=1, seed=0)
    sums = jax.jit(partial(_sums, config=config, chunk=chunk))
    totals = {"roles": np.zeros((2, len(ROLES))), "kinds": np.zeros((2, len(KINDS)))}
    rows = []
    for step in range(len(plan)):
        found = jax.device_get(sums(params, batches.batch(step)))
        for name, value in totals.items():
            value += found[name]
        rows.append(tuple(float(x) for x in found["kinds"][:, KINDS.index("prose")]))
    return HeldOut(_means(totals["roles"], ROLES), _means(totals["kinds"], KINDS), tuple(rows),
                   int(totals["kinds"][1].sum()))


def _sums(params, batch, *, config: ModelConfig, chunk: int):
    x = hidden(params, config, batch["tokens"], batch["positions"], batch["segment_ids"])
    nll, _ = linear_cross_entropy(x, head_kernel(params, config).astype(x.dtype), batch["targets"], chunk=chunk)
    return role_sums(nll * batch["weights"], batch)


def _means(pair: np.ndarray, names: tuple[str, ...]) -> dict[str, float]:
    loss, weight = pair
    return {name: float(loss[i] / weight[i]) for i, name in enumerate(names) if weight[i] > 0}

"""A larger vocabulary for a model that is already trained."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from polaris_jax.errors import InputError
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.weights import Params


def mean_row(rows):
    """The mean over ``rows [V, D]``, in their dtype and accumulated in float32: where a token with no history starts.

    A new row at the mean leaves the other tokens' probabilities almost unchanged (Hewitt 2021).
    """
    return rows.mean(axis=0, dtype=np.float32).astype(rows.dtype)


def grow_vocabulary(params: Params, config: ModelConfig, new_size: int) -> tuple[Params, ModelConfig]:
    """Appends tokens to embedding and head, each at the mean of the existing rows.

    Args:
      new_size: the vocabulary afterwards, at least ``config.vocab_size``.

    Returns:
      ``(params, config)``; padding rows (``config.vocab_rows``) are used up first.

    Raises:
      InputError: ``new_size`` would shrink the vocabulary.
    """
    old = config.vocab_size
    if new_size < old:
        raise InputError("new_size", new_size, f"the vocabulary has {old} tokens already")
    rows = max(config.rows, new_size)

    def grow(table):  # [rows, D]
        new = jnp.broadcast_to(mean_row(table[:old]), (new_size - old, table.shape[1]))
        return jnp.concatenate([table[:old], new, jnp.zeros((rows - new_size, table.shape[1]), table.dtype)])

    grown = params | {"embed": {"embedding": grow(params["embed"]["embedding"])}}
    if not config.tie_embeddings:
        grown["head"] = {"kernel": grow(params["head"]["kernel"].T).T}
    return grown, replace(config, vocab_size=new_size, vocab_rows=rows if rows > new_size else 0)

"""Adds tokens to the vocabulary of a trained model, in memory or during a conversion.

A new row starts at the mean of the old ones, which leaves the other tokens' probabilities almost unchanged (Hewitt
2021).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from polaris_jax.errors import InputError
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.tensors import HFTensor, pieces
from polaris_jax.models.weights import Params

TABLES = ("model.embed_tokens.weight", "lm_head.weight")


def with_mean_rows(table: HFTensor, size: int, fresh: Sequence[int] = ()) -> HFTensor:
    """``table [V, D]`` with ``size`` rows; those beyond ``V``, and ``fresh`` ones below, are the mean of the others.

    The mean is accumulated in float64.
    """
    old = table.shape[0]
    fresh = sorted(number for number in fresh if number < old)
    if size == old and not fresh:
        return table

    @cache
    def mean() -> np.ndarray:
        total = sum(np.asarray(piece, np.float32).sum(axis=0, dtype=np.float64) for piece in pieces(table))
        total = total - sum(np.asarray(table.rows(n, n + 1)[0], np.float64) for n in fresh)
        return (total / (old - len(fresh))).astype(table.dtype)

    def rows(start: int, stop: int) -> np.ndarray:
        kept = table.rows(min(start, old), min(stop, old))
        new = [number - start for number in fresh if start <= number < stop]
        missing = stop - start - len(kept)
        if missing or new:
            kept = np.concatenate([kept, np.repeat(mean()[None], missing, axis=0)])
            kept[new] = mean()
        return kept

    return HFTensor((size, *table.shape[1:]), table.dtype, rows)


def grow_tensors(
    tensors: Mapping[str, HFTensor], config: ModelConfig, new_size: int, *, fresh: Sequence[int] = ()
) -> tuple[dict[str, HFTensor], ModelConfig]:
    """``grow_vocabulary`` for Hugging Face tensors, which are read only when they are written.

    Args:
      fresh: rows that the checkpoint has but no token used before; they start at the mean too.

    Raises:
      InputError: ``new_size`` would shrink the vocabulary.
    """
    _check_growth(config, new_size)
    grown = {name: with_mean_rows(t, new_size, fresh) if name in TABLES else t for name, t in tensors.items()}
    return grown, replace(config, vocab_size=new_size, vocab_rows=0)


def grow_vocabulary(params: Params, config: ModelConfig, new_size: int) -> tuple[Params, ModelConfig]:
    """Appends tokens to embedding and head, each at the mean of the existing rows.

    Args:
      new_size: the vocabulary afterwards, at least ``config.vocab_size``.

    Returns:
      ``(params, config)``; padding rows (``config.vocab_rows``) are used up first.

    Raises:
      InputError: ``new_size`` would shrink the vocabulary.
    """
    _check_growth(config, new_size)
    old, rows = config.vocab_size, max(config.rows, new_size)

    def grow(table: jax.Array) -> jax.Array:  # [rows, D]
        mean = table[:old].mean(axis=0, dtype=jnp.float32).astype(table.dtype)
        table = jnp.pad(table, ((0, rows - table.shape[0]), (0, 0)))
        index = jnp.arange(rows)[:, None]
        return jnp.where((index >= old) & (index < new_size), mean, table)

    grow = jax.jit(grow)
    grown = params | {"embed": {"embedding": grow(params["embed"]["embedding"])}}
    if not config.tie_embeddings:
        grown["head"] = {"kernel": grow(params["head"]["kernel"].T).T}
    return grown, replace(config, vocab_size=new_size, vocab_rows=rows if rows > new_size else 0)


def _check_growth(config: ModelConfig, new_size: int) -> None:
    if new_size < config.vocab_size:
        raise InputError("new_size", new_size, f"the vocabulary has {config.vocab_size} tokens already")

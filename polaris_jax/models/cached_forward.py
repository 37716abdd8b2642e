"""Forward pass over new tokens with a key-value cache.

One function serves decoding (``T = 1``) and chunked prefill of all texts or of one (``T`` tokens, of which the last may
be padding). A jitted caller that donates the cache updates it in place.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from polaris_jax.models.cache import put_rows, take_rows
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.decoder import block, embed, final_norm
from polaris_jax.models.layers import attention, linear_attention
from polaris_jax.models.weights import Params
from polaris_jax.ops.cached_attention import WriteIndex, cached_attention
from polaris_jax.ops.linear import choose_adapters, split_adapters
from polaris_jax.ops.recurrence import continued
from polaris_jax.ops.rotary import rotation


def cached_forward(
    params: Params,
    config: ModelConfig,
    tokens: jax.Array,
    cache: Params,
    valid: jax.Array | None = None,
    *,
    rows: jax.Array | None = None,
    attend: Callable = cached_attention,
    compute_dtype: Any = None,
) -> tuple[jax.Array, Params]:
    """Runs the decoder over ``tokens``, which follow the tokens that ``cache`` already holds.

    Where weights have adapters, every row is read by its own, ``cache["adapter"]``.

    Args:
      tokens: ``[n, T] int32``, continuing each text at its own length.
      valid: ``[n] int32``, real tokens per row (the rest is padding at the end); default all ``T``.
      rows: None when ``tokens`` has a row for each of the cache's ``B`` texts; else ``[n] int32``, the position of the
        text meant in each of the ``n`` equal groups of texts (see ``WriteIndex``). With one group: which text is read.
      attend: stores and attends, with the signature of ``ops.cached_attention.cached_attention``.
      compute_dtype: dtype of the activations; default: that of the embedding.

    Returns:
      ``(hidden [n, T, D] after the final norm, cache)``. ``hidden`` is meaningless beyond ``valid``. Tokens beyond the
      cache's length are not stored: the caller keeps ``length + valid`` within it.
    """
    n, T = tokens.shape
    valid = jnp.full((n,), T, jnp.int32) if valid is None else valid
    start = take_rows(cache["length"], rows)
    positions = start[:, None] + jnp.arange(T, dtype=jnp.int32)
    turn = rotation(config.rope, positions)
    pages = take_rows(cache["pages"], rows) if "pages" in cache else None
    adapter = take_rows(cache["adapter"], rows) if "adapter" in cache else None

    def attention_mixer(window: int | None, memory: Params, r: jax.Array, w: Params, u: jax.Array):
        kept = {}

        def attend_to_cache(q, k, v):
            out, kept["memory"] = attend(q, k, v, memory, WriteIndex(r, start, valid, rows, pages), window=window)
            return out

        out = attention(config, w["attention"], u, positions=positions, rotation=turn, attend=attend_to_cache)
        return out, kept["memory"]

    def linear_mixer(memory: Params, r: jax.Array, w: Params, u: jax.Array):
        state = {name: take_rows(stacked[r], rows) for name, stacked in memory.items()}
        recurrence, kept = continued(state, valid)
        out = linear_attention(config, w["linear_attention"], u, recurrence)
        return out, {name: memory[name].at[r].set(put_rows(memory[name][r], new, rows)) for name, new in kept.items()}

    mixers = {
        "full_attention": partial(attention_mixer, None),
        "sliding_attention": partial(attention_mixer, config.sliding_window),
        "linear_attention": linear_mixer,
    }

    def group(banks, carry, layer):
        x, blocks = carry
        w, r = layer
        w = w if adapter is None else choose_adapters(w, banks, r, adapter)
        kept = {}
        for j, kind in enumerate(config.group):
            x, kept[str(j)] = block(config, w[str(j)], x, partial(mixers[kind], blocks[str(j)], r))
        return (x, kept), None

    x = embed(params, config, tokens, dtype=compute_dtype)
    weights, banks = split_adapters(params["blocks"])
    if isinstance(weights, tuple):
        blocks: tuple[Any, ...] = ()
        for w, bank, remembered in zip(weights, banks, cache["blocks"], strict=True):
            (x, remembered), _ = group(bank, (x, remembered), (w, 0))
            blocks += (remembered,)
    else:
        repeats = jnp.arange(config.num_layers // len(config.group))
        (x, blocks), _ = jax.lax.scan(partial(group, banks), (x, cache["blocks"]), (weights, repeats))
    length = put_rows(cache["length"], start + valid, rows)
    return final_norm(params, config, x), cache | {"length": length, "blocks": blocks}

"""Reading on: a decoder's memory of the tokens so far, and the step that adds to it.

One function serves chunked prefill (``T`` tokens, the last ones possibly padding) and decoding (``T = 1``). Attention
layers keep keys and values, linear layers a convolution tail and a memory matrix. A jitted caller that donates the
cache updates it in place.

Weights and cache come in two forms. *Stacked*, layers are one scan: compilation is flat in depth. *Unstacked*
(``unstack``, ``init_cache(..., unstacked=True)``), layers are a loop in the program: slower to compile, but no layer is
copied out of its stack first, which halves the time per token where memory bandwidth is the limit (CPU).
"""

from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp

from polaris_jax.models.config import ModelConfig
from polaris_jax.models.layers import attention, block, linear_attention, norm
from polaris_jax.models.weights import Params
from polaris_jax.ops.attention import attention as reference_attention
from polaris_jax.ops.rotary import rotation


def unstack(params: Params) -> Params:
    """The same parameters with ``blocks`` a tuple of one tree per repeat of the group; for ``extend`` only. Copies."""
    repeats = len(jax.tree.leaves(params["blocks"])[0])
    return params | {"blocks": tuple(jax.tree.map(itemgetter(r), params["blocks"]) for r in range(repeats))}


def init_cache(
    config: ModelConfig, batch: int, length: int, dtype: Any = jnp.float32, *, unstacked: bool = False
) -> Params:
    """An empty cache for ``batch`` rows of up to ``length`` tokens.

    Args:
      dtype: of keys, values and convolution tails.
      unstacked: for weights from ``unstack``: ``blocks`` is a tuple of such trees, each with ``repeats`` 1.

    Returns:
      ``{"length": [B] int32, "blocks": {"0": ...}}``. Attention layers hold ``k`` and ``v``, each
      ``[repeats, B, length, G, d]``; linear layers hold ``conv [repeats, B, K-1, C]`` and
      ``memory [repeats, B, H, dk, dv] float32``.
    """
    repeats = config.num_layers // len(config.group)
    if unstacked:
        blocks = tuple(_empty_blocks(config, 1, batch, length, dtype) for _ in range(repeats))
    else:
        blocks = _empty_blocks(config, repeats, batch, length, dtype)
    return {"length": jnp.zeros((batch,), jnp.int32), "blocks": blocks}


def _empty_blocks(config: ModelConfig, repeats: int, batch: int, length: int, dtype: Any) -> Params:
    blocks = {}
    for j, kind in enumerate(config.group):
        if kind == "linear_attention":
            sizes = config.linear
            memory = (repeats, batch, sizes.value_heads, sizes.key_dim, sizes.value_dim)
            blocks[str(j)] = {
                "conv": jnp.zeros((repeats, batch, sizes.conv_kernel - 1, sizes.channels), dtype),
                "memory": jnp.zeros(memory, jnp.float32),
            }
        else:
            shape = (repeats, batch, length, config.num_kv_heads, config.head_dim)
            blocks[str(j)] = {"k": jnp.zeros(shape, dtype), "v": jnp.zeros(shape, dtype)}
    return blocks


def extend(
    params: Params,
    config: ModelConfig,
    tokens: jax.Array,
    cache: Params,
    valid: jax.Array | None = None,
    *,
    attend: Callable = reference_attention,
    compute_dtype: Any = None,
) -> tuple[jax.Array, Params]:
    """Reads ``tokens`` after the tokens that ``cache`` already holds.

    Args:
      tokens: ``[B, T] int32``, continuing each row at its own length.
      valid: ``[B] int32``, real tokens per row (the rest is padding at the end); default all ``T``.
      attend, compute_dtype: as in ``decoder.hidden``.

    Returns:
      ``(hidden [B, T, D] after the final norm, cache)``. ``hidden`` is meaningless beyond ``valid``. Tokens beyond the
      cache's length are not stored: the caller keeps ``length + valid`` within it.
    """
    B, T = tokens.shape
    valid = jnp.full((B,), T, jnp.int32) if valid is None else valid
    start, index = cache["length"], jnp.arange(T, dtype=jnp.int32)
    positions = start[:, None] + index
    real = index < valid[:, None]
    turn = rotation(config.rope, positions)

    def attention_mixer(window: int | None, memory: Params, r: jax.Array, w: Params, u: jax.Array):
        kept = {}

        def attend_to_cache(q, k, v):
            kept["k"] = _write(memory["k"], r, positions, real, k)
            kept["v"] = _write(memory["v"], r, positions, real, v)
            keys, values = kept["k"][r].astype(q.dtype), kept["v"][r].astype(q.dtype)
            slots = jnp.broadcast_to(jnp.arange(keys.shape[1], dtype=jnp.int32), keys.shape[:2])
            return attend(
                q,
                keys,
                values,
                q_positions=positions,
                kv_positions=slots,
                q_segments=real.astype(jnp.int32),
                kv_segments=(slots < (start + valid)[:, None]).astype(jnp.int32),
                window=window,
            )

        out = attention(config, w["attention"], u, positions=positions, rotation=turn, attend=attend_to_cache)
        return out, kept

    def linear_mixer(memory: Params, r: jax.Array, w: Params, u: jax.Array):
        state = {name: stacked[r] for name, stacked in memory.items()}
        out, state = linear_attention(config, w["linear_attention"], u, state=state, valid=valid)
        return out, {name: memory[name].at[r].set(new.astype(memory[name].dtype)) for name, new in state.items()}

    mixers = {
        "full_attention": partial(attention_mixer, None),
        "sliding_attention": partial(attention_mixer, config.sliding_window),
        "linear_attention": linear_mixer,
    }

    def group(carry, layer):
        x, blocks = carry
        w, r = layer
        kept = {}
        for j, kind in enumerate(config.group):
            x, kept[str(j)] = block(config, w[str(j)], x, partial(mixers[kind], blocks[str(j)], r))
        return (x, kept), None

    embedding = params["embed"]["embedding"]
    x = embedding[tokens].astype(compute_dtype or embedding.dtype)
    if isinstance(params["blocks"], tuple):
        blocks = ()
        for w, remembered in zip(params["blocks"], cache["blocks"], strict=True):
            (x, remembered), _ = group((x, remembered), (w, 0))
            blocks += (remembered,)
    else:
        repeats = jnp.arange(config.num_layers // len(config.group))
        (x, blocks), _ = jax.lax.scan(group, (x, cache["blocks"]), (params["blocks"], repeats))
    return norm(config, x, params["norm"]["scale"]), {"length": start + valid, "blocks": blocks}


def _write(cache: jax.Array, layer: jax.Array, positions: jax.Array, real: jax.Array, new: jax.Array) -> jax.Array:
    """Stores ``new [B, T, G, d]`` at ``cache[layer, row, position]`` for the tokens that are real."""
    slots = jnp.where(real, positions, cache.shape[2])
    rows = jnp.arange(cache.shape[1])[:, None]
    return cache.at[layer, rows, slots].set(new.astype(cache.dtype), mode="drop")

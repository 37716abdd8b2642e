"""The decoder, the only forward pass: ``embed``, the layers' one ``block``, ``final_norm``, ``unembed``.

Pure functions over the parameter tree of ``weights.weight_table``. Three programs are made of them: ``hidden`` below
(the plain reference), the sharded loss of training and the cached forward of generation. What differs between those
comes in as an argument:

    fetch     how a stored weight becomes the whole one (as it is; gathered from its shards)
    lookup    how tokens find their rows in the embedding
    mixers    how keys reach queries, and where a layer's state is kept (``token_mixers`` for whole rows)
    parallel  what is added up when a device holds only some heads and hidden units of a layer

``hidden`` itself takes three hooks for a mesh: ``attend`` (any function with the signature of ``ops.attention``),
``recur`` (the same for recurrent layers) and ``constrain`` (applied to the residual stream before and after every
block).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from polaris_jax.errors import InputError
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.layers import attention, linear_attention, mlp, norm
from polaris_jax.models.weights import Params, Path
from polaris_jax.ops.blockwise import blockwise_attention
from polaris_jax.ops.cross_entropy import linear_cross_entropy
from polaris_jax.ops.embedding import embedding_lookup
from polaris_jax.ops.recurrence import Recurrence, whole_rows
from polaris_jax.ops.rotary import rotation
from polaris_jax.ops.rowwise import rowwise

Remat = Literal["none", "full", "attention", "dots"]

# ``(weights of the layer, normed activations) -> (mixed activations, the layer's new state)``.
Mixer = Callable[[Params, jax.Array], tuple[jax.Array, Any]]
# ``(x, path of the weight, stored weight) -> (x, whole weight)``: ``x`` is what the weight is about to be applied to.
Fetch = Callable[[jax.Array, Path, jax.Array], tuple[jax.Array, jax.Array]]

# What the backward pass finds saved instead of computing it again, per layer.
_ATTENTION = jax.checkpoint_policies.save_only_these_names("attention_out", "attention_lse")
REMAT_POLICIES: dict[str, Callable | None] = {
    "full": None,
    "attention": _ATTENTION,
    "dots": jax.checkpoint_policies.save_from_both_policies(
        jax.checkpoint_policies.dots_with_no_batch_dims_saveable, _ATTENTION
    ),
}


def document_positions(segment_ids: jax.Array) -> jax.Array:
    """Positions that restart wherever the segment changes: ``[B, S] int32``, for rows in storage order."""
    index = jnp.broadcast_to(jnp.arange(segment_ids.shape[1], dtype=jnp.int32), segment_ids.shape)
    previous = jnp.pad(segment_ids, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
    return index - jax.lax.cummax(jnp.where(segment_ids != previous, index, 0), axis=1)


def as_stored(x: jax.Array, path: Path, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The ``Fetch`` of weights that are whole already."""
    return x, weight


def embed(
    params: Params,
    config: ModelConfig,
    tokens: jax.Array,
    *,
    dtype: Any = None,
    lookup: Callable[[jax.Array, jax.Array], jax.Array] = embedding_lookup,
) -> jax.Array:
    """``[B, S] int32 → [B, S, D]`` in ``dtype`` (default: the embedding's).

    Args:
      lookup: ``(table, tokens) -> rows``, the table as stored.
    """
    table = params["embed"]["embedding"]
    x = lookup(table, tokens).astype(dtype or table.dtype)
    if config.family.scaled_embedding:
        x = x * jnp.asarray(config.hidden_size**0.5, x.dtype)
    return x


@dataclass(frozen=True)
class TensorParallel:
    """What stands around each half of a layer whose heads and hidden units are spread over devices.

    Attributes:
      enter: applied to the activations that the half's first products read.
      leave: applied to what its last product gives, one device's part of a sum.
    """

    enter: Callable[[jax.Array], jax.Array] = lambda x: x
    leave: Callable[[jax.Array], jax.Array] = lambda x: x


WHOLE = TensorParallel()


def block(
    config: ModelConfig, w: Params, x: jax.Array, mixer: Mixer, *, mlp_chunk: int = 0, parallel: TensorParallel = WHOLE
) -> tuple[jax.Array, Any]:
    """One pre-norm layer: ``x [B, S, D]`` and the layer's mixer to ``(x, the mixer's new state)``.

    Args:
      mlp_chunk: tokens at a time through the feed-forward half; 0: the whole row.
    """
    mixed, state = mixer(w, parallel.enter(norm(config, x, w["norm_in"]["scale"])))
    mixed = parallel.leave(mixed)
    if config.family.output_norms:
        mixed = norm(config, mixed, w["norm_mixed"]["scale"])
    used = {name: w[name] for name in ("norm_post", "mlp", "norm_mlp") if name in w}
    return rowwise(partial(_feed_forward, config, parallel), used, x + mixed, chunk=mlp_chunk), state


def _feed_forward(config: ModelConfig, parallel: TensorParallel, w: Params, x: jax.Array) -> jax.Array:
    out = parallel.leave(mlp(w["mlp"], parallel.enter(norm(config, x, w["norm_post"]["scale"]))))
    if config.family.output_norms:
        out = norm(config, out, w["norm_mlp"]["scale"])
    return x + out


def token_mixers(
    config: ModelConfig,
    positions: jax.Array,
    segment_ids: jax.Array,
    attend: Callable[..., jax.Array],
    recurrence: Recurrence | None = None,
) -> dict[str, Mixer]:
    """The mixer of each layer type; their states are not kept.

    Args:
      positions, segment_ids: ``[B, S] int32``.
      attend: ``(q, k, v, window=...) -> out``, self-attention over these rows.
      recurrence: of these rows in recurrent layers; default: they are whole and in storage order.
    """
    angles = rotation(config.rope, positions)
    follow = recurrence or whole_rows(segment_ids)

    def attention_over(window: int | None) -> Mixer:
        seen = partial(attend, window=window)
        return lambda w, u: (
            attention(config, w["attention"], u, positions=positions, rotation=angles, attend=seen),
            None,
        )

    return {
        "full_attention": attention_over(None),
        "sliding_attention": attention_over(config.sliding_window),
        "linear_attention": lambda w, u: (linear_attention(config, w["linear_attention"], u, follow), None),
    }


def final_norm(params: Params, config: ModelConfig, x: jax.Array, *, fetch: Fetch = as_stored) -> jax.Array:
    """The norm after the last layer: ``[..., D] → [..., D]``."""
    x, scale = fetch(x, ("norm", "scale"), params["norm"]["scale"])
    return norm(config, x, scale)


def _head(params: Params, config: ModelConfig, x: jax.Array, fetch: Fetch) -> tuple[jax.Array, jax.Array]:
    """``(x, output projection [D, rows])``: the transposed embedding when tied, padding columns included."""
    if not config.tie_embeddings:
        return fetch(x, ("head", "kernel"), params["head"]["kernel"])
    if "tied_head" in params:  # ``cache.unstack`` made it
        return x, params["tied_head"]
    x, table = fetch(x, ("embed", "embedding"), params["embed"]["embedding"])
    return x, table.T


def head_kernel(params: Params, config: ModelConfig) -> jax.Array:
    """The output projection ``[D, V]``, without padding columns."""
    return _head(params, config, jnp.zeros(()), as_stored)[1][:, : config.vocab_size]


def unembed(params: Params, config: ModelConfig, x: jax.Array) -> jax.Array:
    """Logits of normed activations: ``[..., D] → [..., V] float32``, accumulated in float32."""
    logits = jnp.matmul(x, head_kernel(params, config).astype(x.dtype), preferred_element_type=jnp.float32)
    cap = config.logit_soft_cap
    return cap * jnp.tanh(logits / cap) if cap else logits


def token_losses(
    params: Params,
    config: ModelConfig,
    x: jax.Array,
    targets: jax.Array,
    *,
    fetch: Fetch = as_stored,
    cross_entropy: Callable[..., tuple[jax.Array, jax.Array]] = linear_cross_entropy,
) -> tuple[jax.Array, jax.Array]:
    """The negative log-likelihood of ``targets``, the same as from ``unembed``, without an array of all logits.

    Args:
      x: ``[B, S, D]``, after ``final_norm``. targets: ``[B, S] int32``.
      cross_entropy: with the signature of ``ops.linear_cross_entropy``.

    Returns:
      ``(nll, lse)``, both ``[B, S] float32`` in nats; ``lse`` is the log-partition.
    """
    x, kernel = _head(params, config, x, fetch)
    return cross_entropy(
        x, kernel.astype(x.dtype), targets, vocab_size=config.vocab_size, soft_cap=config.logit_soft_cap
    )


def hidden(
    params: Params,
    config: ModelConfig,
    tokens: jax.Array,
    positions: jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    *,
    attend: Callable[..., jax.Array] = blockwise_attention,
    recur: Callable[[jax.Array, jax.Array], Recurrence] | None = None,
    remat: Remat = "none",
    compute_dtype: Any = None,
    constrain: Callable[[jax.Array], jax.Array] = lambda x: x,
) -> jax.Array:
    """The last layer's activations after the final norm.

    Args:
      params: tree of ``weights.weight_table``.
      tokens: ``[B, S] int32``.
      positions: ``[B, S] int32`` inside each document; default: counted from each change of segment.
      segment_ids: ``[B, S] int32``, equal inside a document, 0 = padding; default: one document per row.
      attend: attention over the whole row, called with the keywords of ``ops.attention.attention``.
      recur: ``(positions, segment_ids) -> Recurrence`` of recurrent layers; default: rows are in storage order.
      remat: what to recompute in the backward pass: ``none``; ``full`` (every layer from its input); ``attention``
        (as full, but keep the attention output and log-sum-exp, so that the ring runs once); ``dots`` (keep matmul
        outputs too, recompute the cheap rest).
      compute_dtype: dtype of the activations; default: that of the embedding.
      constrain: hook for ``with_sharding_constraint`` on ``[B, S, D]``.

    Returns:
      ``[B, S, D]`` in the compute dtype.

    Raises:
      InputError: an unknown ``remat``.
    """
    if segment_ids is None:
        segment_ids = jnp.ones_like(tokens)
    if positions is None:
        positions = document_positions(segment_ids)
    who = {"q_positions": positions, "kv_positions": positions, "q_segments": segment_ids, "kv_segments": segment_ids}
    recurrence = recur(positions, segment_ids) if recur else None
    mixers = token_mixers(config, positions, segment_ids, partial(attend, **who), recurrence)

    def layer(kind: str, w: Params, x: jax.Array) -> jax.Array:
        return constrain(block(config, w, x, mixers[kind])[0])

    if remat != "none":
        if remat not in REMAT_POLICIES:
            raise InputError("remat", remat, f"not one of none, {', '.join(REMAT_POLICIES)}")
        layer = jax.checkpoint(layer, policy=REMAT_POLICIES[remat], static_argnums=0, prevent_cse=False)

    def group(x: jax.Array, w: Params) -> tuple[jax.Array, None]:
        for j, kind in enumerate(config.group):
            x = layer(kind, w[str(j)], x)
        return x, None

    x = constrain(embed(params, config, tokens, dtype=compute_dtype))
    x, _ = jax.lax.scan(group, x, params["blocks"])
    return final_norm(params, config, x)


def logits(params: Params, config: ModelConfig, tokens: jax.Array, *args: Any, **kwargs: Any) -> jax.Array:
    """``hidden`` and then ``unembed``: ``[B, S] int32 → [B, S, V] float32``."""
    return unembed(params, config, hidden(params, config, tokens, *args, **kwargs))

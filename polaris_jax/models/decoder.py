"""The decoder: embed, scan over the stacked blocks, norm, project.

Pure functions over the parameter tree of ``weights.weight_table``; ``Decoder`` is the same thing as an NNX module.
Parallelism enters at two seams only: ``attend`` (any function with the signature of ``ops.attention``) and
``constrain`` (applied to the residual stream after every block).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from polaris_jax.errors import InputError
from polaris_jax.models import cache as caching
from polaris_jax.models import reading
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.layers import block, norm, row_mixers
from polaris_jax.models.weights import Params
from polaris_jax.ops.blockwise import blockwise_attention

Remat = Literal["none", "full", "attention", "dots"]

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


def hidden(
    params: Params,
    config: ModelConfig,
    tokens: jax.Array,
    positions: jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    *,
    attend: Callable = blockwise_attention,
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
    mixers = row_mixers(config, positions, segment_ids, partial(attend, **who))

    def layer(kind: str, w: Params, x: jax.Array) -> jax.Array:
        return constrain(block(config, w, x, mixers[kind])[0])

    if remat != "none":
        if remat not in REMAT_POLICIES:
            raise InputError("remat", remat, f"not one of none, {', '.join(REMAT_POLICIES)}")
        layer = jax.checkpoint(layer, policy=REMAT_POLICIES[remat], static_argnums=0, prevent_cse=False)

    def group(x: jax.Array, w: Params):
        for j, kind in enumerate(config.group):
            x = layer(kind, w[str(j)], x)
        return x, None

    embedding = params["embed"]["embedding"]
    x = constrain(embedding[tokens].astype(compute_dtype or embedding.dtype))
    x, _ = jax.lax.scan(group, x, params["blocks"])
    return norm(config, x, params["norm"]["scale"])


def head_kernel(params: Params, config: ModelConfig) -> jax.Array:
    """The output projection ``[D, V]``: the transposed embedding when tied; padding columns are cut off."""
    if not config.tie_embeddings:
        kernel = params["head"]["kernel"]
    elif "tied_head" in params:  # ``cache.unstack`` made it
        kernel = params["tied_head"]
    else:
        kernel = params["embed"]["embedding"].T
    return kernel[:, : config.vocab_size]


def project_logits(params: Params, config: ModelConfig, x: jax.Array) -> jax.Array:
    """``[..., D] → [..., V] float32``, accumulated in float32."""
    return jnp.matmul(x, head_kernel(params, config).astype(x.dtype), preferred_element_type=jnp.float32)


def logits(params: Params, config: ModelConfig, tokens: jax.Array, *args: Any, **kwargs: Any) -> jax.Array:
    """``hidden`` and then ``project_logits``: ``[B, S] int32 → [B, S, V] float32``."""
    return project_logits(params, config, hidden(params, config, tokens, *args, **kwargs))


class Decoder(nnx.Module):
    """A decoder as an NNX module: ``config`` is static, the leaves of ``weights`` are ``nnx.Param``.

    ``params`` gives the plain tree that the pure functions of this room take.
    """

    def __init__(self, config: ModelConfig, params: Params):
        self.config = config
        self.weights = nnx.data(jax.tree.map(nnx.Param, params))

    @property
    def params(self) -> Params:
        """The parameters as a nested dict of arrays."""
        return jax.tree.map(lambda leaf: leaf[...], self.weights, is_leaf=lambda leaf: isinstance(leaf, nnx.Param))

    def __call__(
        self, tokens: jax.Array, positions: jax.Array | None = None, segment_ids: jax.Array | None = None
    ) -> jax.Array:
        """``[B, S] int32 → [B, S, V] float32``; compiled once per shape. Arguments as in ``hidden``."""
        return _jit_logits(self.params, self.config, tokens, positions, segment_ids)

    def hidden(
        self, tokens: jax.Array, positions: jax.Array | None = None, segment_ids: jax.Array | None = None, **kwargs: Any
    ) -> jax.Array:
        """``hidden`` of this room with this model's parameters: ``[B, S, D]`` after the final norm."""
        return hidden(self.params, self.config, tokens, positions, segment_ids, **kwargs)

    def head(self) -> jax.Array:
        """The output projection ``[D, V]``."""
        return head_kernel(self.params, self.config)

    def init_cache(self, batch: int, length: int, dtype: Any = None) -> Params:
        """An empty cache for ``batch`` rows of up to ``length`` tokens; see ``cache.init_cache``."""
        return caching.init_cache(self.config, batch, length, dtype or self.weights["embed"]["embedding"].dtype)

    def extend(self, tokens: jax.Array, cache: Params, valid: jax.Array | None = None) -> tuple[jax.Array, Params]:
        """Reads ``tokens [B, T]`` after what ``cache`` holds; see ``reading.extend``."""
        return reading.extend(self.params, self.config, tokens, cache, valid)


@partial(jax.jit, static_argnums=1)
def _jit_logits(params, config, tokens, positions, segment_ids):
    return logits(params, config, jnp.asarray(tokens), positions, segment_ids)

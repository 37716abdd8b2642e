"""The decoder as a Flax NNX module: the pure functions of this room with their parameters held."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from polaris_jax.models import decoder
from polaris_jax.models.cache import init_cache
from polaris_jax.models.cached_forward import cached_forward
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.weights import Params


class Decoder(nnx.Module):
    """``config`` is static, the leaves of ``weights`` are ``nnx.Param``.

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
        """``[B, S] int32 → [B, S, V] float32``; compiled once per shape. Arguments as in ``decoder.hidden``."""
        return _jit_logits(self.params, self.config, tokens, positions, segment_ids)

    def hidden(
        self, tokens: jax.Array, positions: jax.Array | None = None, segment_ids: jax.Array | None = None, **kwargs: Any
    ) -> jax.Array:
        """``decoder.hidden`` with this model's parameters: ``[B, S, D]`` after the final norm."""
        return decoder.hidden(self.params, self.config, tokens, positions, segment_ids, **kwargs)

    def head(self) -> jax.Array:
        """The output projection ``[D, V]``."""
        return decoder.head_kernel(self.params, self.config)

    def init_cache(self, batch: int, length: int, dtype: Any = None) -> Params:
        """An empty cache for ``batch`` rows of up to ``length`` tokens; see ``cache.init_cache``."""
        return init_cache(self.config, batch, length, dtype or self.weights["embed"]["embedding"].dtype)

    def extend(self, tokens: jax.Array, cache: Params, valid: jax.Array | None = None) -> tuple[jax.Array, Params]:
        """Reads ``tokens [B, T]`` after what ``cache`` holds; see ``cached_forward``."""
        return cached_forward(self.params, self.config, tokens, cache, valid)


@partial(jax.jit, static_argnums=1)
def _jit_logits(
    params: Params,
    config: ModelConfig,
    tokens: jax.Array,
    positions: jax.Array | None,
    segment_ids: jax.Array | None,
) -> jax.Array:
    return decoder.logits(params, config, jnp.asarray(tokens), positions, segment_ids)

"""A decoder ready to generate: weights, tokenizer, and the sizes, dtypes and mesh of its caches."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from polaris_jax.data import Tokenizer
from polaris_jax.errors import InputError
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.weights import param_shardings
from polaris_jax.ops.cached_attention import BLOCK, CONTEXT, ROWS, row_axes

SMALL_CHUNKS = (1, 8, 64)
# What a pass costs besides its tokens, as tokens whose products take as long: reading the weights, at peak over
# bandwidth of the chips; on a CPU as measured, 141 ms for 64 tokens and 856 for 512.
FIXED_PASS_TOKENS, FIXED_PASS_TOKENS_ON_CPU = 256, 24
MOST_GUESSES = 15


class Sampler:
    """A model ready to generate; holds no text. ``DecodeCache`` holds texts, ``Engine`` serves requests.

    Args:
      params, config: the decoder, as in ``models``; ``models.unstack(params)`` is faster on a CPU.
      tokenizer: of the model.
      max_length: most tokens of a text, prompt included.
      cache_dtype: dtype of cached keys and values; default that of the embedding; ``int8`` keeps a scale per head and
        token and takes about a quarter of float32's memory.
      compute_dtype: dtype of activations; default that of the embedding.
      prefill_chunk: most tokens of a prompt read at once; another text's next token waits for one such pass.
      first_capacity: tokens a cache has room for at first. It doubles when needed, and compiles again. Unused capacity
        costs memory, not time.
      cache_tokens: tokens that all texts of a cache have room for together, in pages of ``BLOCK`` (``PageTable``);
        default: each text has room of its own, which grows for all of them.
      speculate: most guessed tokens that are read in one pass with each generated token (``PromptLookup``); 0: none.
        Guesses change no text: a token is still sampled from its own logits with its own random number. But every
        pass then reads ``speculate + 1`` tokens, and may round differently from a pass that reads one.
      adapters: names of the adapters that the weights have (``models.adapter_bank``), in their order there.
      mesh: spreads weights and caches (rows over ``data`` and ``fsdp``, heads over ``tensor``, tokens over ``context``)
        where sizes divide.

    Raises:
      InputError: the vocabulary does not fit the model, a length is not positive, or ``speculate`` is out of bounds or
        set for a model with recurrent layers, which cannot undo a wrong guess; ``cache_tokens`` below ``max_length``,
        or on a mesh that spreads texts or their tokens.
    """

    def __init__(
        self,
        params: Any,
        config: ModelConfig,
        tokenizer: Tokenizer,
        *,
        max_length: int = 8192,
        cache_dtype: Any = None,
        compute_dtype: Any = None,
        prefill_chunk: int = 256,
        first_capacity: int = 1024,
        cache_tokens: int | None = None,
        speculate: int = 0,
        adapters: Sequence[str] = (),
        mesh: Mesh | None = None,
    ):
        if tokenizer.vocab_size > config.vocab_size:
            raise InputError("tokenizer", tokenizer.vocab_size, f"the model knows only {config.vocab_size} tokens")
        sizes = {"max_length": max_length, "prefill_chunk": prefill_chunk, "first_capacity": first_capacity}
        for name, value in sizes.items():
            if value < 1:
                raise InputError(name, value, "must be at least 1")
        check_speculation("speculate", speculate, config)
        check_cache_tokens("cache_tokens", cache_tokens, max_length, mesh)
        self.cache_tokens = cache_tokens
        self.config, self.tokenizer, self.mesh = config, tokenizer, mesh
        self.speculate, self.adapters = speculate, tuple(adapters)
        self.max_length, self.first_capacity = max_length, min(first_capacity, max_length)
        dtype = params["embed"]["embedding"].dtype
        self.cache_dtype = jnp.dtype(cache_dtype or dtype)
        self.compute_dtype = jnp.dtype(compute_dtype or dtype)
        self.chunk_sizes = (*(size for size in SMALL_CHUNKS if size < prefill_chunk), prefill_chunk)
        self.fixed_pass_tokens = FIXED_PASS_TOKENS_ON_CPU if jax.default_backend() == "cpu" else FIXED_PASS_TOKENS
        self.params, self._shapes = self._on_mesh(params), _shapes(params)

    def adapter_number(self, name: str | None) -> int:
        """The place of an adapter in the weights' bank; 0 for None.

        Raises:
          InputError: there is no such adapter.
        """
        if name is None:
            return 0
        if name not in self.adapters:
            raise InputError("adapter", name, f"is none of {', '.join(self.adapters) or 'this model, which has none'}")
        return self.adapters.index(name) + 1

    def set_params(self, params: Any) -> None:
        """Replaces the weights by others of the same shapes; nothing is compiled again.

        Raises:
          InputError: the tree, a shape or a dtype differs.
        """
        if _shapes(params) != self._shapes:
            raise InputError("params", "another tree", "give the same parameters in the same form")
        self.params = self._on_mesh(params)

    def release(self) -> None:
        """Drops the weights; ``set_params`` sets others."""
        self.params = None

    def _on_mesh(self, params: Any) -> Any:
        if self.mesh is None or all(_lies_on(self.mesh, leaf) for leaf in jax.tree.leaves(params)):
            return params
        if isinstance(params["blocks"], tuple):
            return jax.device_put(params, NamedSharding(self.mesh, P()))
        return jax.device_put(params, param_shardings(self.config, self.mesh))

    @property
    def shards(self) -> int:
        """Shards of the ``context`` axis."""
        return 1 if self.mesh is None else self.mesh.shape[CONTEXT]

    def round_capacity(self, length: int) -> int:
        """``length`` rounded up to whole cache blocks on every shard."""
        granule = BLOCK * self.shards
        return -(-length // granule) * granule

    def row_groups(self, batch: int) -> int:
        """The number of mesh shards that ``batch`` rows are spread over; each reads one of its rows at a time."""
        if self.mesh is None or row_axes(self.mesh, batch) is None:
            return 1
        return self.mesh.shape["data"] * self.mesh.shape["fsdp"]


def check_cache_tokens(name: str, cache_tokens: int | None, max_length: int, mesh: Mesh | None) -> None:
    """Raises an ``InputError`` about ``name`` if texts cannot share so many tokens of room."""
    if cache_tokens is None:
        return
    if cache_tokens < max_length:
        raise InputError(name, cache_tokens, f"must have room for the longest text, {max_length} tokens")
    spread = [] if mesh is None else [axis for axis in (*ROWS, CONTEXT) if mesh.shape[axis] > 1]
    if spread:
        advice = f"pages are not spread over {spread[0]}; use a mesh of tensor alone, or leave it out"
        raise InputError(name, cache_tokens, advice)


def check_speculation(name: str, speculate: int, config: ModelConfig) -> None:
    """Raises an ``InputError`` about ``name`` if a model cannot be used with so many guesses."""
    if not 0 <= speculate <= MOST_GUESSES:
        raise InputError(name, speculate, f"use 0 (off) to {MOST_GUESSES}")
    if speculate and config.recurrent:
        raise InputError(name, speculate, "this model's recurrent layers cannot take a wrong guess back; leave it out")


def _shapes(params: Any) -> Any:
    return jax.tree.map(lambda x: (x.shape, x.dtype), params)


def _lies_on(mesh: Mesh, array: jax.Array) -> bool:
    return isinstance(array.sharding, NamedSharding) and array.sharding.mesh == mesh

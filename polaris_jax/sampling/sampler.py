"""A decoder ready to write: its weights, its vocabulary, and how its texts are kept."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from polaris_jax.data import Tokenizer
from polaris_jax.errors import InputError
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.weights import param_shardings
from polaris_jax.ops.cached_attention import BLOCK, CONTEXT, row_axes
from polaris_jax.sampling.session import Session

SMALL_CHUNKS = (1, 8, 64)


class Sampler:
    """A model ready to write; holds no text. ``start`` opens texts, ``Engine`` serves requests.

    Args:
      params, config: the decoder, as in ``models``; ``models.unstack(params)`` is faster on a CPU.
      tokenizer: its vocabulary.
      max_length: tokens a text may have in all.
      cache_dtype: dtype of cached keys and values; default that of the embedding; ``int8`` keeps a scale per head and
        token and takes about a quarter of float32's memory.
      compute_dtype: dtype of activations; default that of the embedding.
      prefill_chunk: tokens read at once when there are many; on a CPU 64 is as fast as more.
      first_capacity: tokens a cache has room for at first. It doubles when needed, and compiles again. Room that is
        not filled costs memory, not time.
      mesh: spreads weights and caches (rows over ``data`` and ``fsdp``, heads over ``tensor``, tokens over ``context``)
        where sizes divide.

    Raises:
      InputError: the vocabulary does not fit the model, or a length is not positive.
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
        mesh: Mesh | None = None,
    ):
        if tokenizer.vocab_size > config.vocab_size:
            raise InputError("tokenizer", tokenizer.vocab_size, f"the model knows only {config.vocab_size} tokens")
        sizes = {"max_length": max_length, "prefill_chunk": prefill_chunk, "first_capacity": first_capacity}
        for name, value in sizes.items():
            if value < 1:
                raise InputError(name, value, "must be at least 1")
        self.config, self.tokenizer, self.mesh = config, tokenizer, mesh
        self.max_length, self.first_capacity = max_length, min(first_capacity, max_length)
        dtype = params["embed"]["embedding"].dtype
        self.cache_dtype = jnp.dtype(cache_dtype or dtype)
        self.compute_dtype = jnp.dtype(compute_dtype or dtype)
        self.chunk_sizes = (*(size for size in SMALL_CHUNKS if size < prefill_chunk), prefill_chunk)
        self.params = self._on_mesh(params)

    def start(self, batch: int = 1) -> Session:
        """Opens ``batch`` empty texts."""
        return Session(self, batch)

    def set_params(self, params: Any) -> None:
        """Other weights of the same shapes: what is read from now on is read by them. Nothing is copied or compiled."""
        shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), tree) for tree in (params, self.params)]
        if shapes[0] != shapes[1]:
            raise InputError("params", "another tree", "give the same parameters in the same form")
        self.params = self._on_mesh(params)

    def _on_mesh(self, params: Any) -> Any:
        if self.mesh is None:
            return params
        if isinstance(params["blocks"], tuple):
            return jax.device_put(params, NamedSharding(self.mesh, P()))
        return jax.device_put(params, param_shardings(self.config, self.mesh))

    @property
    def shards(self) -> int:
        """Shards of the ``context`` axis."""
        return 1 if self.mesh is None else self.mesh.shape[CONTEXT]

    def room(self, length: int) -> int:
        """``length`` rounded up to what a cache can have: whole blocks on every shard."""
        granule = BLOCK * self.shards
        return -(-length // granule) * granule

    def groups(self, batch: int) -> int:
        """Over how many shards of the mesh ``batch`` texts are spread: each reads one of its own at a time."""
        axes = None if self.mesh is None else row_axes(self.mesh, batch)
        return 1 if axes is None else self.mesh.shape["data"] * self.mesh.shape["fsdp"]

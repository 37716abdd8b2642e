"""A decoder that reads and writes: chunked prefill and drawing over one key-value cache per session.

Two compiled programs do everything. ``_read`` adds a chunk of tokens to the cache and gives the logits after it;
chunks come in a few fixed sizes, padded, so nothing recompiles while a book grows. ``options.draw`` turns logits into a
token. They are separate on purpose: between dispatching the one and the other the host computes the grammar mask
of the next token, while the device is still reading the last one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from polaris_jax.data import Tokenizer
from polaris_jax.errors import InputError
from polaris_jax.models.cache import extend, init_cache
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.decoder import project_logits
from polaris_jax.sampling.options import Drawn, SamplingOptions, draw, option_arrays

SMALL_CHUNKS = (1, 8, 64)


@partial(jax.jit, static_argnames=("config", "compute_dtype"), donate_argnames=("cache",))
def _read(params, config, tokens, cache, valid, logits, compute_dtype):
    """``tokens [B, T]``, ``valid [B]`` and the logits so far ``[B, V]`` to the logits after each row's last token."""
    hidden, cache = extend(params, config, tokens, cache, valid, compute_dtype=compute_dtype)
    last = jnp.take_along_axis(hidden, jnp.maximum(valid - 1, 0)[:, None, None], axis=1)[:, 0]
    new = project_logits(params, config, last)
    return jnp.where((valid > 0)[:, None], new, logits), cache


def chunks(n: int, sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Cuts ``n`` tokens into ``(real tokens, padded size)``: whole chunks while they fit, little padding at the end."""
    plan = []
    while n > 0:
        holds = next((size for size in sizes if size >= n), sizes[-1])
        # One padded chunk beats several small ones as soon as a quarter of it is real: weights are read once per chunk.
        size = holds if 4 * n >= holds else max(s for s in sizes if s <= n)
        plan.append((min(n, size), size))
        n -= size
    return plan


class Sampler:
    """A model ready to write; holds no text. ``start`` opens a text.

    Args:
      params, config: the decoder, as in ``models``.
      tokenizer: its vocabulary.
      max_length: tokens a text may have in all.
      cache_dtype: dtype of cached keys and values; default that of the embedding.
      compute_dtype: dtype of activations; default that of the embedding.
      prefill_chunk: tokens read at once when there are many; on a CPU 64 is as fast as more.
      first_capacity: tokens a cache has room for at first. It doubles when needed (and compiles again): attention
        reads all of it for every token, so a short text should not carry the cache of a long one.
      mesh: shards caches over the mesh (rows over ``data`` and ``fsdp``, heads over ``tensor``) where sizes divide.

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
        self.params, self.config, self.tokenizer, self.mesh = params, config, tokenizer, mesh
        self.max_length, self.first_capacity = max_length, min(first_capacity, max_length)
        dtype = params["embed"]["embedding"].dtype
        self.cache_dtype = jnp.dtype(cache_dtype or dtype)
        self.compute_dtype = jnp.dtype(compute_dtype or dtype)
        self.chunk_sizes = (*(size for size in SMALL_CHUNKS if size < prefill_chunk), prefill_chunk)

    def start(self, batch: int = 1) -> "Session":
        """Opens ``batch`` empty texts."""
        return Session(self, batch)

    def empty_cache(self, batch: int, capacity: int) -> Any:
        """A cache for ``batch`` rows of ``capacity`` tokens, placed on the mesh."""
        return self.place(init_cache(self.config, batch, capacity, self.cache_dtype))

    def place(self, cache: Any) -> Any:
        """Puts a cache where the mesh wants it."""
        return cache if self.mesh is None else jax.device_put(cache, jax.tree.map(self._sharding, cache))

    def _sharding(self, leaf: jax.Array) -> NamedSharding:
        spec = [None] * leaf.ndim
        rows, heads = (1, 3) if leaf.ndim == 5 else (1, None)  # [repeats, B, L, G, d]; the rest is small
        if leaf.ndim > 1 and leaf.shape[rows] % (self.mesh.shape["data"] * self.mesh.shape["fsdp"]) == 0:
            spec[rows] = ("data", "fsdp")
        if heads and leaf.shape[heads] % self.mesh.shape["tensor"] == 0:
            spec[heads] = "tensor"
        return NamedSharding(self.mesh, P(*spec))


@dataclass(frozen=True)
class _Mark:
    """A state to come back to: row lengths, logits, and copies of the layers that cannot be shortened."""

    lengths: tuple[int, ...]
    logits: jax.Array
    recurrent: dict[str, Any]


class Session:
    """Texts of a batch while they grow, and the one cache that has read them.

    ``append`` reads, ``draw`` proposes (the caller appends what it takes), ``rewind`` forgets. Nothing is read twice: a
    retry rewinds the cache. Keys and values are shortened by their length alone; recurrent layers come back
    from a copy that ``mark`` took, plus the tokens since.

    Attributes:
      tokens: the token ids of each row.
    """

    def __init__(self, sampler: Sampler, batch: int):
        self.sampler = sampler
        self.tokens: list[list[int]] = [[] for _ in range(batch)]
        self.capacity = sampler.first_capacity
        self._cache = sampler.empty_cache(batch, self.capacity)
        self._logits = jnp.zeros((batch, sampler.config.vocab_size), jnp.float32)
        self.mark()

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens per row."""
        return tuple(len(row) for row in self.tokens)

    @property
    def logits(self) -> jax.Array:
        """``[B, V] float32``: the model's logits for the token after each row."""
        return self._logits

    def append(self, rows: Sequence[Sequence[int]]) -> None:
        """Reads further tokens, possibly of different number per row; returns before the device is done.

        Raises:
          InputError: a text would exceed ``max_length``.
        """
        longest = max(len(row) + len(new) for row, new in zip(self.tokens, rows, strict=True))
        self.reserve(longest)
        offset = 0
        for _, size in chunks(max(len(new) for new in rows), self.sampler.chunk_sizes):
            block = np.zeros((len(rows), size), np.int32)
            valid = np.zeros(len(rows), np.int32)
            for b, new in enumerate(rows):
                part = new[offset : offset + size]
                block[b, : len(part)], valid[b] = part, len(part)
            self._logits, self._cache = _read(
                self.sampler.params, self.sampler.config, block, self._cache, valid, self._logits,
                self.sampler.compute_dtype,
            )
            offset += size
        for row, new in zip(self.tokens, rows, strict=True):
            row.extend(int(token) for token in new)

    def draw(
        self, options: Sequence[SamplingOptions], seeds: Sequence[int], mask: np.ndarray | None = None
    ) -> Drawn:
        """Draws each row's next token without appending it.

        The draw depends on the text, the options, the seed and the row's length, and on nothing else.

        Args:
          options, seeds: one per row; seeds are taken modulo 2**32.
          mask: allowed tokens as packed bits ``[B, ceil(V/32)] int32``; default all.

        Returns:
          ``Drawn`` of numpy arrays.
        """
        if not all(self.tokens):
            raise InputError("prompt", "", "a text must have at least one token before anything can follow it")
        V = self.sampler.config.vocab_size
        if mask is None:
            mask = np.full((len(self.tokens), (V + 31) // 32), -1, np.int32)
        seen = np.zeros((len(self.tokens), 1), bool)
        if any(o.repetition_penalty != 1.0 for o in options):
            seen = np.zeros((len(self.tokens), V), bool)
            for b, row in enumerate(self.tokens):
                seen[b, row] = True
        drawn = draw(
            self._logits, mask, seen, option_arrays(options),
            np.asarray([seed % 2**32 for seed in seeds], np.uint32), np.asarray(self.lengths, np.int32),
            filtered=any(o.top_k > 0 or o.top_p < 1.0 or o.min_p > 0.0 for o in options),
        )  # fmt: skip
        return Drawn(*jax.device_get(drawn))

    def mark(self) -> None:
        """Remembers this state as the one ``rewind`` can come back to for free (and the earliest, with recurrence)."""
        recurrent = {
            name: jax.tree.map(jnp.copy, layer) for name, layer in self._cache["blocks"].items() if "memory" in layer
        }
        self._mark = _Mark(self.lengths, self._logits, recurrent)

    def rewind(self, lengths: Sequence[int]) -> None:
        """Shortens the rows to ``lengths``.

        Raises:
          ValueError: a row is shorter than its length, or a recurrent model would have to go back behind ``mark``.
        """
        lengths = tuple(lengths)
        if any(new > old for new, old in zip(lengths, self.lengths, strict=True)):
            raise ValueError(f"cannot rewind rows of {self.lengths} tokens to {lengths}")
        if lengths == self.lengths:
            return
        if lengths == self._mark.lengths:
            base, logits = lengths, self._mark.logits
        elif self.sampler.config.recurrent:
            if any(new < old for new, old in zip(lengths, self._mark.lengths, strict=True)):
                raise ValueError(f"recurrent layers were last marked at {self._mark.lengths}, not before {lengths}")
            base, logits = self._mark.lengths, self._mark.logits
        else:
            # Each row's last token is read again: its logits were not kept.
            base, logits = tuple(max(n - 1, 0) for n in lengths), self._logits
        blocks = dict(self._cache["blocks"]) | jax.tree.map(jnp.copy, self._mark.recurrent)
        self._cache = {"length": self._cache["length"] * 0 + np.asarray(base, np.int32), "blocks": blocks}
        self._logits = logits
        again = [row[start:stop] for row, start, stop in zip(self.tokens, base, lengths, strict=True)]
        self.tokens = [row[:start] for row, start in zip(self.tokens, base, strict=True)]
        if any(again):
            self.append(again)

    def reserve(self, length: int) -> None:
        """Makes room for rows of ``length`` tokens.

        Raises:
          InputError: more than ``max_length``.
        """
        if length > self.sampler.max_length:
            raise InputError("max_length", self.sampler.max_length, f"the text needs {length} tokens; raise max_length")
        capacity = self.capacity
        while capacity < length:
            capacity = min(2 * capacity, self.sampler.max_length)
        if capacity == self.capacity:
            return
        more = [(0, 0), (0, 0), (0, capacity - self.capacity), (0, 0), (0, 0)]
        blocks = {
            name: layer if "memory" in layer else {part: jnp.pad(x, more) for part, x in layer.items()}
            for name, layer in self._cache["blocks"].items()
        }
        self._cache = self.sampler.place({"length": self._cache["length"], "blocks": blocks})
        self.capacity = capacity

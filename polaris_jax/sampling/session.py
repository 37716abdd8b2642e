"""Texts while they grow: what they say, on the host, and the one cache that has read them, on the device."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from polaris_jax.errors import InputError
from polaris_jax.models.cache import grow, init_cache
from polaris_jax.sampling import programs
from polaris_jax.sampling.options import Drawn, SamplingOptions, draw, option_arrays
from polaris_jax.sampling.programs import Marks, Move, Texts

if TYPE_CHECKING:
    from polaris_jax.sampling.sampler import Sampler


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


class Session:
    """``B`` texts and their cache. ``append`` reads, ``draw`` proposes (the caller appends what it takes), ``rewind``
    forgets, ``fork`` lets a text begin as another one did.

    Nothing is read twice. Keys and values are shortened by their length alone; recurrent layers come back only to
    where ``mark`` was called last, and read on from there. How a text is cut into chunks depends on the text alone,
    never on the others, so its bits do not either.

    Attributes:
      tokens: the token ids of each row.
      capacity: tokens there is room for.
      read: tokens read so far, all rows together.
      groups: shards of the mesh that rows are spread over; each reads a chunk of one of its rows at a time.
    """

    def __init__(self, sampler: "Sampler", batch: int):
        self.sampler = sampler
        self.tokens: list[list[int]] = [[] for _ in range(batch)]
        self.capacity = sampler.room(sampler.first_capacity)
        self.read = 0
        vocabulary = sampler.config.vocab_size
        self._words = (vocabulary + 31) // 32
        self._seen = np.zeros((batch, self._words), np.uint32)
        self.groups = sampler.groups(batch)
        unstacked = isinstance(sampler.params["blocks"], tuple)

        def empty():
            cache = init_cache(sampler.config, batch, self.capacity, sampler.cache_dtype, unstacked=unstacked)
            return Texts(cache, jnp.zeros((batch, vocabulary), jnp.float32))

        if sampler.mesh is None:
            self._texts = empty()
        else:
            where = programs.texts_sharding(sampler.mesh, jax.eval_shape(empty))
            self._texts = jax.jit(empty, out_shardings=where)()
        self._marked = [0] * batch
        self._marks = jax.tree.map(jnp.copy, Marks(programs.recurrent_part(self._texts.cache), self._texts.logits))

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens per row."""
        return tuple(len(row) for row in self.tokens)

    @property
    def marked(self) -> tuple[int, ...]:
        """Length per row at its last ``mark``."""
        return tuple(self._marked)

    @property
    def logits(self) -> jax.Array:
        """``[B, V] float32``: the model's logits for the token after each row."""
        return self._texts.logits

    def append(self, rows: Sequence[Sequence[int]]) -> None:
        """Reads further tokens, possibly of different number per row; returns before the device is done.

        Raises:
          InputError: a text would exceed ``max_length``.
        """
        self.reserve(max(len(row) + len(new) for row, new in zip(self.tokens, rows, strict=True)))
        # Chunks wait in line per group of rows; the last single token of every row is read with all others'.
        waiting: list[list[tuple[int, Sequence[int], int]]] = [[] for _ in range(self.groups)]
        single = np.zeros((len(rows), 1), np.int32)
        last = np.zeros(len(rows), np.int32)
        per_group = len(rows) // self.groups
        for b, new in enumerate(rows):
            at = 0
            for count, size in chunks(len(new), self.sampler.chunk_sizes):
                if size == 1 and at == len(new) - 1:
                    single[b, 0], last[b] = new[at], 1
                else:
                    waiting[b // per_group].append((b % per_group, new[at : at + count], size))
                at += count
        while any(waiting):
            self._read_chunk(waiting)
        if last.any():
            self._read(single, last, None)
        for b, new in enumerate(rows):
            if len(new):
                ids = np.asarray(new, np.int64)
                np.bitwise_or.at(self._seen[b], ids >> 5, np.uint32(1) << (ids & 31).astype(np.uint32))
                self.tokens[b].extend(ids.tolist())

    def _read_chunk(self, waiting: list[list[tuple[int, Sequence[int], int]]]) -> None:
        """Reads the next chunk of every group whose next one has the size of the largest."""
        size = max(line[0][2] for line in waiting if line)
        tokens = np.zeros((self.groups, size), np.int32)
        valid, rows = np.zeros((2, self.groups), np.int32)
        for group, line in enumerate(waiting):
            if line and line[0][2] == size:
                rows[group], part, _ = line.pop(0)
                tokens[group, : len(part)], valid[group] = part, len(part)
        self._read(tokens, valid, rows)

    def _read(self, tokens: np.ndarray, valid: np.ndarray, rows: np.ndarray | None) -> None:
        sampler = self.sampler
        self._texts = programs.read(
            sampler.params, self._texts, tokens, valid, rows, config=sampler.config,
            compute_dtype=sampler.compute_dtype, mesh=sampler.mesh,
        )  # fmt: skip
        self.read += int(valid.sum())

    def draw(
        self, options: Sequence[SamplingOptions | None], seeds: Sequence[int], mask: np.ndarray | None = None,
        *, top: int = 0,
    ) -> Drawn:
        """Draws each row's next token without appending it.

        The draw depends on the text, the options, the seed and the row's length, and on nothing else.

        Args:
          options, seeds: one per row; seeds are taken modulo 2**32. A row without options draws nothing of meaning.
          mask: allowed tokens as packed bits ``[B, ceil(V/32)] int32``; default all.
          top: how many of the model's most probable tokens to name.

        Returns:
          ``Drawn`` of numpy arrays.
        """
        if any(o is not None and not row for o, row in zip(options, self.tokens, strict=True)):
            raise InputError("prompt", "", "a text must have at least one token before anything can follow it")
        if mask is None:
            mask = np.full((len(self.tokens), self._words), -1, np.int32)
        asked = [o for o in options if o is not None]
        drawn = draw(
            self._texts.logits, mask,
            self._seen.view(np.int32) if any(o.repetition_penalty != 1.0 for o in asked) else None,
            option_arrays([o or SamplingOptions() for o in options]),
            np.asarray([seed % 2**32 for seed in seeds], np.uint32), np.asarray(self.lengths, np.int32),
            filtered=any(o.filters for o in asked), top=top,
        )  # fmt: skip
        return Drawn(*jax.device_get(drawn))

    def mark(self, rows: Sequence[int] | None = None) -> None:
        """Remembers the present state of ``rows`` (default all): the one to come back to for free."""
        chosen = np.zeros(len(self.tokens), bool)
        chosen[slice(None) if rows is None else list(rows)] = True
        self._marks = programs.remember(self._texts, self._marks, chosen)
        for b in np.flatnonzero(chosen):
            self._marked[b] = len(self.tokens[b])

    def rewind(self, lengths: Sequence[int]) -> None:
        """Shortens the rows to ``lengths``.

        Raises:
          ValueError: a row is shorter than its length, or a recurrent model would have to go back behind ``mark``.
        """
        lengths = tuple(lengths)
        if any(new > old for new, old in zip(lengths, self.lengths, strict=True)):
            raise ValueError(f"cannot rewind rows of {self.lengths} tokens to {lengths}")
        again: list[list[int]] = []
        for b, length in enumerate(lengths):
            base = self.within_reach(b, length)
            if base < min(length, self._marked[b]):
                raise ValueError(f"recurrent layers were last marked at {self._marked[b]}, not before {length}")
            if base == length and length not in (0, self._marked[b], len(self.tokens[b])):
                base -= 1  # the last token is read again: its logits were not kept
            again.append(self.tokens[b][base:length])
            self.fork(b, b, base)
        if any(again):
            self.append(again)

    def within_reach(self, source: int, length: int) -> int:
        """The longest prefix of row ``source``, at most ``length`` tokens, whose layers' state can be had."""
        if not self.sampler.config.recurrent or length == len(self.tokens[source]):
            return length
        return self._marked[source] if self._marked[source] <= length else 0

    def fork(self, source: int, target: int, length: int) -> None:
        """Makes row ``target`` the first ``length`` tokens of row ``source``, a length that is ``within_reach``.

        Logits follow when the state was marked or is present; else they come with the next token read.

        Raises:
          ValueError: on a mesh, the rows live on different shards.
        """
        if not self.same_shard(source, target):
            raise ValueError(f"rows {source} and {target} live on different shards")
        per_group = len(self.tokens) // self.groups
        if source == target and length == len(self.tokens[source]):
            return
        groups = np.arange(self.groups)
        active = groups == source // per_group
        whole, marked = length == len(self.tokens[source]), length == self._marked[source]
        one = partial(np.full, self.groups)
        move = Move(active, one(source % per_group, np.int32), one(target % per_group, np.int32),
                    one(marked and not whole), one(length, np.int32))
        self._texts = programs.go_back(self._texts, self._marks, move, copy=source != target, mesh=self.sampler.mesh)
        self.tokens[target] = self.tokens[source][:length]
        if self._marked[target] > length or source != target:
            self._marked[target] = 0
        self._seen[target] = 0
        ids = np.asarray(self.tokens[target], np.int64)
        np.bitwise_or.at(self._seen[target], ids >> 5, np.uint32(1) << (ids & 31).astype(np.uint32))

    def same_shard(self, one: int, other: int) -> bool:
        """Whether one row can be forked from the other."""
        per_group = len(self.tokens) // self.groups
        return one // per_group == other // per_group

    def reserve(self, length: int) -> None:
        """Makes room for rows of ``length`` tokens.

        Raises:
          InputError: more than ``max_length``.
        """
        sampler = self.sampler
        if length > sampler.max_length:
            raise InputError("max_length", sampler.max_length, f"the text needs {length} tokens; raise max_length")
        capacity = self.capacity
        while capacity < length:
            capacity = min(2 * capacity, sampler.room(sampler.max_length))
        if capacity > self.capacity:
            longer = partial(grow, more=capacity - self.capacity, shards=sampler.shards)
            where = None
            if sampler.mesh is not None:
                shapes = Texts(jax.eval_shape(longer, self._texts.cache), self._texts.logits)
                where = programs.texts_sharding(sampler.mesh, shapes).cache
            self._texts = self._texts._replace(cache=jax.jit(longer, out_shardings=where)(self._texts.cache))
            self.capacity = capacity

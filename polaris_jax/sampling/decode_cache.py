"""A batch of growing texts: their tokens on the host, and one cache that has read them on the device."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from polaris_jax.errors import InputError
from polaris_jax.models.cache import grow, init_cache
from polaris_jax.sampling import programs
from polaris_jax.sampling.chunking import chunks, passes
from polaris_jax.sampling.options import LogitShifts, SampledTokens, SamplingOptions, option_arrays, sample_tokens
from polaris_jax.sampling.pages import PageTable
from polaris_jax.sampling.programs import DecodeState, PromptScores, RestorePlan, Snapshot
from polaris_jax.sampling.read_ahead import ReadAhead
from polaris_jax.sampling.sampler import Sampler
from polaris_jax.sharding import fetch


class DecodeCache:
    """``B`` texts (rows) and their key-value cache.

    ``append`` reads tokens, ``sample`` proposes the next ones (the caller appends those it accepts), ``rewind`` makes
    rows shorter, ``fork`` copies the beginning of another row. No token is read twice. To shorten keys and values only
    their length is changed; recurrent layers return to the last ``save`` and read on from there. How a row is cut into
    chunks depends on that row alone.

    With ``sampler.cache_tokens`` rows have pages of one pool (``PageTable``): a row takes them as it grows, ``fork``
    shares the whole ones and copies the one that is partly filled, ``rewind`` gives them back.

    Args:
      sampler: the model.
      batch: ``B``.
      together: read chunks of several rows in one pass over the weights where that costs less. Matrix products of
        another shape may sum in another order; without ``together``, no bit of a row depends on the other rows.

    Attributes:
      tokens: the token ids of each row.
      capacity: tokens that a row has room for; of paged rows, that it could have.
      pages: which pages of the pool the rows have; None if each has room of its own.
      tokens_read: tokens read so far in all rows; passes: passes over the weights that read them.
      groups: shards of the mesh that rows are spread over; each reads a chunk of one of its rows at a time.
      ahead: the guesses that were read; None if ``sampler.speculate`` is 0.
      adapters: which adapter has read each row, by its place in ``sampler.adapters`` from 1 on; 0: none (``adapt``).
    """

    def __init__(self, sampler: Sampler, batch: int = 1, *, together: bool = False):
        self.sampler = sampler
        self._together = together
        self.tokens: list[list[int]] = [[] for _ in range(batch)]
        own = sampler.cache_tokens is None
        self.capacity = sampler.round_capacity(sampler.first_capacity if own else sampler.max_length)
        self.pages = self._no_pages()
        self.tokens_read = self.passes = 0
        vocabulary = sampler.config.vocab_size
        self._words = (vocabulary + 31) // 32
        self._seen = np.zeros((batch, self._words), np.uint32)
        self.groups = sampler.row_groups(batch)
        self._saved_lengths = [0] * batch
        self.ahead = ReadAhead(batch, sampler.speculate + 1) if sampler.speculate else None
        self.adapters = [0] * batch
        self._unstacked = isinstance(sampler.params["blocks"], tuple)
        self._state, self._snapshot = self._empty()

    def _no_pages(self) -> PageTable | None:
        pool = self.sampler.cache_tokens
        return None if pool is None else PageTable(len(self.tokens), self.capacity, pool)

    def _empty(self) -> tuple[DecodeState, Snapshot]:
        """Arrays for rows of ``capacity`` tokens."""
        sampler, batch = self.sampler, len(self.tokens)
        self._adapters_there = [0] * batch  # on the device

        def empty() -> DecodeState:
            pages = None if self.pages is None else self.pages.pages
            room = sampler.config, batch, self.capacity, sampler.cache_dtype
            cache = init_cache(*room, unstacked=self._unstacked, pages=pages, adapters=bool(sampler.adapters))
            return DecodeState(cache, jnp.zeros((batch, sampler.config.vocab_size), jnp.float32))

        if sampler.mesh is None:
            state = empty()
        else:
            sharding = programs.state_sharding(sampler.mesh, jax.eval_shape(empty))
            state = jax.jit(empty, out_shardings=sharding)()
        return state, jax.tree.map(jnp.copy, Snapshot(programs.recurrent_part(state.cache), state.logits))

    def release(self) -> None:
        """Empties all rows and frees their memory; ``renew`` allocates it again."""
        self.tokens = [[] for _ in self.tokens]
        self._seen[:] = 0
        self._saved_lengths = [0] * len(self.tokens)
        self.pages = self._no_pages()
        if self.ahead is not None:
            self.ahead = ReadAhead(len(self.tokens), self.ahead.width)
        jax.tree.map(lambda x: x.delete(), (self._state, self._snapshot))

    def renew(self) -> None:
        """Allocates the arrays that ``release`` freed."""
        self._state, self._snapshot = self._empty()

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens per row."""
        return tuple(len(row) for row in self.tokens)

    @property
    def saved_lengths(self) -> tuple[int, ...]:
        """Length per row at its last ``save``."""
        return tuple(self._saved_lengths)

    @property
    def logits(self) -> jax.Array:
        """``[B, V] float32``: the model's logits for the token after each row."""
        return self._state.logits

    def append(self, rows: Sequence[Sequence[int]]) -> None:
        """Reads further tokens, any number per row; returns before the device is done.

        Raises:
          InputError: a row would exceed ``max_length``.
        """
        self._make_room(rows)
        sampler = self.sampler
        fixed, together = sampler.fixed_pass_tokens, self._together
        for tokens, valid, which in passes(rows, sampler.chunk_sizes, self.groups, fixed, together=together):
            self._read(tokens, valid, which)
        for b, new in enumerate(rows):
            self._extend(b, new)

    def append_generated(self, rows: Sequence[Sequence[int]]) -> None:
        """``append`` for the tokens generated since the last call; with ``sampler.speculate`` it also reads guesses.

        Tokens that were guessed and read already need no pass. No bit depends on the guesses: the new tokens of a row
        are always read in a pass of ``speculate + 1`` tokens, or in ``append``'s chunks if there are more of them.

        Raises:
          InputError: a row would exceed ``max_length``.
        """
        if self.ahead is None:
            self.append(rows)
            return
        width = self.ahead.width
        right = [list(new) if self.ahead.holds(b, new) else [] for b, new in enumerate(rows)]
        if any(right):
            self._advance(self.ahead, right)
        rest = [[] if found else list(new) for found, new in zip(right, rows, strict=True)]
        if any(many := [new if len(new) > width else [] for new in rest]):
            self.append(many)
        if any(few := [new if len(new) <= width else [] for new in rest]):
            self._append_ahead(self.ahead, few)

    def _advance(self, ahead: ReadAhead, rows: Sequence[Sequence[int]]) -> None:
        """Accepts the tokens of ``rows``, which were guessed and read already; takes their logits from that pass."""
        assert ahead.logits is not None  # of the pass that read them
        self._state = programs.advance(self._state, ahead.logits, *ahead.take(rows), mesh=self.sampler.mesh)
        for b, new in enumerate(rows):
            self._extend(b, new)
            self.tokens_read += len(new)

    def _append_ahead(self, ahead: ReadAhead, rows: Sequence[Sequence[int]]) -> None:
        """Reads at most ``ahead.width`` tokens per row, and guesses after them as far as there is room."""
        self._make_room(rows)
        room = [min(self.room(b), self.sampler.max_length) for b in range(len(rows))]
        guesses = ahead.guess(rows, [most - len(row) for most, row in zip(room, self.tokens, strict=True)])
        tokens = np.zeros((len(rows), ahead.width), np.int32)
        valid, guessed = np.zeros((2, len(rows)), np.int32)
        for b, (new, after) in enumerate(zip(rows, guesses, strict=True)):
            valid[b], guessed[b] = len(new) + len(after), len(after)
            tokens[b, : valid[b]] = [*new, *after]
        self._state, ahead.logits = self._pass(programs.append_ahead, tokens, valid, guessed)
        for b, new in enumerate(rows):
            self._extend(b, new)
            self.tokens_read += len(new)

    def _extend(self, row: int, new: Sequence[int]) -> None:
        """Records on the host that a row has read further tokens."""
        if not len(new):
            return
        ids = np.asarray(new, np.int64)
        self._mark_seen(row, ids)
        self.tokens[row].extend(ids.tolist())
        if self.ahead is not None:
            self.ahead.lookup.extend(row, ids)

    def _read(self, tokens: np.ndarray, valid: np.ndarray, rows: np.ndarray | None) -> None:
        if self.ahead is not None:
            self.ahead.forget()
        self._state = self._pass(programs.append, tokens, valid, rows)
        self.tokens_read += int(valid.sum())

    def _pass(self, program: Callable[..., Any], *given: np.ndarray | None, **options: Any) -> Any:
        """Calls one of ``programs`` that read the weights, and counts it."""
        sampler = self.sampler
        how = {"config": sampler.config, "compute_dtype": sampler.compute_dtype, "mesh": sampler.mesh}
        self.passes += 1
        if self.pages is not None and self.pages.changed:
            self._state = programs.with_rows(self._state, "pages", self.pages.table, sampler.mesh)
            self.pages.changed = False
        if self.adapters != self._adapters_there:
            self._adapters_there = list(self.adapters)
            self._state = programs.with_rows(self._state, "adapter", np.array(self.adapters, np.int32), sampler.mesh)
        return program(sampler.params, self._state, *given, **how, **options)

    def append_scored(
        self, row: int, tokens: Sequence[int], following: int, top: int
    ) -> list[tuple[PromptScores, int, int]]:
        """Reads further tokens of one row, and scores each next token under the model.

        Args:
          following: the token that will follow ``tokens``.
          top: number of most probable tokens to return per position, at least 1.

        Returns:
          Scores of ``tokens[1:]`` and ``following``, chunk by chunk: ``(scores, row, count)``. Those of the text are
          ``scores[row, :count]``; they are still on the device.
        """
        self._make_room([tokens if b == row else [] for b in range(len(self.tokens))])
        group, inside = divmod(row, len(self.tokens) // self.groups)
        targets = [*tokens[1:], following]
        scores, at = [], 0
        for count, size in chunks(len(tokens), self.sampler.chunk_sizes, self.sampler.fixed_pass_tokens):
            padded, wanted = np.zeros((2, self.groups, size), np.int32)
            valid, rows = np.zeros((2, self.groups), np.int32)
            padded[group, :count], wanted[group, :count] = tokens[at : at + count], targets[at : at + count]
            valid[group], rows[group] = count, inside
            self._state, found = self._pass(programs.append_scored, padded, valid, rows, wanted, top=top)
            scores.append((found, group, count))
            at += count
        self.tokens_read += len(tokens)
        self._extend(row, tokens)
        if self.ahead is not None:
            self.ahead.forget()
        return scores

    def _mark_seen(self, row: int, ids: np.ndarray) -> None:
        """Sets the bits of ``ids`` among the tokens that the repetition penalty looks at."""
        np.bitwise_or.at(self._seen[row], ids >> 5, np.uint32(1) << (ids & 31).astype(np.uint32))

    def sample(
        self,
        options: Sequence[SamplingOptions | None],
        seeds: Sequence[int],
        mask: np.ndarray | None = None,
        *,
        shifts: LogitShifts | None = None,
        top: int = 0,
    ) -> SampledTokens:
        """Samples each row's next token without appending it.

        A sample depends on the row's text, its options, its seed and its length, and on nothing else.

        Args:
          options, seeds: one per row; seeds are taken modulo 2**32. The result of a row without options is meaningless.
          mask: allowed tokens as packed bits ``[B, ceil(V/32)] int32``; default all.
          shifts: see ``sample_tokens``.
          top: how many of the model's most probable tokens to name.

        Returns:
          ``SampledTokens`` of numpy arrays.

        Raises:
          InputError: a row with options is empty.
        """
        if any(o is not None and not row for o, row in zip(options, self.tokens, strict=True)):
            raise InputError("prompt", "", "a text must have at least one token before anything can follow it")
        if mask is None:
            mask = np.full((len(self.tokens), self._words), -1, np.int32)
        given = [o for o in options if o is not None]
        sampled = sample_tokens(
            self._state.logits,
            mask,
            self._seen.view(np.int32) if any(o.repetition_penalty != 1.0 for o in given) else None,
            option_arrays([o or SamplingOptions() for o in options]),
            np.asarray([seed % 2**32 for seed in seeds], np.uint32),
            np.asarray(self.lengths, np.int32),
            shifts,
            filtered=any(o.filters for o in given),
            reshaped=any(o.reshapes for o in given),
            top=top,
        )
        return SampledTokens(*fetch(sampled))

    def save(self, rows: Sequence[int] | None = None) -> None:
        """Saves the present state of ``rows`` (default all): returning to it costs nothing."""
        chosen = np.zeros(len(self.tokens), bool)
        chosen[slice(None) if rows is None else list(rows)] = True
        self._snapshot = programs.save(self._state, self._snapshot, chosen)
        for b in np.flatnonzero(chosen):
            self._saved_lengths[b] = len(self.tokens[b])

    def rewind(self, lengths: Sequence[int]) -> None:
        """Shortens the rows to ``lengths``.

        Raises:
          ValueError: a row is shorter than its length, or a recurrent model would have to return to before ``save``.
        """
        lengths = tuple(lengths)
        if any(new > old for new, old in zip(lengths, self.lengths, strict=True)):
            raise ValueError(f"cannot rewind rows of {self.lengths} tokens to {lengths}")
        again: list[list[int]] = []
        for b, length in enumerate(lengths):
            base = self.reusable_length(b, length)
            if base < min(length, self._saved_lengths[b]):
                raise ValueError(f"recurrent layers were last saved at {self._saved_lengths[b]}, not before {length}")
            if base == length and length not in (0, self._saved_lengths[b], len(self.tokens[b])):
                base -= 1  # the last token is read again: its logits were not kept
            again.append(self.tokens[b][base:length])
            self.fork(b, b, base)
        if any(again):
            self.append(again)

    def reusable_length(self, source: int, length: int) -> int:
        """The longest prefix of row ``source``, at most ``length`` tokens, whose state is present or saved."""
        if not self.sampler.config.recurrent or length == len(self.tokens[source]):
            return length
        return self._saved_lengths[source] if self._saved_lengths[source] <= length else 0

    def fork(self, source: int, target: int, length: int) -> None:
        """Replaces row ``target`` by the first ``length`` tokens of row ``source``; ``length``: a ``reusable_length``.

        The row's adapter is then that of ``source``. Logits are available at once if the state is present or saved,
        otherwise after the next token is read.

        Raises:
          ValueError: on a mesh, the rows live on different shards.
        """
        if not self.same_shard(source, target):
            raise ValueError(f"rows {source} and {target} live on different shards")
        per_group = len(self.tokens) // self.groups
        if self.ahead is not None:
            self.ahead.forget()
            self.ahead.lookup.copy(source, target, length)
        if source == target and length == len(self.tokens[source]):
            return
        groups = np.arange(self.groups)
        active: Any = groups == source // per_group
        whole, saved = length == len(self.tokens[source]), length == self._saved_lengths[source]
        one: Callable[..., Any] = partial(np.full, self.groups)
        plan = RestorePlan(
            active,
            one(source % per_group, np.int32),
            one(target % per_group, np.int32),
            one(saved and not whole),
            one(length, np.int32),
        )
        copy = source != target
        if self.pages is not None:
            self._copy_page(self.pages.share(source, target, length))
        how = {"copy": copy and self.pages is None, "mesh": self.sampler.mesh}
        self._state = programs.restore(self._state, self._snapshot, plan, **how)
        self.tokens[target] = self.tokens[source][:length]
        self.adapters[target] = self.adapters[source]
        if self._saved_lengths[target] > length or copy:
            self._saved_lengths[target] = 0
        self._seen[target] = 0
        self._mark_seen(target, np.asarray(self.tokens[target], np.int64))

    def adapt(self, row: int, adapter: int) -> None:
        """From now on a row, which is empty or has that adapter already, is read by an adapter.

        Raises:
          ValueError: another adapter has read its tokens.
        """
        if self.tokens[row] and self.adapters[row] != adapter:
            raise ValueError(f"row {row} was read by adapter {self.adapters[row]}, not {adapter}")
        self.adapters[row] = adapter

    def same_shard(self, one: int, other: int) -> bool:
        """Whether one row can be forked from the other."""
        per_group = len(self.tokens) // self.groups
        return one // per_group == other // per_group

    def room(self, row: int) -> int:
        """Tokens that a row has room for now."""
        return self.capacity if self.pages is None else self.pages.room(row)

    def cover(self, row: int, length: int) -> None:
        """Gives a row the pages for ``length`` tokens, so that no other takes them; raises ``InputError`` without."""
        if self.pages is not None:
            self._copy_page(self.pages.cover(row, len(self.tokens[row]), length))

    def uncover(self, row: int) -> None:
        """Takes from a row the pages that it has no tokens in."""
        if self.pages is not None:
            self.pages.shorten(row, len(self.tokens[row]))

    def _make_room(self, rows: Sequence[Sequence[int]]) -> None:
        """Makes room for the further tokens of every row."""
        self.reserve(max(len(row) + len(new) for row, new in zip(self.tokens, rows, strict=True)))
        for b, new in enumerate(rows):
            if len(new):
                self.cover(b, len(self.tokens[b]) + len(new))

    def _copy_page(self, pair: tuple[int, int] | None) -> None:
        self._state = programs.copy_page(self._state, *pair, mesh=self.sampler.mesh) if pair else self._state

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
            capacity = min(2 * capacity, sampler.round_capacity(sampler.max_length))
        if capacity > self.capacity:
            longer = partial(grow, more=capacity - self.capacity, shards=sampler.shards)
            sharding = None
            if sampler.mesh is not None:
                shapes = DecodeState(jax.eval_shape(longer, self._state.cache), self._state.logits)
                sharding = programs.state_sharding(sampler.mesh, shapes).cache
            self._state = self._state._replace(cache=jax.jit(longer, out_shardings=sharding)(self._state.cache))
            self.capacity = capacity

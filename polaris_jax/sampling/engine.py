"""Continuous batching: many requests in the slots of one cache, refilled as they become free, with prefix sharing.

One round (``step``): while the device reads the last tokens, the host computes the next grammar masks. Then every slot
whose text is fully read gets a sampled token. The tokens are processed (end of text? what does the grammar force?), and
dispatched for reading before the caller gets the events. A long prompt takes several rounds, so that others go on.

The text of a request does not depend on the others: its samples are keyed by its seed and the place in its own text,
and its tokens are read in chunks that depend on its own text alone (``DecodeCache``).
"""

import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from typing import Any

import jax
import numpy as np
from llguidance import LLTokenizer

from polaris_jax.errors import InputError
from polaris_jax.sampling.constraint import grammar_tokenizer
from polaris_jax.sampling.decode_cache import DecodeCache
from polaris_jax.sampling.detokenizer import IncrementalDetokenizer
from polaris_jax.sampling.dry import breaker_tokens, dry_penalties
from polaris_jax.sampling.generate import Counts
from polaris_jax.sampling.options import LogitShifts, SampledTokens, SamplingOptions
from polaris_jax.sampling.prefix_sharing import MIN_SHARED_TOKENS, PrefixSharing
from polaris_jax.sampling.programs import PromptScores
from polaris_jax.sampling.request import (
    MAX_TOP_LOGPROBS,
    Completion,
    FinishReason,
    GenerationRequest,
    PromptLogprobs,
    TokenEvent,
)
from polaris_jax.sampling.sampler import Sampler
from polaris_jax.trajectory import EOT

# Chunks of prompts read between two sampled tokens, or as many tokens of shorter prompts.
PROMPT_CHUNKS = 2
# Cached sets of DRY's sequence breakers; each takes one byte per token of the vocabulary.
KEPT_BREAKERS = 8


@dataclass
class _ActiveRequest:
    """A request in a slot."""

    number: int
    request: GenerationRequest
    ends: frozenset[int]
    detokenizer: IncrementalDetokenizer
    prompt: list[int]  # the part still to be read
    unread: list[int] = field(default_factory=list)  # generated, still to be read
    generated: int = 0
    scores: list[tuple[PromptScores, int, int]] = field(default_factory=list)  # of the prompt (``append_scored``)
    counts: np.ndarray | None = None  # [V] int32, how often each token was generated; None: no option asks for it


class Engine:
    """Serves requests in the ``slots`` rows of one ``DecodeCache``. Only one thread may call it.

    Args:
      sampler: the model.
      slots: requests generated at the same time.
        With ``sampler.cache_tokens`` a request waits until there are pages for its prompt and all of ``max_tokens``,
        and none that began ever lacks one.
      exact: a text has the same bits as it would have alone. Rounding depends on how a text is cut into chunks and on
        how many are read at once. So a prefix is shared only if the rest is cut as without sharing (whole prompts, and
        whole chunks of them), and prompts are read one by one.

    Attributes:
      counts: tokens sampled, forced, prefilled (prompt tokens read) and reused (prompt tokens found in a cache).
    """

    def __init__(self, sampler: Sampler, slots: int = 8, *, exact: bool = False):
        if slots < 1:
            raise InputError("slots", slots, "must be at least 1")
        self.sampler = sampler
        self.slots = slots
        self.cache = DecodeCache(sampler, slots, together=not exact)
        self._sharing = PrefixSharing(self.cache, exact=exact)
        self.counts = Counts()
        self._released = False
        self._numbers = itertools.count()
        self._waiting: deque[tuple[int, GenerationRequest]] = deque()
        self._active: dict[int, _ActiveRequest] = {}  # by slot
        self._events: list[TokenEvent] = []
        self._pieces = sampler.tokenizer.token_bytes()
        self._breakers = lru_cache(KEPT_BREAKERS)(partial(breaker_tokens, self._pieces))
        # Without a constraint every token of the vocabulary is allowed; further rows of the embedding are padding.
        known = np.zeros(-(-len(self._pieces) // 32) * 32, bool)
        known[: len(self._pieces)] = True
        self._all = np.tile(np.packbits(known, bitorder="little").view(np.int32), (slots, 1))

    @cached_property
    def vocabulary(self) -> LLTokenizer:
        """The vocabulary that constraints are compiled for."""
        return grammar_tokenizer(self.sampler.tokenizer, self._turn_end)

    @property
    def _turn_end(self) -> int:
        """The token that ends a grammar: ``<|eot_id|>``, or the model's first end token if its vocabulary lacks it."""
        tokenizer, own = self.sampler.tokenizer, self.sampler.config.eos_token_ids
        return own[0] if EOT not in tokenizer.control_tokens and own else tokenizer.eot_id

    @property
    def active(self) -> int:
        """How many requests have a slot."""
        return len(self._active)

    @property
    def busy(self) -> bool:
        """Whether a request is waiting or active, or events are still to be returned."""
        return bool(self._waiting or self._events or self._active)

    def check(self, request: GenerationRequest) -> None:
        """Raises an ``InputError`` about a request that can never be served."""
        request.check(self.sampler.tokenizer.vocab_size, self.sampler.max_length)
        self.sampler.adapter_number(request.adapter)

    def submit(self, request: GenerationRequest) -> int:
        """Queues a request; returns its number.

        Raises:
          InputError: it can never be served.
        """
        self.check(request)
        number = next(self._numbers)
        self._waiting.append((number, request))
        return number

    def cancel(self, number: int) -> bool:
        """Ends a request; its last event comes with the next ``step``. False when it has ended already."""
        for waiting in self._waiting:
            if waiting[0] == number:
                self._waiting.remove(waiting)
                self._events.append(TokenEvent(number, None, finish_reason="cancelled"))
                return True
        for slot, active in self._active.items():
            if active.number == number:
                self._end(slot, "cancelled")
                return True
        return False

    def generate(self, requests: Iterable[GenerationRequest]) -> list[Completion]:
        """Serves ``requests``, whatever else is active; the result has their order.

        Raises:
          InputError: one of them can never be served; then none is.
        """
        requests = list(requests)
        for request in requests:
            self.check(request)
        events: dict[int, list[TokenEvent]] = {self.submit(request): [] for request in requests}
        missing = set(events)
        while missing:
            for event in self.step():
                if event.request in events:
                    events[event.request].append(event)
                    if event.finish_reason:
                        missing.discard(event.request)
        return [
            Completion.of(own, self.end_tokens(request)) for own, request in zip(events.values(), requests, strict=True)
        ]

    def set_params(self, params: Any) -> None:
        """Replaces the weights by others of the same shapes and empties the cache.

        Raises:
          InputError: a request is waiting or active, or the shapes differ.
        """
        self._refuse_busy()
        self.sampler.set_params(params)
        if self._released:
            self.cache.renew()
            self._released = False
        else:
            self.cache.rewind([0] * self.slots)

    def release(self) -> None:
        """Frees the memory of weights and cache until ``set_params``; nothing can be served meanwhile.

        Raises:
          InputError: a request is waiting or active.
        """
        self._refuse_busy()
        self.sampler.release()
        self.cache.release()
        self._released = True

    def _refuse_busy(self) -> None:
        if self.busy:
            raise InputError("params", "new weights", "finish or cancel all requests first")

    def end_tokens(self, request: GenerationRequest) -> frozenset[int]:
        """The ids that end a request."""
        ends = set(request.stop_token_ids)
        if not request.ignore_eos:
            ends |= {self._turn_end, *self.sampler.config.eos_token_ids}
        elif request.constraint is not None:
            ends.add(self._turn_end)  # the grammar's own end
        return frozenset(ends)

    def step(self) -> list[TokenEvent]:
        """Runs one round; returns its events in order, or none if there is nothing to do."""
        self._admit()
        self._read_prompts()
        self._read_generated()
        masks = self._masks()  # while the device reads
        while ready := self._ready():
            self._sample(ready, masks)
            # A token that was guessed has been read with the one before it, so the next can be sampled at once.
            self._read_generated(only_guessed=True)
            masks = self._masks()
        self._read_generated()  # the device is busy while the caller looks at the events
        events, self._events = self._events, []
        return events

    def _sample(self, ready: Sequence[int], masks: np.ndarray) -> None:
        """Samples a token for every slot in ``ready``, and processes it."""
        options: list[SamplingOptions | None] = [None] * self.slots
        seeds, top = [0] * self.slots, 0
        for slot in ready:
            request = self._active[slot].request
            options[slot], seeds[slot], top = request.options, request.seed, max(top, request.top_logprobs)
        top = MAX_TOP_LOGPROBS if top else 0
        sampled = self.cache.sample(options, seeds, masks, shifts=self._shifts(ready), top=top)
        self.counts.sampled += len(ready)
        for slot in ready:
            self._take(slot, sampled)

    def _ready(self) -> list[int]:
        """Slots whose text has been read to its end."""
        return sorted(slot for slot, active in self._active.items() if not active.prompt and not active.unread)

    # Slots.

    def _admit(self) -> None:
        """Gives free slots to waiting requests, in order; one that could share a prompt being read waits for it."""
        later: deque[tuple[int, GenerationRequest]] = deque()
        while self._waiting and len(self._active) < self.slots:
            number, request = self._waiting.popleft()
            prompt = [int(token) for token in request.prompt]
            scored = request.prompt_logprobs is not None
            adapter = self.sampler.adapter_number(request.adapter)
            slot, source, shared = self._sharing.best_slot(prompt, adapter, self._active)
            if scored:
                source, shared = slot, 0  # a score needs the token to be read
            reading = [(other, active.request.prompt) for other, active in self._active.items() if active.prompt]
            soon = 0 if scored else self._sharing.shared_soon(prompt, adapter, reading)
            if soon > max(shared, MIN_SHARED_TOKENS):
                later.append((number, request))
                continue
            length = len(prompt) + request.max_tokens
            if not self._sharing.find_pages(slot, source, shared, length, self._active):
                later.append((number, request))
                break
            self.cache.fork(source, slot, shared)
            self.cache.adapt(slot, adapter)
            self.cache.cover(slot, length)
            self._sharing.note(slot, len(prompt))
            self.counts.reused += shared
            self.counts.prefilled += len(prompt) - shared
            detokenizer = IncrementalDetokenizer(request.stop)
            active = _ActiveRequest(number, request, self.end_tokens(request), detokenizer, prompt[shared:])
            if request.options.counts_tokens:
                active.counts = np.zeros(self.sampler.config.vocab_size, np.int32)
            self._active[slot] = active
            if not active.prompt:
                self.cache.save([slot])
            if not scored:  # else a grammar could end the request before its prompt has been read
                self._force(slot, [])
        later.extend(self._waiting)
        self._waiting = later

    def _end(self, slot: int, reason: FinishReason, error: str = "") -> None:
        """Frees a slot; its text stays in the cache until it is replaced. The request's last event says why."""
        active = self._active.pop(slot)
        self.cache.uncover(slot)
        rest = active.detokenizer.flush()
        own = self._events and self._events[-1].request == active.number
        last = self._events.pop() if own else TokenEvent(active.number, None)
        self._events.append(replace(last, text=last.text + rest, finish_reason=reason, error=error))

    # Reading.

    def _read_prompts(self) -> None:
        """Reads the next chunks of the prompts, oldest request first."""
        chunk = self.sampler.chunk_sizes[-1]
        reading = sorted((active.number, slot) for slot, active in self._active.items() if active.prompt)
        if not reading:
            return
        rows: list[list[int]] = [[] for _ in range(self.slots)]
        room = PROMPT_CHUNKS * self.cache.groups * chunk
        for _, slot in reading:
            active = self._active[slot]
            if len(active.prompt[:chunk]) > room:
                break
            rows[slot], active.prompt = active.prompt[:chunk], active.prompt[chunk:]
            room -= len(rows[slot])
        scored = [
            slot for slot, row in enumerate(rows) if row and self._active[slot].request.prompt_logprobs is not None
        ]
        for slot in scored:
            active, row = self._active[slot], rows[slot]
            following = active.prompt[0] if active.prompt else 0  # after the last one nothing is known yet
            top = MAX_TOP_LOGPROBS if active.request.prompt_logprobs else 1
            active.scores += self.cache.append_scored(slot, row, following, top)
        self.cache.append([[] if slot in scored else row for slot, row in enumerate(rows)])
        ended = [slot for slot, row in enumerate(rows) if row and not self._active[slot].prompt]
        if ended:
            self.cache.save(ended)
        for slot in set(ended) & set(scored):
            self._report_prompt(slot)

    def _report_prompt(self, slot: int) -> None:
        """Emits the event with a prompt's log-probabilities; it is the last one if nothing is to be generated."""
        active = self._active[slot]
        read, active.scores = jax.device_get(active.scores), []
        parts = zip(*([array[row, :count] for array in scores] for scores, row, count in read), strict=True)
        logprobs, ranks, tokens, best = (np.concatenate(part)[:-1] for part in parts)
        count = active.request.prompt_logprobs
        top = tuple(
            tuple(zip(ids[:count].tolist(), values[:count].tolist(), strict=True))
            for ids, values in zip(tokens, best, strict=True)
        )
        self._events.append(TokenEvent(active.number, None, prompt=PromptLogprobs(logprobs, ranks, top)))
        if active.request.max_tokens:
            self._force(slot, [])
        else:
            self._end(slot, "length")

    def _read_generated(self, *, only_guessed: bool = False) -> None:
        """Reads all generated tokens; with ``only_guessed``, only those that a pass has read already as guesses."""
        rows: list[list[int]] = [[] for _ in range(self.slots)]
        ahead = self.cache.ahead
        for slot, active in self._active.items():
            if not active.prompt and (not only_guessed or (ahead is not None and ahead.holds(slot, active.unread))):
                rows[slot], active.unread = active.unread, []
        if any(rows):
            self.cache.append_generated(rows)

    # Generating.

    def _masks(self) -> np.ndarray:
        """Allowed tokens of every slot, ``[slots, words] int32``; each of a request's end tokens may end its text."""
        masks = self._all
        for slot in self._ready():
            active = self._active[slot]
            constraint, early = active.request.constraint, active.generated < active.request.min_tokens
            if constraint is None and not early:
                continue
            masks = masks.copy() if masks is self._all else masks
            ends = self._packed(active.ends)
            if constraint is not None:
                try:
                    masks[slot] = constraint.mask()[0]
                except ValueError as error:
                    self._end(slot, "failed", str(error))
                    continue
                if constraint.accepting:
                    masks[slot] |= ends
            if early and (masks[slot] & ~ends).any():
                masks[slot] &= ~ends
        return masks

    def _packed(self, tokens: Iterable[int]) -> np.ndarray:
        """A set of tokens as a mask, ``[words] int32``; ids outside the vocabulary are left out."""
        bits = np.zeros(32 * self._all.shape[1], bool)
        bits[[token for token in tokens if 0 <= token < len(self._pieces)]] = True
        return np.packbits(bits, bitorder="little").view(np.int32)

    def _shifts(self, ready: Sequence[int]) -> LogitShifts | None:
        """Logit bias, token counts and DRY of every slot; None when no request in ``ready`` has any."""
        chosen = [
            slot
            for slot in ready
            if self._active[slot].request.logit_bias
            or self._active[slot].counts is not None
            or self._active[slot].request.options.dry
        ]
        if not chosen:
            return None
        shape = self.slots, self.sampler.config.vocab_size
        shifts = LogitShifts(np.zeros(shape, np.float32), np.zeros(shape, np.int32), np.zeros(shape, np.float32))
        for slot in chosen:
            active = self._active[slot]
            for token, bias in active.request.logit_bias.items():
                shifts.bias[slot, token] = bias
            if active.counts is not None:
                shifts.counts[slot] = active.counts
            if dry := active.request.options.dry:
                penalties = dry_penalties(self.cache.tokens[slot], dry, self._breakers(dry.breakers))
                shifts.dry[slot, list(penalties)] = list(penalties.values())
        return shifts

    def _take(self, slot: int, sampled: SampledTokens) -> None:
        """Processes the token that was sampled for a slot."""
        active, token = self._active[slot], int(sampled.token[slot])
        count = active.request.top_logprobs
        best = sampled.top_tokens[slot, :count], sampled.top_logprobs[slot, :count]
        top = tuple(zip(*(part.tolist() for part in best), strict=True))
        logprobs = float(sampled.logprob[slot]), float(sampled.model_logprob[slot])
        event = TokenEvent(active.number, token, "", *logprobs, top)
        if token in active.ends:
            self._events.append(event)
            self._end(slot, "stop")
            return
        self._write(slot, token, event)
        self._force(slot, [token])

    def _force(self, slot: int, tokens: list[int]) -> None:
        """Advances the constraint by ``tokens``, writes what it then forces, and ends the request if it is done."""
        active = self._active[slot]
        request, detokenizer = active.request, active.detokenizer
        if request.constraint is not None and not detokenizer.stopped:
            try:
                request.constraint.consume(tokens)
                forced = request.constraint.forced()[: request.max_tokens - active.generated]
                request.constraint.consume(forced)
            except ValueError as error:
                self._end(slot, "failed", str(error))
                return
            for token in forced:
                self.counts.forced += 1
                self._write(slot, token, TokenEvent(active.number, token, forced=True))
        if detokenizer.stopped:
            self._end(slot, "stop")
        elif request.constraint is not None and request.constraint.finished:
            self._end(slot, "complete")
        elif active.generated >= request.max_tokens > 0:
            self._end(slot, "length")

    def _write(self, slot: int, token: int, event: TokenEvent) -> None:
        """Adds a token and its event to a text, unless a stop string has ended it."""
        active = self._active[slot]
        if active.detokenizer.stopped:
            return
        active.generated += 1
        active.unread.append(token)
        if active.counts is not None:
            active.counts[token] += 1
        self._events.append(replace(event, text=active.detokenizer.push(self._pieces[token])))

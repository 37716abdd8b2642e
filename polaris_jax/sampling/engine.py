"""Many requests at once over one batch of texts: slots are refilled as they become free, prompts share their prefixes.

One round (``step``) is: while the device reads the tokens of the round before, the host computes the grammar masks of
the next ones; then every text that has been read to its end draws a token; then each token is looked at (end of text?
what does the grammar force now?) and reading it is dispatched before the caller hears of it. Prompts are read a few
chunks per round, so that a long one does not stop the others.

What is written for a request does not depend on the others: its draws are keyed by its seed and the place in its own
text, and its tokens are read in chunks that its own text decides (``Session``).
"""

import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from llguidance import LLTokenizer

from polaris_jax.errors import InputError
from polaris_jax.sampling.constraint import grammar_tokenizer
from polaris_jax.sampling.generate import Counts
from polaris_jax.sampling.options import Drawn, SamplingOptions
from polaris_jax.sampling.request import (
    MAX_TOP_LOGPROBS,
    Completion,
    FinishReason,
    GenerationRequest,
    TokenEvent,
)
from polaris_jax.sampling.sampler import Sampler
from polaris_jax.sampling.text_stream import TextStream

# Chunks of prompts read between two tokens of the texts that are being written.
PROMPT_CHUNKS = 2
# A request waits for a running prompt, or copies a running text's cache, when that saves this many tokens.
WORTH_SHARING = 16


@dataclass
class _Running:
    """A request in a slot."""

    number: int
    request: GenerationRequest
    ends: frozenset[int]
    stream: TextStream
    prompt: list[int]  # what of it is still to be read
    unread: list[int] = field(default_factory=list)  # written, to be read
    written: int = 0


class Engine:
    """Serves requests from ``slots`` texts of one ``Session``. One thread calls it.

    Args:
      sampler: the model.
      slots: requests written at the same time.

    Attributes:
      counts: tokens sampled, forced, prefilled (prompt tokens read) and reused (prompt tokens found in a cache).
    """

    def __init__(self, sampler: Sampler, slots: int = 8):
        if slots < 1:
            raise InputError("slots", slots, "must be at least 1")
        self.sampler = sampler
        self.session = sampler.start(slots)
        self.counts = Counts()
        self._numbers = itertools.count()
        self._waiting: deque[tuple[int, GenerationRequest]] = deque()
        self._running: list[_Running | None] = [None] * slots
        self._events: list[TokenEvent] = []
        self._pieces = sampler.tokenizer.token_bytes()
        # Without a constraint every token of the vocabulary; further rows of the embedding are padding.
        known = np.zeros(-(-len(self._pieces) // 32) * 32, bool)
        known[: len(self._pieces)] = True
        self._all = np.tile(np.packbits(known, bitorder="little").view(np.int32), (slots, 1))

    @cached_property
    def vocabulary(self) -> LLTokenizer:
        """What constraints are made over."""
        return grammar_tokenizer(self.sampler.tokenizer)

    @property
    def busy(self) -> bool:
        """Whether a request waits or runs, or events are still to be told."""
        return bool(self._waiting or self._events or any(self._running))

    def submit(self, request: GenerationRequest) -> int:
        """Takes a request in; returns its number.

        Raises:
          InputError: it can never be served.
        """
        request.check(self.sampler.tokenizer.vocab_size, self.sampler.max_length)
        number = next(self._numbers)
        self._waiting.append((number, request))
        return number

    def cancel(self, number: int) -> bool:
        """Ends a request; its last event comes with the next step. False when it has ended already."""
        for waiting in self._waiting:
            if waiting[0] == number:
                self._waiting.remove(waiting)
                self._events.append(TokenEvent(number, None, finish_reason="cancelled"))
                return True
        for slot, running in enumerate(self._running):
            if running and running.number == number:
                self._end(slot, "cancelled")
                return True
        return False

    def generate(self, requests: Iterable[GenerationRequest]) -> list[Completion]:
        """Serves ``requests``, in their order, whatever else is running.

        Raises:
          InputError: one of them can never be served; then none is.
        """
        requests = list(requests)
        for request in requests:
            request.check(self.sampler.tokenizer.vocab_size, self.sampler.max_length)
        events: dict[int, list[TokenEvent]] = {self.submit(request): [] for request in requests}
        missing = set(events)
        while missing:
            for event in self.step():
                if event.request in events:
                    events[event.request].append(event)
                    if event.finish_reason:
                        missing.discard(event.request)
        return [
            Completion.of(told, self.end_tokens(request))
            for told, request in zip(events.values(), requests, strict=True)
        ]

    def set_params(self, params: Any) -> None:
        """Other weights of the same shapes; what the caches hold is forgotten.

        Raises:
          InputError: a request is waiting or running, or the shapes differ.
        """
        if self.busy:
            raise InputError("params", "new weights", "finish or cancel all requests first")
        self.sampler.set_params(params)
        self.session.rewind([0] * len(self._running))

    def end_tokens(self, request: GenerationRequest) -> frozenset[int]:
        """The ids that end a request."""
        ends = set(request.stop_token_ids)
        if not request.ignore_eos:
            ends |= {self.sampler.tokenizer.eot_id, *self.sampler.config.eos_token_ids}
        elif request.constraint is not None:
            ends.add(self.sampler.tokenizer.eot_id)  # how the grammar says that it is complete
        return frozenset(ends)

    def step(self) -> list[TokenEvent]:
        """One round; returns what happened, in order. Empty when there is nothing to do."""
        self._admit()
        self._read_prompts()
        self._read_written()
        masks = self._masks()  # while the device reads
        ready = self._ready()
        if ready:
            options: list[SamplingOptions | None] = [None] * len(self._running)
            seeds, top = [0] * len(self._running), 0
            for slot in ready:
                request = self._running[slot].request
                options[slot], seeds[slot], top = request.options, request.seed, max(top, request.top_logprobs)
            drawn = self.session.draw(options, seeds, masks, top=MAX_TOP_LOGPROBS if top else 0)
            self.counts.sampled += len(ready)
            for slot in ready:
                self._take(slot, drawn)
            self._read_written()  # the device is busy while the caller looks at the events
        events, self._events = self._events, []
        return events

    def _ready(self) -> list[int]:
        """Slots whose text has been read to its end."""
        return [slot for slot, run in enumerate(self._running) if run and not run.prompt and not run.unread]

    # Slots.

    def _admit(self) -> None:
        """Gives free slots to waiting requests, in order; one that could share a prompt being read waits for it."""
        later: deque[tuple[int, GenerationRequest]] = deque()
        while self._waiting and not all(self._running):
            number, request = self._waiting.popleft()
            prompt = [int(token) for token in request.prompt]
            slot, source, reach = self._best_slot(prompt)
            if self._coming(prompt) > max(reach, WORTH_SHARING):
                later.append((number, request))
                continue
            self.session.fork(source, slot, reach)
            self.counts.reused += reach
            self.counts.prefilled += len(prompt) - reach
            run = _Running(number, request, self.end_tokens(request), TextStream(request.stop), prompt[reach:])
            self._running[slot] = run
            if not run.prompt:
                self.session.mark([slot])
            self._force(slot, [])
        later.extend(self._waiting)
        self._waiting = later

    def _best_slot(self, prompt: Sequence[int]) -> tuple[int, int, int]:
        """``(free slot, the slot whose text it begins with, how many tokens of it)``."""
        free = [slot for slot, running in enumerate(self._running) if running is None]
        reach = {slot: self._reach(slot, prompt) for slot in range(len(self._running))}
        at_home = max(free, key=lambda slot: (reach[slot], -len(self.session.tokens[slot])))
        best = at_home, at_home, reach[at_home]
        for source in set(reach) - set(free):
            beside = [slot for slot in free if self.session.same_shard(source, slot)]
            if beside and reach[source] >= best[2] + WORTH_SHARING:
                # Copied over the text that is least worth keeping.
                best = min(beside, key=lambda slot: len(self.session.tokens[slot])), source, reach[source]
        return best

    def _reach(self, slot: int, prompt: Sequence[int]) -> int:
        """How many tokens of ``prompt`` need not be read when it begins as the text in ``slot``."""
        session = self.session
        shared = common_prefix(session.tokens[slot], prompt)
        if shared == len(prompt) and shared not in (session.marked[slot], session.lengths[slot]):
            shared -= 1  # the logits after it were not kept
        return session.within_reach(slot, shared)

    def _coming(self, prompt: Sequence[int]) -> int:
        """How many tokens of ``prompt`` some prompt that is being read will have in common with it."""
        own = [common_prefix(run.request.prompt, prompt) for run in self._running if run and run.prompt]
        if self.sampler.config.recurrent:  # a state is kept at the end of a prompt only
            own = [n for n, run in zip(own, (r for r in self._running if r and r.prompt), strict=True)
                   if n == len(run.request.prompt)]
        return max(own, default=0)

    def _end(self, slot: int, reason: FinishReason, error: str = "") -> None:
        """Frees a slot; its text stays in the cache until it is needed. The last event of the request says why."""
        running = self._running[slot]
        self._running[slot] = None
        rest = running.stream.flush()
        mine = self._events and self._events[-1].request == running.number
        last = self._events.pop() if mine else TokenEvent(running.number, None)
        self._events.append(replace(last, text=last.text + rest, finish_reason=reason, error=error))

    # Reading.

    def _read_prompts(self) -> None:
        """The next chunks of the prompts, oldest request first."""
        chunk = self.sampler.chunk_sizes[-1]
        reading = sorted((run.number, slot) for slot, run in enumerate(self._running) if run and run.prompt)
        if not reading:
            return
        rows: list[list[int]] = [[] for _ in self._running]
        for _, slot in reading[: PROMPT_CHUNKS * self.session.groups]:
            run = self._running[slot]
            rows[slot], run.prompt = run.prompt[:chunk], run.prompt[chunk:]
        self.session.append(rows)
        ended = [slot for slot, row in enumerate(rows) if row and not self._running[slot].prompt]
        if ended:
            self.session.mark(ended)

    def _read_written(self) -> None:
        """Everything that was written and not yet read."""
        rows: list[list[int]] = [[] for _ in self._running]
        for slot, run in enumerate(self._running):
            if run and not run.prompt:
                rows[slot], run.unread = run.unread, []
        if any(rows):
            self.session.append(rows)

    # Writing.

    def _masks(self) -> np.ndarray:
        """Allowed tokens of every slot, ``[slots, words] int32``."""
        masks = self._all
        for slot in self._ready():
            constraint = self._running[slot].request.constraint
            if constraint is not None:
                masks = masks.copy() if masks is self._all else masks
                try:
                    masks[slot] = constraint.mask()[0]
                except ValueError as error:
                    self._end(slot, "failed", str(error))
        return masks

    def _take(self, slot: int, drawn: Drawn) -> None:
        """The token that was drawn for a slot, and all that follows from it."""
        run, token = self._running[slot], int(drawn.token[slot])
        count = run.request.top_logprobs
        best = drawn.top_tokens[slot, :count], drawn.top_logprobs[slot, :count]
        top = tuple(zip(*(part.tolist() for part in best), strict=True))
        event = TokenEvent(run.number, token, "", float(drawn.logprob[slot]), float(drawn.model_logprob[slot]), top)
        if token in run.ends:
            self._events.append(event)
            self._end(slot, "stop")
            return
        self._write(slot, event)
        self._force(slot, [token])

    def _force(self, slot: int, tokens: list[int]) -> None:
        """Moves the constraint over ``tokens`` and writes what it then leaves no choice about; ends what has ended."""
        run = self._running[slot]
        request = run.request
        if request.constraint is not None and not run.stream.stopped:
            try:
                request.constraint.consume(tokens)
                forced = request.constraint.forced()[: request.max_tokens - run.written]
                request.constraint.consume(forced)
            except ValueError as error:
                self._end(slot, "failed", str(error))
                return
            for token in forced:
                self.counts.forced += 1
                self._write(slot, TokenEvent(run.number, token, forced=True))
        if run.stream.stopped:
            self._end(slot, "stop")
        elif request.constraint is not None and request.constraint.finished:
            self._end(slot, "complete")
        elif run.written >= request.max_tokens:
            self._end(slot, "length")

    def _write(self, slot: int, event: TokenEvent) -> None:
        """Adds a token to a text, unless a stop string has ended it."""
        run = self._running[slot]
        if run.stream.stopped:
            return
        run.written += 1
        run.unread.append(event.token)
        self._events.append(replace(event, text=run.stream.push(self._pieces[event.token])))


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many leading tokens two texts share."""
    shortest, at, block = min(len(a), len(b)), 0, 4096
    a, b = list(a[:shortest]), list(b[:shortest])
    while at < shortest and a[at : at + block] == b[at : at + block]:
        at += block
    while at < shortest and a[at] == b[at]:
        at += 1
    return min(at, shortest)

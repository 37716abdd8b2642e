"""The one thread that works the engine, and the way to it from an event loop and back."""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from polaris_jax.sampling import Engine, GenerationRequest, SamplingOptions, TokenEvent
from polaris_jax.serving.failures import ApiError, queue_full, stopping

logger = logging.getLogger(__name__)


class Batch:
    """The texts of one request in work, as the event loop sees them."""

    def __init__(self, thread: "EngineThread", requests: Sequence[GenerationRequest]):
        self._thread = thread
        self._events: asyncio.Queue[tuple[int, TokenEvent] | ApiError] = asyncio.Queue()
        self.tickets = {Ticket(self, index, request) for index, request in enumerate(requests)}

    async def next(self) -> tuple[int, TokenEvent]:
        """``(index of the text, its next event)``; the one with a ``finish_reason`` is a text's last.

        Raises:
          ApiError: the server failed or is stopping.
        """
        told = await self._events.get()
        if isinstance(told, ApiError):
            raise told
        index, event = told
        if event.finish_reason == "failed":
            raise ApiError(400, f"The constraint cannot be followed any further: {event.error[:300]}",
                           code="constraint_failed")  # fmt: skip
        return index, event

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        for ticket in self.tickets:
            self._thread.cancel(ticket)
        self.tickets = set()


@dataclass(frozen=True, eq=False)
class Ticket:
    """One text of a batch."""

    batch: Batch
    index: int
    request: GenerationRequest


class EngineThread:
    """Owns an engine; everything but ``_work`` is called from the event loop.

    Args:
      make_engine: makes the engine, and makes it anew should it ever break. It is warmed up at once.
      limit: texts that may wait or run at once.
    """

    def __init__(self, make_engine: Callable[[], Engine], limit: int):
        self._make_engine = make_engine
        self.engine = make_engine()
        warm_up(self.engine)
        self.vocabulary = self.engine.vocabulary  # takes seconds for large ones: before the first request
        self._limit = limit
        self._inbox: queue.SimpleQueue[tuple[str, Ticket | None]] = queue.SimpleQueue()
        self._waiting: set[Ticket] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._stopping = False

    @property
    def load(self) -> int:
        """Texts waiting or in work."""
        return len(self._waiting)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._stopping

    def start(self) -> None:
        """Begins to work; call it in the event loop that will submit."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """Cancels what is left and ends the thread."""
        self._stopping = True
        for ticket in list(self._waiting):
            self._tell(ticket, stopping())
        self._inbox.put(("stop", None))
        await asyncio.to_thread(self._thread.join)

    def submit(self, requests: Sequence[GenerationRequest]) -> Batch:
        """Takes in all of ``requests`` or none.

        Raises:
          InputError: one of them can never be served.
          ApiError: there are too many already, or the server is stopping.
        """
        for request in requests:
            request.check(self.engine.sampler.tokenizer.vocab_size, self.engine.sampler.max_length)
        if self._stopping:
            raise stopping()
        if len(self._waiting) + len(requests) > self._limit:
            raise queue_full(self._limit)
        batch = Batch(self, requests)
        for ticket in sorted(batch.tickets, key=lambda ticket: ticket.index):
            self._waiting.add(ticket)
            self._inbox.put(("submit", ticket))
        return batch

    def cancel(self, ticket: Ticket) -> None:
        """See ``Batch.cancel``."""
        if ticket in self._waiting:
            self._waiting.discard(ticket)
            self._inbox.put(("cancel", ticket))

    def _tell(self, ticket: Ticket, event: TokenEvent | ApiError) -> None:
        if ticket not in self._waiting:  # cancelled: nobody listens
            return
        if isinstance(event, ApiError):
            ticket.batch._events.put_nowait(event)
            self._waiting.discard(ticket)
            return
        ticket.batch._events.put_nowait((ticket.index, event))
        if event.finish_reason is not None:
            self._waiting.discard(ticket)

    # In the engine's thread.

    def _work(self) -> None:
        numbers: dict[Ticket, int] = {}
        tickets: dict[int, Ticket] = {}
        while True:
            told: list[tuple[Ticket, TokenEvent | ApiError]] = []
            try:
                if not self._take_in(numbers, tickets):
                    return
                for event in self.engine.step():
                    ticket = tickets.get(event.request)
                    if ticket is None:
                        continue
                    told.append((ticket, event))
                    if event.finish_reason is not None:
                        del tickets[event.request], numbers[ticket]
            except Exception:
                # A defect, and the engine's state with it: those who wait are told, the others are served anew.
                logger.exception("the engine failed; a new one takes its place")
                failure = ApiError(500, "The engine failed on this request or a neighbour of it.")
                told += [(ticket, failure) for ticket in numbers]
                numbers.clear()
                tickets.clear()
                self.engine = self._make_engine()
            if told:
                try:
                    self._loop.call_soon_threadsafe(self._deliver, told)
                except RuntimeError:  # the loop is closed: nobody listens
                    return

    def _take_in(self, numbers: dict[Ticket, int], tickets: dict[int, Ticket]) -> bool:
        """Does what the inbox says, waiting for something to do; False when it says stop."""
        while not self._inbox.empty() or not self.engine.busy:
            what, ticket = self._inbox.get()
            match what:
                case "stop":
                    return False
                case "submit":
                    number = self.engine.submit(ticket.request)
                    numbers[ticket], tickets[number] = number, ticket
                case "cancel" if ticket in numbers:
                    number = numbers.pop(ticket)
                    del tickets[number]
                    self.engine.cancel(number)
        return True

    def _deliver(self, told: list[tuple[Ticket, TokenEvent | ApiError]]) -> None:
        for ticket, event in told:
            self._tell(ticket, event)


def warm_up(engine: Engine) -> None:
    """Has the engine compile its programs: a prompt of every chunk size, a draw with every combination of options.

    Otherwise the first callers would wait for the compiler, and all who come meanwhile with them.
    """
    token = engine.sampler.tokenizer.eot_id
    room = engine.sampler.max_length - 2
    for size in engine.sampler.chunk_sizes:
        engine.generate([GenerationRequest([token] * max(min(size, room), 1), max_tokens=1, ignore_eos=True)])
    for top_k in (0, 2):
        for top_logprobs in (0, 1):
            options = SamplingOptions(top_k=top_k)
            engine.generate([GenerationRequest([token], options, max_tokens=2, ignore_eos=True,
                                               top_logprobs=top_logprobs)])  # fmt: skip

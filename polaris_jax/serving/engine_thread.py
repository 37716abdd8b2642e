"""The thread that runs the engine, and the queues between it and the event loop."""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from polaris_jax.sampling import Engine, GenerationRequest, SamplingOptions, TokenEvent
from polaris_jax.sampling.generate import Counts
from polaris_jax.serving.api_errors import ApiError, queue_full, shutting_down

logger = logging.getLogger(__name__)


class RequestHandle:
    """The texts of one active request, as the event loop sees them."""

    def __init__(self, thread: "EngineThread", requests: Sequence[GenerationRequest]):
        self._thread = thread
        self.submitted = time.perf_counter()  # seconds
        self._events: asyncio.Queue[tuple[int, TokenEvent] | ApiError] = asyncio.Queue()
        self.texts = [PendingText(self, index, request) for index, request in enumerate(requests)]

    async def next(self) -> tuple[int, TokenEvent]:
        """``(index of the text, its next event)``; the one with a ``finish_reason`` is a text's last.

        Raises:
          ApiError: the server failed or is shutting down.
        """
        item = await self._events.get()
        if isinstance(item, ApiError):
            raise item
        index, event = item
        if event.finish_reason == "failed":
            raise ApiError(
                400, f"The constraint cannot be followed any further: {event.error[:300]}", code="constraint_failed"
            )
        return index, event

    def put(self, item: tuple[int, TokenEvent] | ApiError) -> None:
        """Adds what ``next`` returns or raises."""
        self._events.put_nowait(item)

    def cancel(self) -> None:
        """Ends all its texts."""
        for text in self.texts:
            self._thread.cancel(text)
        self.texts = []


@dataclass(frozen=True, eq=False)
class PendingText:
    """One text of a request."""

    handle: RequestHandle
    index: int
    request: GenerationRequest


@dataclass(frozen=True)
class _Submit:
    text: PendingText


@dataclass(frozen=True)
class _Cancel:
    text: PendingText


class _Stop:
    pass


_Command = _Submit | _Cancel | _Stop


class EngineThread:
    """Owns an engine; everything but ``_run`` is called from the event loop.

    Args:
      make_engine: makes the engine, which is warmed up at once; also makes a new one if the engine fails.
      limit: texts that may wait or be active at once.
    """

    def __init__(self, make_engine: Callable[[], Engine], limit: int):
        self._make_engine = make_engine
        self.engine = make_engine()
        warm_up(self.engine)
        self.engine.counts = Counts()
        self.vocabulary = self.engine.vocabulary  # takes seconds for large ones: before the first request
        self._limit = limit
        self._commands: queue.SimpleQueue[_Command] = queue.SimpleQueue()
        self._pending: set[PendingText] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._stopping = False

    @property
    def load(self) -> int:
        """Texts waiting or active."""
        return len(self._pending)

    @property
    def alive(self) -> bool:
        """Whether it takes requests."""
        return self._thread.is_alive() and not self._stopping

    def start(self) -> None:
        """Starts the thread; called in the event loop that will submit."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def end_all(self) -> None:
        """Accepts no more requests, and ends all texts; callers that wait for one get the reason."""
        self._stopping = True
        for text in list(self._pending):
            self._deliver(text, shutting_down())

    async def stop(self) -> None:
        """``end_all``, and ends the thread."""
        self.end_all()
        self._commands.put(_Stop())
        await asyncio.to_thread(self._thread.join)

    def submit(self, requests: Sequence[GenerationRequest]) -> RequestHandle:
        """Queues all of ``requests`` or none.

        Raises:
          InputError: one of them can never be served.
          ApiError: there are too many already, or the server is shutting down.
        """
        for request in requests:
            self.engine.check(request)
        if self._stopping:
            raise shutting_down()
        if len(self._pending) + len(requests) > self._limit:
            raise queue_full(self._limit)
        handle = RequestHandle(self, requests)
        for text in handle.texts:
            self._pending.add(text)
            self._commands.put(_Submit(text))
        return handle

    def cancel(self, text: PendingText) -> None:
        """Ends one text (``RequestHandle.cancel``)."""
        if text in self._pending:
            self._pending.discard(text)
            self._commands.put(_Cancel(text))

    def _deliver(self, text: PendingText, event: TokenEvent | ApiError) -> None:
        if text not in self._pending:  # cancelled
            return
        if isinstance(event, ApiError):
            text.handle.put(event)
            self._pending.discard(text)
            return
        text.handle.put((text.index, event))
        if event.finish_reason is not None:
            self._pending.discard(text)

    def _deliver_all(self, events: list[tuple[PendingText, TokenEvent | ApiError]]) -> None:
        for text, event in events:
            self._deliver(text, event)

    # In the engine's thread.

    def _run(self) -> None:
        assert self._loop is not None  # set by ``start``
        numbers: dict[PendingText, int] = {}
        texts: dict[int, PendingText] = {}
        while True:
            events: list[tuple[PendingText, TokenEvent | ApiError]] = []
            try:
                if not self._execute_commands(numbers, texts):
                    return
                for event in self.engine.step():
                    text = texts.get(event.request)
                    if text is None:
                        continue
                    events.append((text, event))
                    if event.finish_reason is not None:
                        del texts[event.request], numbers[text]
            except Exception:
                # This is a defect, and the engine's state is lost: active texts fail, later ones get a new engine.
                logger.exception("the engine failed; a new one takes its place")
                failure = ApiError(500, "The engine failed on this request or a neighbour of it.")
                events += [(text, failure) for text in numbers]
                numbers.clear()
                texts.clear()
                self.engine = self._make_engine()
            if events:
                try:
                    self._loop.call_soon_threadsafe(self._deliver_all, events)
                except RuntimeError:  # the loop is closed
                    return

    def _execute_commands(self, numbers: dict[PendingText, int], texts: dict[int, PendingText]) -> bool:
        """Executes the queued commands, waiting for one while the engine is idle; False at ``_Stop``."""
        while not self._commands.empty() or not self.engine.busy:
            match self._commands.get():
                case _Stop():
                    return False
                case _Submit(text=text):
                    number = self.engine.submit(text.request)
                    numbers[text], texts[number] = number, text
                case _Cancel(text=text) if text in numbers:
                    number = numbers.pop(text)
                    del texts[number]
                    self.engine.cancel(number)
        return True


def warm_up(engine: Engine) -> None:
    """Compiles the engine's programs: a prompt of every chunk size, a sample with every combination of options.

    Otherwise the first requests, and all that arrive meanwhile, would wait for the compiler.
    """
    token = 0
    room = engine.sampler.max_length - 2
    for size in engine.sampler.chunk_sizes:
        engine.generate([GenerationRequest([token] * max(min(size, room), 1), max_tokens=1, ignore_eos=True)])
    for top_k in (0, 2):
        for top_logprobs in (0, 1):
            options = SamplingOptions(top_k=top_k)
            engine.generate(
                [GenerationRequest([token], options, max_tokens=2, ignore_eos=True, top_logprobs=top_logprobs)]
            )

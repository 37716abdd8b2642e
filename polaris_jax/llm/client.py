"""``open_client``: the one way to ask a language model; adds cache, budget, concurrency and retries to a transport."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from polaris_jax.llm.failures import UNUSABLE, AttemptFailed, CallFailed
from polaris_jax.llm.gemini_transport import GeminiTransport
from polaris_jax.llm.hope import Hope
from polaris_jax.llm.openai_transport import OpenAITransport
from polaris_jax.llm.replies import UnreadableReply, without_thinking
from polaris_jax.llm.request import Reply, Request
from polaris_jax.llm.retry import RetryPolicy
from polaris_jax.llm.spec import ClientSpec
from polaris_jax.llm.structured import read_json, validator
from polaris_jax.llm.transport import RawReply, Transport
from polaris_jax.llm.usage import UsageTracker

if TYPE_CHECKING:
    from polaris_jax.llm.cache import Cache

_TRANSPORTS: dict[str, Callable[[ClientSpec], Transport]] = {"openai": OpenAITransport, "gemini": GeminiTransport}


class Client(Protocol):
    """The interface that annotators and judges use.

    Attributes:
      identity: ``provider/model``; part of cache keys and of provenance, never a secret.
      usage: calls, tokens and money so far.
    """

    identity: str
    usage: UsageTracker

    def ask(self, request: Request) -> Reply:
        """One answer. Thread-safe; equal requests at the same time share one call.

        Raises:
          CallFailed: no answer after all attempts.
          BudgetSpent: the budget does not allow the call.
          InputError: the environment lacks the key, the schema is invalid, or the cache cannot be used.
        """

    def ask_all(self, requests: Sequence[Request]) -> list[Reply | CallFailed]:
        """All answers, in order, asked concurrently; a request without an answer yields its ``CallFailed``.

        Raises:
          BudgetSpent, InputError: as ``ask``, once the calls in flight are done and in the cache.
        """

    def ready(self) -> None:
        """Checks that a call can be made, without making one.

        Raises:
          InputError: the environment lacks the key.
        """

    def close(self) -> None:
        """Closes connections."""


def open_client(
    spec: ClientSpec, *, usage: UsageTracker | None = None, stop_after: int | None = None
) -> "LanguageClient":
    """Opens the client that a spec describes.

    Args:
      usage: shares one budget between clients, or continues an earlier one (``UsageTracker.restore``); default: a new
        one with the spec's budget.
      stop_after: the client stops after this many calls without a usable answer (``Hope``); None never stops.

    Raises:
      InputError: a library is missing (``pip install polaris-jax[llm]``) or the cache cannot be opened.
    """
    # TensorStore takes a third of a second to import, and ``--help`` of a command with model flags does not need it.
    from polaris_jax.llm.cache import Cache

    return LanguageClient(
        None if spec.provider == "replay" else _TRANSPORTS[spec.provider](spec),
        identity=spec.identity,
        key_identity=spec.key_identity,
        cache=None if spec.cache is None else Cache(spec.cache),
        usage=UsageTracker(spec.budget_tokens, spec.budget_usd, spec.known_prices) if usage is None else usage,
        policy=RetryPolicy(attempts=spec.attempts, backoff=spec.backoff),
        concurrency=spec.concurrency,
        hope=None if stop_after is None else Hope(spec.identity, stop_after),
    )


class LanguageClient:
    """The stack around a ``Transport``: shared call → cache → retries → concurrency slot → budget → one call.

    Without a transport it replays the cache: any other request fails.
    """

    def __init__(
        self,
        transport: Transport | None,
        *,
        identity: str,
        key_identity: str,
        cache: "Cache | None",
        usage: UsageTracker,
        policy: RetryPolicy,
        concurrency: int,
        hope: Hope | None = None,
    ):
        self.identity, self._key_identity, self.usage = identity, key_identity, usage
        self._transport, self._cache, self._policy, self._concurrency = transport, cache, policy, concurrency
        self._hope = hope
        self._slots = threading.BoundedSemaphore(concurrency)
        self._pending: dict[str, Future[Reply]] = {}
        self._pending_lock = threading.Lock()

    def __repr__(self) -> str:
        return f"LanguageClient({self.identity!r})"

    def __enter__(self) -> "LanguageClient":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        """See ``Client.close``."""
        if self._transport is not None:
            self._transport.close()

    def ready(self) -> None:
        """See ``Client.ready``."""
        if self._transport is not None:
            self._transport.ready()

    def ask(self, request: Request) -> Reply:
        """See ``Client.ask``."""
        key = request.key(self._key_identity)
        mine: Future[Reply] = Future()
        with self._pending_lock:
            pending = self._pending.setdefault(key, mine)
        if pending is not mine:
            reply = self._counted(request, pending.result)
            self.usage.count_cached(request.purpose)
            return replace(reply, cached=True, attempts=0)
        try:
            reply = self._read_cache(key, request) or self._counted(request, lambda: self._call(key, request))
            mine.set_result(reply)
            return reply
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._pending_lock:
                del self._pending[key]

    def ask_all(self, requests: Sequence[Request]) -> list[Reply | CallFailed]:
        """See ``Client.ask_all``."""
        stop = threading.Event()

        def answer(request: Request) -> Reply | CallFailed | None:
            if stop.is_set():
                return None
            try:
                return self.ask(request)
            except CallFailed as failure:
                return failure
            except BaseException:
                stop.set()
                raise

        with ThreadPoolExecutor(self._concurrency, thread_name_prefix="llm") as pool:
            futures = [pool.submit(answer, request) for request in requests]
            try:
                answers = [future.result() for future in futures]
            finally:
                stop.set()
        # A request is left out (None) only after another one raised; then ``result`` above has raised already.
        return [reply for reply in answers if reply is not None]

    def _counted(self, request: Request, answer: Callable[[], Reply]) -> Reply:
        try:
            return answer()
        except CallFailed:
            self.usage.count_failed(request.purpose)
            raise

    def _read_cache(self, key: str, request: Request) -> Reply | None:
        raw = None if self._cache is None else self._cache.read(key)
        if raw is None:
            return None
        try:
            reply = read_reply(raw, request, attempts=0)
        except AttemptFailed:
            return None
        self.usage.count_cached(request.purpose)
        return reply

    def _call(self, key: str, request: Request) -> Reply:
        transport = self._transport
        if transport is None:
            place = None if self._cache is None else self._cache.place
            raise CallFailed("not_recorded", 0, f"no reply of {self.identity} to this request at {place}")
        transport.ready()
        if request.schema is not None:
            validator(request.schema)  # an invalid schema must not cost a call
        failures: list[AttemptFailed] = []

        def attempt(number: int) -> tuple[RawReply, Reply]:
            unusable = [failure.kind for failure in failures if failure.kind in UNUSABLE]
            cut = [failure for failure in failures if failure.kind == "truncated"]
            # On some servers, thinking that used up the limit gives an empty answer. It raises the limit once.
            raised = len(cut) + ("empty" in unusable)
            sent = request.draw(len(unusable), raised)
            try:
                with self._slots, self._hope.call() if self._hope else nullcontext():
                    raw = self._send(transport, sent, retry=number > 0)
                    return raw, read_reply(raw, sent, attempts=number + 1)
            except AttemptFailed as failure:
                if raised and failure.kind == "bad_request":  # the server refuses a larger limit
                    last = next(one for one in reversed(failures) if one.kind in ("truncated", "empty"))
                    raise CallFailed(last.kind, number + 1, last.detail, last.reply) from None
                failures.append(failure)
                raise

        try:
            raw, reply = self._policy.call(attempt)
        except CallFailed as failure:
            if self._hope:
                self._hope.given_up(failure)
            raise
        if self._cache is not None:
            self._cache.write(key, self.identity, request, raw)
        return reply

    def _send(self, transport: Transport, sent: Request, retry: bool) -> RawReply:
        """Makes one call and records it in ``usage``."""
        with self.usage.call(sent.purpose, prompt_bound(sent), sent.max_tokens, retry=retry) as call:
            try:
                raw = transport.send(sent)
            except AttemptFailed as failure:
                if not failure.billed:
                    call.settle(0, 0)
                raise
            call.settle(raw.prompt_tokens, raw.completion_tokens, raw.cached_tokens)
        return raw


def read_reply(raw: RawReply, request: Request, attempts: int) -> Reply:
    """Reads the reply in a server's response; ``attempts`` is 0 if it came from the cache.

    Raises:
      AttemptFailed: ``refused``, ``empty``, ``truncated``, ``invalid_json`` or ``ambiguous``.
    """
    if raw.finish == "refused":
        raise AttemptFailed("refused", "the model or a filter declined to answer", reply=raw.text)
    schema = request.schema if request.enforce_schema else None
    if raw.finish == "length" and (schema is not None or not raw.text.strip()):
        raise AttemptFailed("truncated", f"cut at max_tokens={request.max_tokens}", reply=raw.text)
    if not without_thinking(raw.text):
        what = "nothing but thinking" if raw.text.strip() else "no text"
        raise AttemptFailed("empty", f"{what} in the answer at max_tokens={request.max_tokens}", reply=raw.text)
    data = None
    if schema is not None:
        try:
            data = read_json(raw.text, schema)
        except UnreadableReply as wrong:
            raise AttemptFailed(wrong.kind, wrong.detail, reply=raw.text) from None
    return Reply(
        text=raw.text,
        data=data,
        model=raw.model,
        prompt_tokens=raw.prompt_tokens or 0,
        completion_tokens=raw.completion_tokens or 0,
        cached=attempts == 0,
        attempts=attempts,
        finish=raw.finish,
        logprobs=raw.logprobs,
    )


def prompt_bound(request: Request) -> int:
    """Upper bound of the prompt's tokens: a token has at least one byte, and a chat template adds a few tokens."""
    text = sum(len(content.encode()) for _, content in request.messages) + len((request.schema or "").encode())
    return text + 128 + 16 * len(request.messages)

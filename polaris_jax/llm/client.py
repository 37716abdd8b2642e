"""``open_client``: the one way to ask a language model. Cache, budget, concurrency and retries around one transport."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol

from polaris_jax.llm.cache import Cache
from polaris_jax.llm.failures import SPOILED, AttemptFailed, CallFailed
from polaris_jax.llm.gemini_transport import GeminiTransport
from polaris_jax.llm.ledger import Ledger
from polaris_jax.llm.openai_transport import OpenAITransport
from polaris_jax.llm.request import Reply, Request
from polaris_jax.llm.retry import RetryPolicy
from polaris_jax.llm.spec import ClientSpec
from polaris_jax.llm.structured import read_json, validator, without_thinking
from polaris_jax.llm.transport import RawReply, Transport

_TRANSPORTS = {"openai": OpenAITransport, "gemini": GeminiTransport}


class Client(Protocol):
    """What annotators and judges ask.

    Attributes:
      identity: ``provider/model``; part of cache keys and of provenance, never a secret.
      ledger: what it has cost so far.
    """

    identity: str
    ledger: Ledger

    def ask(self, request: Request) -> Reply:
        """One answer. Thread-safe; threads that ask the same at the same time share one call.

        Raises:
          CallFailed: no answer after all attempts.
          BudgetSpent: the budget does not allow the call.
          InputError: the environment lacks the key, the schema is not one, or the cache cannot be used.
        """

    def ask_all(self, requests: Sequence[Request]) -> list[Reply | CallFailed]:
        """All answers, in order, asked concurrently; a request without an answer yields its ``CallFailed``.

        Raises:
          BudgetSpent, InputError: as ``ask``, once the calls in flight are done and in the cache.
        """

    def close(self) -> None:
        """Closes connections."""


def open_client(spec: ClientSpec, *, ledger: Ledger | None = None) -> "LanguageClient":
    """A client by its spec.

    Args:
      ledger: to share one budget between clients or to go on with an earlier one (``Ledger.restore``); by default a
        fresh one with the spec's budget.

    Raises:
      InputError: a library is missing (``pip install polaris-jax[llm]``) or the cache cannot be opened.
    """
    return LanguageClient(
        None if spec.provider == "replay" else _TRANSPORTS[spec.provider](spec),
        identity=spec.identity,
        cache=None if spec.cache is None else Cache(spec.cache),
        ledger=Ledger(spec.budget_tokens, spec.budget_usd, spec.prices) if ledger is None else ledger,
        policy=RetryPolicy(attempts=spec.attempts, backoff=spec.backoff),
        concurrency=spec.concurrency,
    )


class LanguageClient:
    """The stack around a ``Transport``: shared call → cache → retries → concurrency slot → budget → one call.

    Without a transport it replays: what the cache does not hold has no answer.
    """

    def __init__(
        self,
        transport: Transport | None,
        *,
        identity: str,
        cache: Cache | None,
        ledger: Ledger,
        policy: RetryPolicy,
        concurrency: int,
    ):
        self.identity, self.ledger = identity, ledger
        self._transport, self._cache, self._policy, self._concurrency = transport, cache, policy, concurrency
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

    def ask(self, request: Request) -> Reply:
        """See ``Client.ask``."""
        key = request.key(self.identity)
        with self._pending_lock:
            pending = self._pending.get(key)
            first = pending is None
            if first:
                pending = self._pending[key] = Future()
        if not first:
            reply = self._counted(request, pending.result)
            self.ledger.count_cached(request.purpose)
            return replace(reply, cached=True, attempts=0)
        try:
            reply = self._recall(key, request) or self._counted(request, lambda: self._call(key, request))
            pending.set_result(reply)
            return reply
        except BaseException as error:
            pending.set_exception(error)
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
                # An answer left out has the exception that stopped the rest beside it, so None never leaves here.
                return [future.result() for future in futures]
            finally:
                stop.set()

    def _counted(self, request: Request, answer: Callable[[], Reply]) -> Reply:
        try:
            return answer()
        except CallFailed:
            self.ledger.count_failed(request.purpose)
            raise

    def _recall(self, key: str, request: Request) -> Reply | None:
        raw = None if self._cache is None else self._cache.read(key)
        if raw is None:
            return None
        try:
            reply = read_reply(raw, request, attempts=0)
        except AttemptFailed:
            return None
        self.ledger.count_cached(request.purpose)
        return reply

    def _call(self, key: str, request: Request) -> Reply:
        if self._transport is None:
            raise CallFailed("not_recorded", 0, f"no reply of {self.identity} to this request at {self._cache.place}")
        self._transport.ready()
        if request.schema is not None:
            validator(request.schema)  # a wrong schema shall not cost a call
        spoiled = 0

        def attempt(number: int) -> tuple[RawReply, Reply]:
            nonlocal spoiled
            bounds = prompt_bound(request), request.max_tokens
            try:
                with self._slots, self.ledger.call(request.purpose, *bounds, retry=number > 0) as spending:
                    try:
                        raw = self._transport.send(request.draw(spoiled))
                    except AttemptFailed as failure:
                        if not failure.billed:
                            spending.settle(0, 0)
                        raise
                    spending.settle(raw.prompt_tokens, raw.completion_tokens)
                return raw, read_reply(raw, request, attempts=number + 1)
            except AttemptFailed as failure:
                spoiled += failure.kind in SPOILED
                raise

        raw, reply = self._policy.call(attempt)
        if self._cache is not None:
            self._cache.write(key, self.identity, request, raw)
        return reply


def read_reply(raw: RawReply, request: Request, attempts: int) -> Reply:
    """The reply in what a server sent; with ``attempts`` 0 it came from the cache.

    Raises:
      AttemptFailed: ``refused``, ``empty``, ``truncated`` or ``invalid_json``.
    """
    if raw.finish == "refused":
        raise AttemptFailed("refused", "the model or a filter declined to answer", reply=raw.text)
    if raw.finish == "length" and (request.schema is not None or not raw.text.strip()):
        raise AttemptFailed("truncated", f"cut at max_tokens={request.max_tokens}", reply=raw.text)
    if not without_thinking(raw.text):
        raise AttemptFailed("empty", "no text in the answer", reply=raw.text)
    data = None
    if request.schema is not None:
        try:
            data = read_json(raw.text, request.schema)
        except ValueError as error:
            raise AttemptFailed("invalid_json", str(error), reply=raw.text) from None
    return Reply(
        text=raw.text,
        data=data,
        model=raw.model,
        prompt_tokens=raw.prompt_tokens or 0,
        completion_tokens=raw.completion_tokens or 0,
        cached=attempts == 0,
        attempts=attempts,
        finish=raw.finish,
    )


def prompt_bound(request: Request) -> int:
    """Upper bound of the prompt's tokens: a token is at least a byte, and a chat template adds a few of its own."""
    text = sum(len(content.encode()) for _, content in request.messages) + len((request.schema or "").encode())
    return text + 128 + 16 * len(request.messages)

"""``BatchClient``: a client without calls. It reads the answers of a provider's batches and collects open questions.

Questions that depend on answers come in rounds. ``ask_all`` answers from the cache and from the files of a folder. A
question without an answer is collected, and ``BatchPending`` is raised after all questions of the call. ``write`` puts
the collected questions into the folder as the next file, ``round-2.jsonl``; questions of earlier rounds are not written
again. The user uploads a round and puts the provider's output files beside it, with any other name.
"""

import json
import os
from collections.abc import Sequence

from polaris_jax import storage
from polaris_jax.errors import InputError
from polaris_jax.llm.batch import batch_line, open_batch, write_lines
from polaris_jax.llm.client import read_reply
from polaris_jax.llm.failures import UNUSABLE, AttemptFailed, CallFailed
from polaris_jax.llm.request import Reply, Request
from polaris_jax.llm.spec import ClientSpec
from polaris_jax.llm.usage import UsageTracker

_TRIES = 3  # most batches with the same question: a line may fail, expire, or be cut short
_RAISED = ("truncated", "empty")  # asked again once, with twice the limit


class BatchPending(Exception):
    """Some of the questions have no answer yet."""


class BatchClient:
    """Implements ``Client`` over a folder of batch files; not thread-safe.

    Attributes:
      collected: questions of this run without an answer: those to write, and those that wait in earlier rounds.

    Args:
      spec: its provider is ``openai``, and it has a cache.
      folder: local or gs://.

    Raises:
      InputError: the client has no cache, or its provider is not ``openai``.
    """

    def __init__(self, spec: ClientSpec, folder: str | os.PathLike):
        self.identity, self.usage = spec.identity, UsageTracker(prices=spec.known_prices)
        self._spec, self._folder = spec, os.fspath(folder)
        self._cache, self._transport = open_batch(spec)
        self._lines: dict[str, bytes] = {}
        self._waiting: set[str] = set()
        self._asked: set[str] = set()
        self._answers: dict[str, dict] = {}
        self.rounds = 0
        for name in sorted(storage.names(self._folder)):
            if name.endswith(".jsonl"):
                self._load(name)

    def _load(self, name: str) -> None:
        """Reads a file of the folder: one of its rounds, or a provider's output."""
        asks = name.startswith("round-")
        self.rounds += asks
        content = storage.read(storage.join(self._folder, name)) or b""
        for line in content.decode("utf-8", errors="replace").split("\n"):
            try:
                row = json.loads(line) if line.strip() else {}
                key = str(row["custom_id"]) if row else ""
            except (ValueError, KeyError, TypeError):
                where = storage.join(self._folder, name)
                raise InputError("batch", where, "a line is no request or answer of a batch") from None
            if key and asks:
                self._asked.add(key)
            elif key:
                self._answers[key] = row

    def ask(self, request: Request) -> Reply:
        """See ``Client.ask``; raises ``BatchPending`` if there is no answer yet."""
        (reply,) = self.ask_all([request])
        if isinstance(reply, CallFailed):
            raise reply
        return reply

    def ask_all(self, requests: Sequence[Request]) -> list[Reply | CallFailed]:
        """See ``Client.ask_all``.

        Raises:
          BatchPending: at least one has no answer yet; all such questions are collected.
        """
        answers = [self._answer(request) for request in requests]
        found = [answer for answer in answers if answer is not None]
        if len(found) < len(answers):
            raise BatchPending(f"{len(answers) - len(found)} questions wait for a batch")
        return found

    def _answer(self, request: Request) -> Reply | CallFailed | None:
        key = request.key(self._spec.key_identity)
        raw = self._cache.read(key)
        if raw is not None:
            self.usage.count_cached(request.purpose)
            return read_reply(raw, request, attempts=0)
        failures: list[AttemptFailed] = []
        for number in range(_TRIES):
            name = key if number == 0 else f"{key}-{number + 1}"
            row = self._answers.get(name)
            if row is None:
                raised = any(failure.kind in _RAISED for failure in failures)
                self._collect(name, request.draw(len(failures), int(raised)))
                return None
            failure, reply = self._read(row, key, request)
            if reply is not None:
                return reply
            if failure is not None:
                failures.append(failure)
        last = failures[-1] if failures else AttemptFailed("server", "no batch answered it")
        return CallFailed(last.kind, _TRIES, last.detail, last.reply)

    def _read(self, row: dict, key: str, request: Request) -> tuple[AttemptFailed | None, Reply | None]:
        """Reads an output line: a failure of the model, or a reply, or neither if the batch failed."""
        answer = row.get("response") or {}
        if row.get("error") or answer.get("status_code", 200) != 200:
            return None, None
        try:
            raw = self._transport.read(json.dumps(answer.get("body")))
            reply = read_reply(raw, request, attempts=1)
        except AttemptFailed as failure:
            return (failure, None) if failure.kind in UNUSABLE | {"refused"} else (None, None)
        with self.usage.call(request.purpose, 0, 0, retry=False) as call:
            call.settle(raw.prompt_tokens or 0, raw.completion_tokens or 0, raw.cached_tokens)
        self._cache.write(key, self._spec.identity, request, raw)
        return None, reply

    def _collect(self, name: str, request: Request) -> None:
        if name in self._asked:
            self._waiting.add(name)
        else:
            self._lines[name] = batch_line(name, self._transport, request)

    @property
    def collected(self) -> tuple[int, int]:
        """The number of questions to write, and of those that wait for answers to earlier rounds."""
        return len(self._lines), len(self._waiting)

    def write(self) -> list[str]:
        """Writes the collected questions that were not asked before; returns the addresses of the files."""
        address = storage.join(self._folder, f"round-{self.rounds + 1}.jsonl")
        return write_lines(list(self._lines.values()), address)

    def ready(self) -> None:
        """Does nothing, because no call is made."""

    def close(self) -> None:
        """Closes the transport, which made no calls."""
        self._transport.close()

"""Asking judges many questions: every answer kept by content, every failure a record, and no end before the end.

The cache of the judge's client is the memory of a run: what was answered is never asked again, so a killed run goes on
by being started again, and its records are the same bytes. What failed is asked again. A budget that is spent, or a
judge that cannot be reached at all, stops the asking but not the report.
"""

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from polaris_jax.evals.benches import Ask, Unusable
from polaris_jax.llm import BudgetSpent, CallFailed, Client, Request

# The sampling of the published judges.
TEMPERATURE, SEED = 0.2, 42
# Kinds of failure that the next call will meet too.
_HOPELESS = frozenset({"auth", "quota", "connection"})
_PATIENCE = 3


@dataclass(frozen=True)
class Judge:
    """A judge and how it is asked.

    Attributes:
      name: in tables; unique in a run.
      client: its ``llm`` client.
      concurrency: questions in flight.
      max_tokens: of an answer, hidden reasoning included.
      rereads: how often an answer in free text without scores is asked for again, with another seed.
    """

    name: str
    client: Client
    concurrency: int = 8
    max_tokens: int = 16_384
    temperature: float = TEMPERATURE
    seed: int | None = SEED
    rereads: int = 1


@dataclass(frozen=True)
class Question:
    """One call: who and what is judged (fields of its record), what to ask, and how to read the answer.

    Attributes:
      read: measures in an answer; raises ``Unusable``.
      version: of the instructions.
    """

    about: Mapping[str, Any]
    ask: Ask
    read: Callable[[str], Mapping[str, Any]]
    purpose: str = "judge"
    version: str = ""
    sample: int = 0


@dataclass
class Judged:
    """What came of the questions.

    Attributes:
      records: one per question, in their order: its ``about``, ``judge``, ``sample``, and ``scores`` with ``reply``, or
        ``error`` (kind and detail).
      stopped: why not everything was asked; None otherwise.
    """

    records: list[dict]
    stopped: str | None = None
    failed: dict[str, int] = field(default_factory=dict)


def request_of(question: Question, judge: Judge) -> Request:
    """The request that asks a question; its key names the answer in the cache."""
    return Request(
        question.ask.messages, schema=question.ask.schema, temperature=judge.temperature, max_tokens=judge.max_tokens,
        seed=judge.seed, sample=question.sample * (judge.rereads + 1), purpose=question.purpose,
        version=f"{question.purpose}/{question.version}",
    )  # fmt: skip


def ask_judge(
    questions: Sequence[Question], judge: Judge, progress: Callable[[int, int], None] = lambda done, total: None
) -> Judged:
    """Asks one judge everything, concurrently.

    Raises:
      InputError: the environment lacks the judge's key, a schema is none, or the cache cannot be used.
    """
    stop = _Stop()
    done, lock = 0, threading.Lock()

    def answer(question: Question) -> dict:
        nonlocal done
        record = {**question.about, "judge": judge.name, "sample": question.sample, **_answer(question, judge, stop)}
        with lock:
            done += 1
            progress(done, len(questions))
        return record

    with ThreadPoolExecutor(judge.concurrency, thread_name_prefix="judge") as pool:
        futures = [pool.submit(answer, question) for question in questions]
        try:
            records = [future.result() for future in futures]
        except BaseException:
            stop.because("interrupted")
            raise
    failed: dict[str, int] = {}
    for record in records:
        if "error" in record:
            kind = record["error"]["kind"]
            failed[kind] = failed.get(kind, 0) + 1
    return Judged(records, stop.reason, failed)


def judge_name(identity: str) -> str:
    """A client's identity as a file name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", identity).strip("_")


class _Stop:
    """Why to stop, set by the first thread that finds out."""

    def __init__(self):
        self.reason: str | None = None
        self._row = 0
        self._lock = threading.Lock()

    def because(self, reason: str) -> None:
        with self._lock:
            self.reason = self.reason or reason

    def note(self, failure: CallFailed | None) -> None:
        """Counts failures in a row that the next call will meet too."""
        with self._lock:
            self._row = self._row + 1 if failure is not None and failure.kind in _HOPELESS else 0
            if self._row >= _PATIENCE:
                self.reason = self.reason or str(failure)


def _answer(question: Question, judge: Judge, stop: _Stop) -> dict:
    request, unusable = request_of(question, judge), None
    for reread in range(judge.rereads + 1):
        if stop.reason is not None:
            return _error("not_asked", stop.reason)
        try:
            reply = judge.client.ask(replace(request, sample=request.sample + reread))
        except CallFailed as failure:
            stop.note(failure)
            return _error(failure.kind, failure.detail, failure.reply)
        except BudgetSpent as spent:
            stop.because(str(spent))
            return _error("budget", str(spent))
        except BaseException:
            stop.because("a mistake in the settings of the judge")
            raise
        stop.note(None)
        try:
            return {"scores": dict(question.read(reply.text)), "reply": reply.text, "answered_by": reply.model}
        except Unusable as error:
            unusable = _error("unusable", str(error), reply.text)
    return unusable


def _error(kind: str, detail: str, reply: str | None = None) -> dict:
    error = {"error": {"kind": kind, "detail": detail}}
    return error if reply is None else error | {"reply": reply}

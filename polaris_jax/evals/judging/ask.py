"""Asks a judge many questions concurrently; every answer is cached, every failure is a record.

The client's cache keeps every answer, so an answered question is never asked again. A killed run continues when it is
started again, and its records are the same bytes. Failed questions are asked again. An answer that was cut at
``max_tokens`` or cannot be read does not count: the question is asked once more with another seed, and after a cut with
twice the limit. When the budget is spent or the judge does not answer, no more questions are asked, but the report is
still made.
"""

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from polaris_jax.evals.benches.bench import JudgePrompt, Unusable
from polaris_jax.llm import BudgetSpent, CallFailed, Client, Request
from polaris_jax.llm.failures import OUTAGE

# The sampling of the published judges.
TEMPERATURE, SEED = 0.2, 42
REDRAWS = 1  # how often an answer without readable scores is sampled again
_MAX_IN_A_ROW = 3  # after this many failures in a row that are not a question's fault, the judge is given up


@dataclass(frozen=True)
class BenchJudge:
    """A judge and how to ask it.

    Attributes:
      name: its name in tables; unique in a run.
      client: its ``llm`` client.
      concurrency: questions in flight.
      max_tokens: limit of an answer, including reasoning.
      temperature, seed: sampling of the answers.
      redraws: how often an answer without readable scores is sampled again, with another seed.
    """

    name: str
    client: Client
    concurrency: int = 8
    max_tokens: int = 16_384
    temperature: float = TEMPERATURE
    seed: int | None = SEED
    redraws: int = REDRAWS


@dataclass(frozen=True)
class JudgeQuestion:
    """One question to a judge.

    Attributes:
      about: fields of its record: benchmark, model, story.
      prompt: the messages and the schema of the answer.
      read: reads the measures in an answer; raises ``Unusable``.
      purpose: category in the client's ``UsageTracker``, and part of the cache key.
      version: version of the instructions; part of the cache key.
      sample: number of the repetition, from 0.
    """

    about: Mapping[str, Any]
    prompt: JudgePrompt
    read: Callable[[str], Mapping[str, Any]]
    purpose: str = "judge"
    version: str = ""
    sample: int = 0


@dataclass
class JudgeRecords:
    """The answers of one judge.

    Attributes:
      records: one per question, in their order: its ``about``, ``judge``, ``sample``, and ``scores`` with ``reply``, or
        ``error`` (kind and detail).
      stopped: why questions were left out, and how many were answered; None when all were asked.
      failed: number of records without scores, by kind of failure.
    """

    records: list[dict]
    stopped: str | None = None
    failed: dict[str, int] = field(default_factory=dict)


def request_of(question: JudgeQuestion, judge: BenchJudge) -> Request:
    """The request for a question; its key names the answer in the cache."""
    return question_request(question, judge.temperature, judge.max_tokens, judge.seed, judge.redraws)


def question_request(
    question: JudgeQuestion, temperature: float, max_tokens: int, seed: int | None, redraws: int = REDRAWS
) -> Request:
    """``request_of`` for a judge with these settings."""
    return Request(
        question.prompt.messages,
        schema=question.prompt.schema,
        temperature=temperature,
        max_tokens=max_tokens,
        seed=seed,
        sample=question.sample * (redraws + 1),
        purpose=question.purpose,
        version=f"{question.purpose}/{question.version}",
        enforce_schema=False,  # the benchmark reads answers in any form
    )


def ask_judge(
    questions: Sequence[JudgeQuestion],
    judge: BenchJudge,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> JudgeRecords:
    """Asks one judge every question, concurrently.

    Args:
      progress: called after every question with the number of answered questions and of all questions.

    Raises:
      InputError: the environment lacks the judge's key, a schema is invalid, or the cache cannot be used.
    """
    stop = _StopReason()
    done, lock = 0, threading.Lock()

    def answer(question: JudgeQuestion) -> dict:
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
            stop.set("interrupted")
            raise
    failed: dict[str, int] = {}
    for record in records:
        if "error" in record:
            kind = record["error"]["kind"]
            failed[kind] = failed.get(kind, 0) + 1
    answered = sum("scores" in record for record in records)
    stopped = stop.reason and f"{judge.name} after {answered} of {len(records)} answers: {stop.reason}"
    return JudgeRecords(records, stopped, failed)


def judge_name(identity: str) -> str:
    """A client's identity as a file name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", identity).strip("_")


class _StopReason:
    """Why to stop asking; the first thread with a reason sets it, once."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._in_a_row = 0
        self._lock = threading.Lock()

    def set(self, reason: str) -> None:
        with self._lock:
            self.reason = self.reason or reason

    def count(self, failure: CallFailed | None) -> None:
        """Counts failures in a row; None stands for an answered question."""
        with self._lock:
            of_the_judge = failure is not None and (failure.hopeless or failure.kind in OUTAGE)
            self._in_a_row = self._in_a_row + 1 if of_the_judge else 0
            if self._in_a_row >= _MAX_IN_A_ROW:
                self.reason = self.reason or str(failure)


def _answer(question: JudgeQuestion, judge: BenchJudge, stop: _StopReason) -> dict:
    """``scores`` with ``reply`` and ``answered_by``, or ``error``; the fields of one record."""
    request = request_of(question, judge)
    unusable: dict = {}
    limit = request.max_tokens
    for redraw in range(judge.redraws + 1):
        if stop.reason is not None:
            return _error("not_asked", stop.reason)
        try:
            reply = judge.client.ask(replace(request, sample=request.sample + redraw, max_tokens=limit))
        except CallFailed as failure:
            stop.count(failure)
            if limit > request.max_tokens and failure.kind == "bad_request":  # the server refuses a larger limit
                return unusable
            return _error(failure.kind, failure.detail, failure.reply)
        except BudgetSpent as spent:
            stop.set(str(spent))
            return _error("budget", str(spent))
        except BaseException:
            stop.set("a mistake in the settings of the judge")
            raise
        stop.count(None)
        try:
            if reply.finish == "length":
                raise Unusable(f"cut at max_tokens={limit}", "truncated")
            return {"scores": dict(question.read(reply.text)), "reply": reply.text, "answered_by": reply.model}
        except Unusable as error:
            unusable = _error(error.kind, str(error), reply.text)
            limit *= 2 if error.kind == "truncated" else 1
    return unusable


def _error(kind: str, detail: str, reply: str | None = None) -> dict:
    error = {"error": {"kind": kind, "detail": detail}}
    return error if reply is None else error | {"reply": reply}

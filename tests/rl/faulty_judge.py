"""A judge behind HTTP whose scores depend on the story alone, with a fault in the middle of a run."""

import hashlib
import json
import math
import time
from collections import Counter

from servers import Handler, Server, completion

from polaris_jax.rewards.dimensions import DIMENSIONS

# name → (status, content of the reply, its finish reason)
FAULTS = {
    "401": (401, "no such key", ""),
    "404": (404, "no such model", ""),
    "503": (503, "down for maintenance", ""),
    "prose": (200, "A fine story, full of promise.", "stop"),
    "[[[": (200, "[" * 4000, "stop"),
    "truncated": (200, '{"P1": 6, "P2": 7, "P', "length"),
    "empty": (200, "", "stop"),
    "slow": (200, None, "stop"),  # the right answer, late
}
# These faults end by themselves; the others last until ``mend``.
PASSING = ("503", "slow")


def sheet_of(question: str) -> str:
    """Scores under the brief rubric: a function of the question."""
    digest = hashlib.sha256(question.encode()).digest()
    scores = zip(DIMENSIONS, digest, strict=False)
    return json.dumps(
        {
            d.id: 0 if d.id in ("BONUS", "PENALTY") else byte % (d.most + 1) // (1 if d.sign > 0 else 3)
            for d, byte in scores
        }
    )


class FaultyJudge(Server):
    """Answers correctly except for ``fault`` (a name of ``FAULTS``), which begins at question ``at``.

    Attributes:
      mend: ends the fault. lasts: seconds from the first appearance of a passing fault to its end.
      paid: question → usable answers that were sent. faulty: questions that met the fault.
    """

    def __init__(self, fault=None, at=5, lasts=1.0, delay=0.5):
        super().__init__(_JudgeHandler)
        self.fault, self.at, self.lasts, self.delay = fault, at, lasts, delay
        self.paid: Counter[str] = Counter()
        self.faulty, self.begun = 0, math.inf

    @property
    def base_url(self):
        return f"{self.address}/v1"

    @property
    def paid_twice(self):
        """Usable answers beyond the first to a question."""
        return sum(count - 1 for count in self.paid.values())

    def mend(self):
        self.fault = None

    def meets(self):
        """The fault that question number ``calls`` meets."""
        if self.fault is None or self.calls <= self.at:
            return None
        self.begun = min(self.begun, time.monotonic())
        if self.fault in PASSING and time.monotonic() - self.begun > self.lasts:
            self.fault = None
            return None
        self.faulty += 1
        return self.fault


class _JudgeHandler(Handler):
    def do_POST(self):
        body, judge = self.body(), self.server
        question = json.dumps(body["messages"])
        with judge.lock:
            judge.note(body, self.headers["authorization"])
            fault = judge.meets()
            if fault in (None, "slow"):
                judge.paid[question] += 1
        status, content, finish = FAULTS[fault] if fault else (200, None, "stop")
        if fault == "slow":
            judge.closing.wait(judge.delay)
        if status != 200:
            self.answer(status, {"error": {"message": content}})
        else:
            self.answer(200, completion(sheet_of(question) if content is None else content, finish=finish))

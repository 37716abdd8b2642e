"""What a run spent its time on: ``events.jsonl``, and the goodput that follows from it.

Goodput is the share of the time since the first start that went into steps which count. What does not count: starting a
process, compiling, waiting for data, evaluating, checkpoints and traces, steps repeated after a failure, and time in
which nothing ran.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from polaris_jax import storage

FILE = "events.jsonl"
LOSSES = ("startup", "compile", "data", "evaluation", "checkpoint", "profile", "repeated", "down")


class Events:
    """Appends events to a run's file: ``{"time": seconds since 1970, "event": ..., "step": ..., "seconds": ...}``.

    Args:
      workdir: of the run, local or gs://. active: whether this process writes.

    Attributes:
      all: the events of the whole run so far, those of earlier starts included.
    """

    def __init__(self, workdir: str, *, active: bool = True):
        self.all = read_events(workdir) if active else []
        self._lines = storage.JsonLinesFile(storage.join(workdir, FILE)) if active else None

    def note(self, event: str, step: int, seconds: float = 0.0, **more: Any) -> None:
        """Appends one event; ``seconds`` is how long it has taken."""
        if self._lines is not None:
            self.all.append({"time": time.time(), "event": event, "step": step, "seconds": seconds, **more})
            self._lines.append(self.all[-1])

    @contextmanager
    def timing(self, event: str, step: int) -> Iterator[None]:
        """Notes how long the body took."""
        start = time.perf_counter()
        yield
        self.note(event, step, time.perf_counter() - start)

    def flush(self) -> None:
        """Writes the events that are not visible yet (a bucket takes whole files only)."""
        if self._lines is not None:
            self._lines.flush()


def read_events(workdir: str) -> list[dict]:
    """All complete lines, or ``[]``."""
    return storage.read_lines(storage.join(str(workdir), FILE))


def goodput(events: list[dict]) -> dict[str, float]:
    """``{"goodput": 0 to 1, "seconds": in all, "lost/<kind>": seconds, ...}``, or ``{}`` before the first step.

    A step that was done several times counts once, the last time; the other times are ``lost/repeated``.
    """
    if not events:
        return {}
    lost = dict.fromkeys(LOSSES, 0.0)
    steps: dict[int, float] = {}
    begun, last = events[0]["time"] - events[0]["seconds"], events[0]["time"]
    for event in events:
        kind, seconds = event["event"], event["seconds"]
        if kind == "start":
            lost["down"] += max(0.0, event["time"] - seconds - last)
            lost["startup"] += seconds
        elif kind == "step":
            if event["step"] in steps:
                lost["repeated"] += steps[event["step"]]
            steps[event["step"]] = seconds
        elif kind in lost:
            lost[kind] += seconds
        last = event["time"]
    whole = max(last - begun, 1e-9)
    if not steps:
        return {}
    return {"goodput": min(1.0, sum(steps.values()) / whole), "seconds": whole} | {
        f"lost/{kind}": seconds for kind, seconds in lost.items()
    }

"""How a verb that runs for hours ends: done, or stopped by a signal and to be started again."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from polaris_jax.errors import RESUMABLE


class Result(Protocol):
    """What a run says at its end: ``stopped_by`` is the number of the signal that ended it early, or 0."""

    steps: int
    finished: bool
    stopped_by: int


@contextmanager
def resumable() -> Iterator[None]:
    """Outside the loop, which listens itself, SIGTERM ends the process at once with ``RESUMABLE``.

    At the start nothing is done yet that could be lost, at the end everything is saved; whatever is being written is
    written so that a process may die at any time.
    """

    def leave(number, frame):
        print("stopped by SIGTERM outside the loop; run the same command again", file=sys.stderr, flush=True)
        os._exit(RESUMABLE)

    try:
        previous = signal.signal(signal.SIGTERM, leave)
    except ValueError:  # not the main thread: signals stay as they are
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def exit_code(result: Result) -> int:
    """0 or ``RESUMABLE``; raises KeyboardInterrupt when it was a person who stopped the run."""
    if result.finished:
        return 0
    if result.stopped_by == signal.SIGTERM:
        print(f"stopped after step {result.steps} with a checkpoint; run the same command again to go on",
              file=sys.stderr)
        return RESUMABLE
    raise KeyboardInterrupt

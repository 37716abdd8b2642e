"""Stopping cleanly when asked: a signal ends the run after the present step, with a checkpoint.

A pod announces a preemption by SIGTERM and kills the process some time later. The handler only notes the request. The
loop then writes a checkpoint and ends, in all processes at the same step. When a step or a compilation takes longer
than ``train.grace_seconds``, the process ends itself. The run then continues from its last checkpoint.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from polaris_jax.errors import RESUMABLE
from polaris_jax.training import cluster


class Stop:
    """A request to stop.

    Attributes:
      number: of the signal; 0: nobody asked.
    """

    number = 0

    def requested(self) -> int:
        """The signal, once any process received one. Every process must call this at the same step."""
        self.number = cluster.all_max(self.number)
        return self.number


@contextmanager
def stop_on_signal(grace: float) -> Iterator[Stop]:
    """SIGINT and SIGTERM become a request; a second SIGINT ends the run at once.

    Args:
      grace: seconds after a SIGTERM in which the body may still end by itself; then the process does, with
        ``RESUMABLE``.
    """
    stop = Stop()

    def request(number, frame):
        if stop.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.number = number

    with ExitStack() as undo:
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                undo.callback(signal.signal, number, signal.signal(number, request))
            undo.enter_context(_deadline(grace))
        except ValueError:  # not the main thread (a notebook, a test): signals stay as they are
            pass
        yield stop


@contextmanager
def _deadline(grace: float) -> Iterator[None]:
    """Ends the process ``grace`` seconds after a SIGTERM, unless the body ends before.

    A handler in Python has to wait until the main thread comes back from the device or the compiler; a thread that
    reads the interpreter's wakeup pipe learns of the signal at once.
    """
    ended = threading.Event()
    signals, wakeup = os.pipe()
    os.set_blocking(wakeup, False)

    def watch() -> None:
        with open(signals, "rb", buffering=0) as numbers:
            while (number := numbers.read(1)) and number[0] != signal.SIGTERM:
                pass
        if number and not ended.wait(grace):
            print(
                f"stopped by SIGTERM: {grace:g} s were not enough to end the step and write a checkpoint; run the "
                "same command again to go on from the last one",
                file=sys.stderr,
                flush=True,
            )
            os._exit(RESUMABLE)

    before = signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    threading.Thread(target=watch, name="deadline", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(before)
        os.close(wakeup)

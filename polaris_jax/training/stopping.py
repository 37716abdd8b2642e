"""Stopping cleanly when asked: a signal ends the run after the present step, with a checkpoint.

Pods announce a preemption by SIGTERM. Its handler only notes the request; the loop, in all processes at the same step,
writes a checkpoint and ends. The command line then exits with ``RESUMABLE``, which launchers take as "start me again".
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from polaris_jax.training import cluster

RESUMABLE = 75  # EX_TEMPFAIL of sysexits.h


class Stop:
    """A request to stop.

    Attributes:
      number: of the signal; 0: nobody asked.
    """

    number = 0

    def agreed(self) -> int:
        """The signal, once any process has got one; every process must call this at the same step."""
        self.number = cluster.agreed(self.number)
        return self.number


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """SIGINT and SIGTERM become a request; a second SIGINT ends the run at once."""
    stop = Stop()

    def request(number, frame):
        if stop.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.number = number

    try:
        previous = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread (a notebook, a test): signals stay as they are
        previous = {}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

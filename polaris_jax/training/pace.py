"""Which process of a run makes the others wait, from two times that each of them takes at every step.

A step ends in all processes together, so its wall time says nothing about one of them. What does: how long a process
took from there until it started the next step (reading its data, its own housekeeping), and how much later than the
others it came back from its devices.
"""

import time

import jax
import numpy as np

from polaris_jax.training import cluster


class Pace:
    """Times of this process, compared with those of the others once per step (one gather of two numbers)."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self._host = self._waited = 0.0

    def begin(self) -> None:
        """To be called where all processes have just met."""
        self._begun = time.perf_counter()

    def dispatch(self) -> None:
        """To be called right before the step is started."""
        self._host = time.perf_counter() - self._begun

    def done(self) -> dict[str, float]:
        """To be called by every process when its step is done: ``slowest_process`` and ``slowest_process_s``.

        The seconds are those by which it was behind the fastest; ``{}`` in a run of one process.
        """
        if jax.process_count() == 1:
            return {}
        arrived = time.perf_counter()
        # How long this gather took is known after it: what is told is the wait at the step before.
        rows = cluster.all_rows([self._host, self._waited])
        self._waited = time.perf_counter() - arrived
        late = seconds_behind(rows)
        return {"slowest_process": int(late.argmax()), "slowest_process_s": float(late.max())}


def seconds_behind(rows: np.ndarray) -> np.ndarray:
    """``[processes]`` seconds behind the fastest.

    Args:
      rows: ``[processes, 2]`` seconds: until a step was started, and waited for the others after one.
    """
    host, waited = rows.T
    return host - host.min() + waited.max() - waited

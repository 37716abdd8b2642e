"""Which process of a run makes the others wait. Each process measures two times per step.

A step ends in all processes together, so its wall time says nothing about a single process. Two other times do: how
long the process needed before it started the next step (reading data, housekeeping), and how much later than the others
its devices finished.
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
        """Call it right after a point where all processes met."""
        self._begun = time.perf_counter()

    def dispatch(self) -> None:
        """Call it right before the step starts."""
        self._host = time.perf_counter() - self._begun

    def done(self) -> dict[str, float]:
        """To be called by every process when its step is done: ``slowest_process`` and ``slowest_process_s``.

        The seconds are those by which it was behind the fastest; ``{}`` in a run of one process.
        """
        if jax.process_count() == 1:
            return {}
        arrived = time.perf_counter()
        # The time of this gather is known only after it, so the wait of the step before is reported.
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

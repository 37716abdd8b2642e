"""Traces of a few steps for xprof, on demand: a range of steps from the config, or SIGUSR1 to a running process."""

import contextlib
import signal
from pathlib import Path

import jax

FOLDER = "profile"
STEPS_PER_SIGNAL = 3


def _options() -> jax.profiler.ProfileOptions:
    """Device and host events, without Python's own frames.

    JAX's tracer of Python frames walks over the thread states of the interpreter while the threads of TensorStore,
    which write checkpoints and read tokens, make and delete theirs: within seconds that is a segmentation fault, and
    a trace asked of a run would be its end.
    """
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    return options


class Profiler:
    """Starts and ends traces between steps.

    Args:
      workdir: traces go to ``profile/`` inside it (local or gs://).
      first, count: steps to trace (the first is 1); ``count`` 0: only when a signal asks.
    """

    def __init__(self, workdir: str, first: int, count: int):
        self._folder = f"{workdir.rstrip('/')}/{FOLDER}" if "://" in workdir else str(Path(workdir) / FOLDER)
        self._first, self._last = first, first + count - 1
        self._asked = self._running = False
        with contextlib.suppress(ValueError, AttributeError):  # not the main thread; a system without that signal
            signal.signal(signal.SIGUSR1, self._ask)

    def _ask(self, number, frame):
        self._asked = True

    def before(self, step: int) -> None:
        """Call it before ``step`` is dispatched."""
        if self._asked and not self._running:
            self._asked, self._first, self._last = False, step, step + STEPS_PER_SIGNAL - 1
        if step == self._first <= self._last:
            jax.profiler.start_trace(self._folder, profiler_options=_options())
            self._running = True

    def ends(self, step: int) -> bool:
        """Whether a running trace has recorded its last step."""
        return self._running and step >= self._last

    def close(self) -> None:
        """Ends a trace that is still running; writing it takes seconds."""
        if self._running:
            jax.profiler.stop_trace()
            self._running = False

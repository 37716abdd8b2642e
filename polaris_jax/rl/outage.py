"""Pauses the run while the judge does not answer, shows this in ``polaris watch``, and continues when it answers."""

import threading
import time
from collections.abc import Callable

from polaris_jax import storage
from polaris_jax.errors import RunError
from polaris_jax.rewards import Judgement
from polaris_jax.rl.sections import PauseOptions

STATUS = "judge.json"  # in the run's folder: whether the judge answers


class Closed(Exception):
    """The run ends, so waiting for the judge ends too."""


class JudgeStatus:
    """``WORKDIR/judge.json``: ``{"state": "answering" | "away" | "hopeless", ...}``, read by ``polaris watch``.

    Args:
      workdir: None writes nothing.
      say: receives a line when the judge goes away and when it is back.
    """

    def __init__(self, workdir: str | None, say: Callable[[str], None]):
        self._address = None if workdir is None else storage.join(workdir, STATUS)
        self._say = say
        self.paused = 0.0  # seconds so far

    def write(self, state: str, **facts: object) -> None:
        """Replaces the file in one atomic step."""
        if self._address is not None:
            storage.write_json(
                self._address, {"state": state, "time": time.time(), "paused_s": round(self.paused, 3), **facts}
            )

    def say(self, line: str) -> None:
        """Passes a line to ``say``."""
        self._say(line)


class Outage:
    """Coordinates the threads that ask a judge while it is away: one asks from time to time, the others wait.

    Args:
      options: how long to wait. status: updated when the judge goes away and comes back.
    """

    def __init__(self, options: PauseOptions, status: JudgeStatus):
        self._patience, self._shortest, self._longest = options.patience, options.shortest, options.longest
        self._status = status
        self._asking = threading.Lock()
        self._closing = threading.Event()
        self._answered = 0.0  # when the judge last came back, monotonic
        self._away = False

    @property
    def paused(self) -> float:
        """Seconds for which the judge has been away so far."""
        return self._status.paused

    def close(self) -> None:
        """Wakes all waiting threads; they raise ``Closed``."""
        self._closing.set()

    def ask(self, judge: Callable[[], Judgement]) -> Judgement:
        """The judge's answer, as soon as it is not an outage.

        Raises:
          RunError: every question will fail, or the judge was away for longer than ``options`` allow.
          Closed: the run ends.
        """
        if self._away:
            with self._asking:
                pass  # another thread is asking; its answer says whether a call is worthwhile
            if self._closing.is_set():
                raise Closed
        begun = time.monotonic()
        judgement = self._told(judge())
        if not judgement.outage:
            return judgement
        with self._asking:
            if self._answered > begun:  # another thread has had an answer since
                return self._wait(judge, self._told(judge()), begun)
            return self._wait(judge, judgement, begun)

    def _wait(self, judge: Callable[[], Judgement], judgement: Judgement, begun: float) -> Judgement:
        """Asks until there is an answer; the caller holds the lock."""
        asked, pause = 1, self._shortest
        since = time.time() - (time.monotonic() - begun)
        while judgement.outage:
            waited = time.monotonic() - begun
            facts = {"since": since, "kind": judgement.outage, "detail": judgement.detail, "asked": asked}
            self._status.write("away", **facts)
            if not self._away:
                self._status.say(f"the judge is away ({judgement.outage}: {judgement.detail}); waiting for it")
                self._away = True
            if waited > self._patience:
                raise RunError(
                    f"the judge has been away for {waited:.0f} s ({judgement.outage}: {judgement.detail}); nothing is "
                    "lost: run the same command again when it answers, or raise config.judge.pause.patience"
                )
            if self._closing.wait(pause):
                raise Closed
            pause = min(2 * pause, self._longest)
            judgement, asked = self._told(judge()), asked + 1
        if self._away:
            waited = time.monotonic() - begun
            self._away, self._answered = False, time.monotonic()
            self._status.paused += waited
            self._status.write("answering")
            self._status.say(f"the judge answers again after {waited:.0f} s")
        return judgement

    def _told(self, judgement: Judgement) -> Judgement:
        if judgement.hopeless:
            self._status.write("hopeless", kind=judgement.failed, detail=judgement.detail)
            raise RunError(
                f"the judge {judgement.judge} cannot be asked ({judgement.failed}: {judgement.detail}); correct "
                "config.judge and run the same command again: nothing is lost, and what was judged is not asked again"
            )
        if self._closing.is_set() and judgement.outage:
            raise Closed
        return judgement

"""``Hope``: stops asking a model that never gives a usable answer.

One failed question costs a field of a plan. A model that fails all questions would waste the calls of a whole library.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from polaris_jax.errors import InputError
from polaris_jax.llm.failures import UNUSABLE, AttemptFailed, CallFailed

_PROVEN = 8  # factor of the limit for a model that has answered before: one kind of question may be too hard for it
_IN_VAIN = UNUSABLE | {"refused"}
_ADVICE = {
    "truncated": "raise the room for thinking, lower the effort, or take another model",
    "empty": "raise the room for thinking, lower the effort, or take another model",
    "refused": "it declines this material: take another model or other safety settings",
}


class Hope:
    """Counts failed calls since the last usable answer; thread-safe.

    Until the first usable answer, at most ``limit`` calls are made, including those in flight. A call counts as failed
    if the model's answer is unusable or the model declines. An outage counts once per question that was given up.

    Args:
      identity: identity of the model, for the message.
      limit: number of failed calls after which to stop, at least 1.
    """

    def __init__(self, identity: str, limit: int):
        self.identity, self.limit = identity, limit
        self._changed = threading.Condition()
        self._kinds: Counter[str] = Counter()
        self._last, self._in_flight, self._proven = "", 0, False

    @contextmanager
    def call(self) -> Iterator[None]:
        """Counts a call to the model; its body raises ``AttemptFailed`` if the call fails.

        Raises:
          InputError: too many calls have failed; no call is made.
        """
        with self._changed:
            self._check()
            while not self._proven and self._in_flight >= self.limit - self._failed:
                self._changed.wait()
                self._check()
            self._in_flight += 1
        try:
            yield
        except (AttemptFailed, CallFailed) as failure:
            if failure.kind in _IN_VAIN:
                self._count(failure.kind, failure.detail)
            raise
        else:
            with self._changed:
                self._kinds.clear()
                self._proven = True
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    def given_up(self, failure: CallFailed) -> None:
        """Counts a question that got no answer.

        Raises:
          InputError: no other question will get one: the server refuses access, or too many failed.
        """
        if failure.hopeless:
            raise InputError("model", self.identity, f"the server refuses: {failure}")
        if failure.kind not in _IN_VAIN:
            self._count(failure.kind, failure.detail)
        with self._changed:
            self._check()

    @property
    def _failed(self) -> int:
        return sum(self._kinds.values())

    def _count(self, kind: str, detail: str) -> None:
        with self._changed:
            self._kinds[kind] += 1
            self._last = detail

    def _check(self) -> None:
        if self._failed < self.limit * (_PROVEN if self._proven else 1):
            return
        kinds = ", ".join(f"{count} {kind}" for kind, count in self._kinds.most_common())
        advice = _ADVICE.get(self._kinds.most_common(1)[0][0], "see to the server, or take another model")
        raise InputError(
            "model",
            self.identity,
            f"no usable answer in the last {self._failed} calls ({kinds}; the last: {self._last}): {advice}",
        )

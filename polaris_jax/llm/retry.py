"""Asking again: which failures, how often, after how long."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from polaris_jax.llm.failures import RETRIED, AttemptFailed, CallFailed
from polaris_jax.llm.transport import extra

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """How long to keep asking.

    Attributes:
      attempts: calls at most.
      backoff: seconds; the wait before retry ``n`` (from 0) is uniform in ``[0, backoff * 2**n]``, so that the many
        clients of a server that recovers do not return in step.
      longest: seconds; upper bound of such a wait.
      patience: seconds; a server that asks (``Retry-After``) for a longer wait has failed for good.
    """

    attempts: int = 6
    backoff: float = 1.0
    longest: float = 60.0
    patience: float = 600.0

    def call(self, attempt: Callable[[int], T]) -> T:
        """Runs ``attempt(0)``, ``attempt(1)``, ... until one returns.

        Raises:
          CallFailed: in place of the last ``AttemptFailed``. Any other exception of an attempt passes through.
        """
        tenacity = extra("tenacity")
        jitter = tenacity.wait_random_exponential(multiplier=self.backoff, max=self.longest)
        made = 0

        def numbered() -> T:
            nonlocal made
            made += 1
            return attempt(made - 1)

        def wait(state) -> float:
            return max(jitter(state), state.outcome.exception().retry_after or 0.0)

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.attempts),
            retry=tenacity.retry_if_exception(self._worth_it),
            wait=wait,
            reraise=True,
        )
        failure = None
        try:
            return retrying(numbered)
        except AttemptFailed as error:
            failure = error
        raise CallFailed(failure.kind, made, failure.detail, failure.reply)

    def _worth_it(self, error: BaseException) -> bool:
        if not isinstance(error, AttemptFailed) or error.kind not in RETRIED:
            return False
        return (error.retry_after or 0.0) <= self.patience

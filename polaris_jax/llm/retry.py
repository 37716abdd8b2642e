"""Retries: after which failures, how often, and after which wait."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from polaris_jax.llm.failures import MOST_CALLS, RETRIED, AttemptFailed, CallFailed
from polaris_jax.llm.transport import extra

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """How often a request is retried, and the waits between attempts.

    Attributes:
      attempts: most calls.
      backoff: seconds; the wait before retry ``n`` (from 0) is uniform in ``[0, backoff * 2**n]``, so that the
        clients of a server that recovers do not all return at once.
      longest: seconds; upper bound of such a wait.
      patience: seconds; if a server asks for a longer wait (``Retry-After``), the failure is permanent.
    """

    attempts: int = 6
    backoff: float = 1.0
    longest: float = 60.0
    patience: float = 600.0

    def call(self, attempt: Callable[[int], T]) -> T:
        """Runs ``attempt(0)``, ``attempt(1)``, ... until one returns.

        Raises:
          CallFailed: instead of the last ``AttemptFailed``. Any other exception of an attempt is not caught.
        """
        tenacity = extra("tenacity")
        jitter = tenacity.wait_random_exponential(multiplier=self.backoff, max=self.longest)
        made, kinds = 0, Counter[str]()

        def numbered() -> T:
            nonlocal made
            made += 1
            return attempt(made - 1)

        def wait(state) -> float:
            return max(jitter(state), state.outcome.exception().retry_after or 0.0)

        def retried(error: BaseException) -> bool:
            if not isinstance(error, AttemptFailed) or error.kind not in RETRIED:
                return False
            kinds[error.kind] += 1
            patient = (error.retry_after or 0.0) <= self.patience
            return patient and kinds[error.kind] < MOST_CALLS.get(error.kind, self.attempts)

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.attempts),
            retry=tenacity.retry_if_exception(retried),
            wait=wait,
            reraise=True,
        )
        failure = None
        try:
            return retrying(numbered)
        except AttemptFailed as error:
            failure = error
        raise CallFailed(failure.kind, made, failure.detail, failure.reply, failure.hopeless)

"""``UsageTracker``: tokens and money per purpose, and a budget that concurrent calls cannot exceed.

Before a call, its largest possible cost is reserved; after it, the actual cost is recorded. If the calls in flight have
reserved the rest of the budget, the next call waits for them. If no call is in flight and the next one still does not
fit, the budget is spent.
"""

import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields

from polaris_jax.errors import InputError
from polaris_jax.llm.failures import BudgetSpent

FORMAT = "polaris-llm-ledger-2"


@dataclass
class PurposeUsage:
    """The usage of the requests of one purpose.

    Attributes:
      calls: calls made, successful or not.
      cached: requests answered without a call.
      retries: calls that repeated a failed one.
      failed: requests that got no answer.
      prompt_tokens, completion_tokens: as the servers counted them; upper bounds if a server may have charged but did
        not report them.
      cached_tokens: how many of the prompt tokens came from the provider's cache.
      unknown: calls whose tokens are upper bounds.
    """

    calls: int = 0
    cached: int = 0
    retries: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    unknown: int = 0


@dataclass
class CallUsage:
    """Tokens of one call: upper bounds during the call, actual numbers after ``settle``."""

    prompt_tokens: int
    completion_tokens: int
    known: bool = False
    cached_tokens: int = 0

    def settle(self, prompt_tokens: int | None, completion_tokens: int | None, cached_tokens: int = 0) -> None:
        """Records the tokens that the server reports; a missing number stays at its upper bound."""
        self.known = prompt_tokens is not None and completion_tokens is not None
        self.prompt_tokens = self.prompt_tokens if prompt_tokens is None else prompt_tokens
        self.completion_tokens = self.completion_tokens if completion_tokens is None else completion_tokens
        self.cached_tokens = min(cached_tokens, self.prompt_tokens)


class UsageTracker:
    """Counts calls, tokens and money; thread-safe.

    Args:
      budget_tokens, budget_usd: limits; None is no limit.
      prices: USD per million prompt tokens and per million completion tokens; an optional third one for prompt tokens
        from the provider's cache (default: the price of other prompt tokens).

    Raises:
      InputError: a budget in USD without prices.
    """

    def __init__(
        self,
        budget_tokens: int | None = None,
        budget_usd: float | None = None,
        prices: tuple[float, ...] | None = None,
    ):
        if budget_usd is not None and prices is None:
            raise InputError("budget_usd", budget_usd, "needs prices=(USD per million prompt tokens, completion)")
        self.budget_tokens, self.budget_usd, self.prices = budget_tokens, budget_usd, prices
        self._purposes: dict[str, PurposeUsage] = {}
        self._in_flight: list[CallUsage] = []
        self._changed = threading.Condition()

    calls = property(lambda self: self._total("calls"))
    cached = property(lambda self: self._total("cached"))
    retries = property(lambda self: self._total("retries"))
    failed = property(lambda self: self._total("failed"))
    prompt_tokens = property(lambda self: self._total("prompt_tokens"))
    completion_tokens = property(lambda self: self._total("completion_tokens"))
    cached_tokens = property(lambda self: self._total("cached_tokens"))
    tokens = property(lambda self: self.prompt_tokens + self.completion_tokens)

    @property
    def usd(self) -> float | None:
        """Money spent; None if prices are unknown."""
        with self._changed:
            return self._usd(*self._spent(), self._cached())

    @contextmanager
    def call(self, purpose: str, prompt_tokens: int, completion_tokens: int, retry: bool) -> Iterator[CallUsage]:
        """Reserves the upper bounds of one call while it runs; records them unless the call is settled.

        Raises:
          BudgetSpent: they do not fit into the budget; the call must not be made.
        """
        call = CallUsage(prompt_tokens, completion_tokens)
        with self._changed:
            while (short := self._shortfall(call)) is not None:
                if not self._in_flight:
                    raise short
                self._changed.wait()
            self._in_flight.append(call)
            usage = self._purpose(purpose)
            usage.calls += 1
            usage.retries += retry
        try:
            yield call
        finally:
            with self._changed:
                self._in_flight = [other for other in self._in_flight if other is not call]
                usage.prompt_tokens += call.prompt_tokens
                usage.completion_tokens += call.completion_tokens
                usage.cached_tokens += call.cached_tokens
                usage.unknown += not call.known
                self._changed.notify_all()

    def count_cached(self, purpose: str) -> None:
        """Counts a request that was answered without a call."""
        with self._changed:
            self._purpose(purpose).cached += 1

    def count_failed(self, purpose: str) -> None:
        """Counts a request that got no answer."""
        with self._changed:
            self._purpose(purpose).failed += 1

    def summary(self) -> dict:
        """All numbers as JSON values: totals, budget, and each purpose."""
        with self._changed:
            totals = {
                part.name: sum(getattr(usage, part.name) for usage in self._purposes.values())
                for part in fields(PurposeUsage)
            }
            return {
                "format": FORMAT,
                **totals,
                "tokens": sum(self._spent()),
                "usd": self._usd(*self._spent(), self._cached()),
                "budget_tokens": self.budget_tokens,
                "budget_usd": self.budget_usd,
                "purposes": {
                    name: asdict(usage)
                    | {"usd": self._usd(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)}
                    for name, usage in sorted(self._purposes.items())
                },
            }

    def write(self, address: str | os.PathLike) -> None:
        """Writes ``summary()`` as a JSON file, local or gs://, in one atomic step."""
        from polaris_jax import storage  # see ``client.open_client``

        storage.write(os.fspath(address), (json.dumps(self.summary(), indent=1) + "\n").encode())

    def restore(self, address: str | os.PathLike) -> None:
        """Adds the usage of an earlier run, so that its spending counts against this budget.

        Raises:
          InputError: no such file, or not a usage file.
        """
        from polaris_jax import storage  # see ``client.open_client``

        try:
            content = json.loads(storage.read(os.fspath(address)) or b"")
            if content["format"] != FORMAT:
                raise ValueError(content["format"])
            names = [part.name for part in fields(PurposeUsage)]
            earlier = {
                purpose: {name: int(row[name]) for name in names} for purpose, row in content["purposes"].items()
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError("ledger", str(address), f"not a readable ledger file ({error!r})") from None
        with self._changed:
            for purpose, counts in earlier.items():
                usage = self._purpose(purpose)
                for name, value in counts.items():
                    setattr(usage, name, getattr(usage, name) + value)

    def _purpose(self, purpose: str) -> PurposeUsage:
        return self._purposes.setdefault(purpose, PurposeUsage())

    def _total(self, part: str) -> int:
        with self._changed:
            return sum(getattr(usage, part) for usage in self._purposes.values())

    def _spent(self) -> tuple[int, int]:
        """Prompt and completion tokens recorded so far."""
        purposes = self._purposes.values()
        return sum(usage.prompt_tokens for usage in purposes), sum(usage.completion_tokens for usage in purposes)

    def _cached(self) -> int:
        return sum(usage.cached_tokens for usage in self._purposes.values())

    def _usd(self, prompt_tokens: int, completion_tokens: int, cached: int) -> float | None:
        return None if self.prices is None else cost(self.prices, prompt_tokens, completion_tokens, cached)

    def _shortfall(self, call: CallUsage) -> BudgetSpent | None:
        """The budget that ``call`` would exceed together with the calls in flight; None if it fits."""
        prompt, completion = self._spent()
        reserved = [*self._in_flight, call]
        prompt_after = prompt + sum(one.prompt_tokens for one in reserved)
        completion_after = completion + sum(one.completion_tokens for one in reserved)
        if self.budget_tokens is not None and prompt_after + completion_after > self.budget_tokens:
            needed = call.prompt_tokens + call.completion_tokens
            return BudgetSpent("tokens", self.budget_tokens, prompt + completion, needed)
        if self.budget_usd is not None and self.prices is not None:
            spent, needed_usd, after = (
                cost(self.prices, *tokens)
                for tokens in (
                    (prompt, completion, self._cached()),
                    (call.prompt_tokens, call.completion_tokens, 0),
                    (prompt_after, completion_after, self._cached()),
                )
            )
            if after > self.budget_usd:
                return BudgetSpent("usd", self.budget_usd, spent, needed_usd)
        return None


def merged(trackers: Sequence[UsageTracker]) -> dict:
    """The sums of several trackers, as in ``summary``; ``usd`` is of those whose prices are known, None if none is."""
    found = [tracker.summary() for tracker in trackers]
    names = [*(part.name for part in fields(PurposeUsage)), "tokens"]
    known = [one["usd"] for one in found if one["usd"] is not None]
    return {name: sum(one[name] for one in found) for name in names} | {"usd": sum(known) if known else None}


def cost(prices: tuple[float, ...], prompt_tokens: int, completion_tokens: int, cached_tokens: int) -> float:
    """USD at ``UsageTracker``'s prices; ``cached_tokens`` of the prompt tokens came from the provider's cache."""
    cached = prices[2] if len(prices) > 2 else prices[0]
    fresh = prompt_tokens - cached_tokens
    return (fresh * prices[0] + cached_tokens * cached + completion_tokens * prices[1]) / 1e6

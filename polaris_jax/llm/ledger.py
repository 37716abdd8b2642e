"""What the calls cost: tokens and money per purpose, and a budget that many threads cannot overshoot.

Before a call the ledger sets aside the most that it can cost; afterwards it books what it did cost. When the rest of
the budget is set aside by calls in flight, the next one waits for them; when nothing is in flight and it still does not
fit, the budget is spent.
"""

import json
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from polaris_jax.errors import InputError
from polaris_jax.llm.failures import BudgetSpent

FORMAT = "polaris-llm-ledger-1"


@dataclass
class Account:
    """What one purpose has used.

    Attributes:
      calls: made, whatever came of them.
      cached: requests answered without a call.
      retries: calls that repeated a failed one.
      failed: requests that got no answer.
      prompt_tokens, completion_tokens: as the servers counted them, or their upper bounds where a server that may have
        charged did not say.
      unknown: calls of that last sort.
    """

    calls: int = 0
    cached: int = 0
    retries: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unknown: int = 0


@dataclass
class Spending:
    """One call under way: the most it can cost, until ``settle`` says what it did."""

    prompt_tokens: int
    completion_tokens: int
    known: bool = field(default=False)

    def settle(self, prompt_tokens: int | None, completion_tokens: int | None) -> None:
        """Books the tokens that the server reports; an unreported number stays at its upper bound."""
        self.known = prompt_tokens is not None and completion_tokens is not None
        self.prompt_tokens = self.prompt_tokens if prompt_tokens is None else prompt_tokens
        self.completion_tokens = self.completion_tokens if completion_tokens is None else completion_tokens


class Ledger:
    """Counts calls, tokens and money; thread-safe.

    Args:
      budget_tokens, budget_usd: limits, None for none.
      prices: USD per million prompt tokens and per million completion tokens.
    """

    def __init__(
        self,
        budget_tokens: int | None = None,
        budget_usd: float | None = None,
        prices: tuple[float, float] | None = None,
    ):
        self.budget_tokens, self.budget_usd, self.prices = budget_tokens, budget_usd, prices
        self._accounts: dict[str, Account] = {}
        self._in_flight: list[Spending] = []
        self._changed = threading.Condition()

    calls = property(lambda self: self._total("calls"))
    cached = property(lambda self: self._total("cached"))
    retries = property(lambda self: self._total("retries"))
    failed = property(lambda self: self._total("failed"))
    prompt_tokens = property(lambda self: self._total("prompt_tokens"))
    completion_tokens = property(lambda self: self._total("completion_tokens"))
    tokens = property(lambda self: self.prompt_tokens + self.completion_tokens)

    @property
    def usd(self) -> float | None:
        """Money spent; None where prices are not known."""
        with self._changed:
            return self._usd(*self._spent())

    @contextmanager
    def call(self, purpose: str, prompt_tokens: int, completion_tokens: int, retry: bool) -> Iterator[Spending]:
        """Sets aside the upper bounds of one call for as long as it takes; books them unless it is settled.

        Raises:
          BudgetSpent: they do not fit in the budget; no call may be made.
        """
        spending = Spending(prompt_tokens, completion_tokens)
        with self._changed:
            while (short := self._short(spending)) is not None:
                if not self._in_flight:
                    raise short
                self._changed.wait()
            self._in_flight.append(spending)
            account = self._account(purpose)
            account.calls += 1
            account.retries += retry
        try:
            yield spending
        finally:
            with self._changed:
                self._in_flight = [other for other in self._in_flight if other is not spending]
                account.prompt_tokens += spending.prompt_tokens
                account.completion_tokens += spending.completion_tokens
                account.unknown += not spending.known
                self._changed.notify_all()

    def count_cached(self, purpose: str) -> None:
        """A request was answered without a call."""
        with self._changed:
            self._account(purpose).cached += 1

    def count_failed(self, purpose: str) -> None:
        """A request got no answer."""
        with self._changed:
            self._account(purpose).failed += 1

    def summary(self) -> dict:
        """All numbers as JSON values: totals, budget, and each purpose."""
        with self._changed:
            totals = {
                part.name: sum(getattr(a, part.name) for a in self._accounts.values()) for part in fields(Account)
            }
            return {
                "format": FORMAT,
                **totals,
                "tokens": sum(self._spent()),
                "usd": self._usd(*self._spent()),
                "budget_tokens": self.budget_tokens,
                "budget_usd": self.budget_usd,
                "purposes": {
                    name: asdict(account) | {"usd": self._usd(account.prompt_tokens, account.completion_tokens)}
                    for name, account in sorted(self._accounts.items())
                },
            }

    def write(self, path: str | os.PathLike) -> None:
        """Writes ``summary()`` as a JSON file, whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            file.write(json.dumps(self.summary(), indent=1) + "\n")
        os.replace(file.name, path)

    def restore(self, path: str | os.PathLike) -> None:
        """Adds what an earlier run wrote, so that its spending counts against this budget.

        Raises:
          InputError: not a ledger file.
        """
        try:
            content = json.loads(Path(path).read_text())
            if content["format"] != FORMAT:
                raise ValueError(content["format"])
            names = [part.name for part in fields(Account)]
            accounts = {name: {part: int(said[part]) for part in names} for name, said in content["purposes"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError("ledger", str(path), f"not a readable ledger file ({error!r})") from None
        with self._changed:
            for name, said in accounts.items():
                account = self._account(name)
                for part, value in said.items():
                    setattr(account, part, getattr(account, part) + value)

    def _account(self, purpose: str) -> Account:
        return self._accounts.setdefault(purpose, Account())

    def _total(self, part: str) -> int:
        with self._changed:
            return sum(getattr(account, part) for account in self._accounts.values())

    def _spent(self) -> tuple[int, int]:
        accounts = self._accounts.values()
        return sum(a.prompt_tokens for a in accounts), sum(a.completion_tokens for a in accounts)

    def _usd(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        if self.prices is None:
            return None
        return (prompt_tokens * self.prices[0] + completion_tokens * self.prices[1]) / 1e6

    def _short(self, spending: Spending) -> BudgetSpent | None:
        """What is short for ``spending`` beside the calls in flight."""
        prompt, completion = self._spent()
        held = [*self._in_flight, spending]
        after = prompt + sum(s.prompt_tokens for s in held), completion + sum(s.completion_tokens for s in held)
        if self.budget_tokens is not None and sum(after) > self.budget_tokens:
            needed = spending.prompt_tokens + spending.completion_tokens
            return BudgetSpent("tokens", self.budget_tokens, prompt + completion, needed)
        if self.budget_usd is not None and self._usd(*after) > self.budget_usd:
            needed = self._usd(spending.prompt_tokens, spending.completion_tokens)
            return BudgetSpent("usd", self.budget_usd, self._usd(prompt, completion), needed)
        return None

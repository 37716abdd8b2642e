"""Estimates the cost of questions to a model from the questions themselves, before the first call.

The estimate is rough: tokens come from characters, answers have their usual length, and no call is repeated. The budget
does not use it (see ``UsageTracker``).
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from polaris_jax.llm.cache import Cache
from polaris_jax.llm.request import Request
from polaris_jax.llm.spec import ClientSpec

CHARACTERS_PER_TOKEN = 4.0  # for English prose with current tokenizers
TOKENS_PER_SECOND = 60.0  # of one answer of a hosted model
SECONDS_PER_CALL = 2.0  # before its first token


@dataclass(frozen=True)
class Forecast:
    """The expected calls to one model.

    Attributes:
      model: its identity.
      calls: questions that are not in the cache; cached: those that are.
      prompt_tokens, answer_tokens: total tokens of the calls.
      usd: at the model's prices; None if they are unknown.
      hours: with the client's number of calls in flight.
    """

    model: str
    calls: int
    cached: int
    prompt_tokens: int
    answer_tokens: int
    usd: float | None
    hours: float

    def to_json(self) -> dict:
        """The forecast as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        money = "no price is known" if self.usd is None else f"about ${self.usd:,.2f}"
        known = f" ({self.cached:,} more answers are in the cache)" if self.cached else ""
        return (
            f"{self.model}: {self.calls:,} calls{known}, about {self.prompt_tokens:,} prompt and "
            f"{self.answer_tokens:,} answer tokens, {money}, about {duration(self.hours)}"
        )


def forecast(requests: Iterable[Request], spec: ClientSpec, answer_tokens: int) -> Forecast:
    """The forecast of these requests. It reads the client's cache, makes no call and writes nothing.

    Args:
      answer_tokens: tokens of one answer, including reasons.
    """
    cache = Cache(spec.cache) if spec.cache else None
    keys: set[str] = set()
    cached = prompt = 0
    for request in requests:
        key = request.key(spec.key_identity)
        if key in keys:
            continue
        keys.add(key)
        if cache is not None and cache.read(key) is not None:
            cached += 1
            continue
        characters = sum(len(content) for _, content in request.messages) + len(request.schema or "")
        prompt += int(characters / CHARACTERS_PER_TOKEN) + 1
    calls = len(keys) - cached
    answers = calls * answer_tokens
    prices = spec.known_prices
    usd = None if prices is None else (prompt * prices[0] + answers * prices[1]) / 1e6
    return Forecast(spec.identity, calls, cached, prompt, answers, usd, hours(calls, answers, spec.concurrency))


def hours(calls: int, answer_tokens: int, concurrency: int) -> float:
    """Hours until a hosted model has answered, with ``concurrency`` calls always in flight."""
    return (calls * SECONDS_PER_CALL + answer_tokens / TOKENS_PER_SECOND) / concurrency / 3600


def duration(hours: float) -> str:
    """A number of hours in words."""
    return f"{hours:,.1f} h" if hours >= 1 else f"{max(1, round(60 * hours))} min"

"""``ForecastClient``: estimates the cost of plans from the questions that would be asked, without a call.

Later questions of a plan show earlier answers, so it answers each question with words, as many as a model writes. None
of its answers is kept.
"""

import hashlib
import json
from collections.abc import Sequence
from itertools import count
from typing import Any

from polaris_jax.llm import CallFailed, Reply, Request, UsageTracker
from polaris_jax.scaffold.llm.context_budget import CHARS_PER_TOKEN, tokens

_FILLED = 0.6  # share of the length that the schema allows
_MESSAGE = 8  # tokens of a chat template around each message
_BLOCK = 448  # characters: 128 tokens, the unit in which providers compare beginnings
_LEAST_CACHED = 1_024  # tokens: shorter beginnings are not cached
_NUMBERS = 24  # tokens of an answer with paragraph or chapter numbers
# fmt: off
_PLAIN = (
    "quiet", "narrow", "patient", "sudden", "broken", "distant", "honest", "careful", "lonely", "bitter",
    "gentle", "hidden", "older", "wiser", "slower", "darker", "softer", "colder", "warmer", "brighter",
)
# fmt: on


class ForecastClient:
    """Implements ``Client`` for a forecast: every question counts as one call in ``usage``.

    Corrections and retries are not counted: a suitable model needs few. Questions for paragraph or chapter numbers get
    no answer, so the library's scenes and the offline arcs are kept. A beginning that a question shares with an earlier
    one counts as read from the provider's cache.

    Args:
      identity: identity of the model that would be asked.
      thinking: assumed tokens of thinking per answer.
    """

    def __init__(self, identity: str, thinking: int = 0):
        self.identity, self.usage = identity, UsageTracker()
        self._thinking, self._number = thinking, count(1)
        self._asked: set[str] = set()
        self._beginnings: set[str] = set()

    def ask(self, request: Request) -> Reply:
        """See ``Client.ask``."""
        reply = self._answer(request)
        if isinstance(reply, CallFailed):
            raise reply
        return reply

    def ask_all(self, requests: Sequence[Request]) -> list[Reply | CallFailed]:
        """See ``Client.ask_all``."""
        return [self._answer(request) for request in requests]

    def ready(self) -> None:
        """No call is made."""

    def close(self) -> None:
        """Does nothing: nothing is open."""

    def _answer(self, request: Request) -> Reply | CallFailed:
        schema = json.loads(request.schema or "{}")
        numbers = _asks_for_numbers(schema)
        data = None if numbers else self._value(schema)
        text = json.dumps(data)
        key = request.key(self.identity)
        if key not in self._asked and not request.purpose.endswith("repair"):
            self._asked.add(key)
            prompt = sum(tokens(content) + _MESSAGE for _, content in request.messages) + tokens(request.schema or "")
            answer = (_NUMBERS if numbers else tokens(text)) + self._thinking
            with self.usage.call(request.purpose, prompt, answer, retry=False) as call:
                call.settle(prompt, answer, self._cached(request))
        if numbers:
            return CallFailed("not_recorded", 0, "a forecast names no numbers")
        return Reply(text, data, self.identity, 0, 0, cached=True, attempts=0)

    def _cached(self, request: Request) -> int:
        """Tokens of its messages in a provider's cache: whole blocks of a beginning that was sent before."""
        text = "\0".join(content for _, content in request.messages)
        known, beginning = 0, hashlib.sha256()
        for start in range(0, len(text) - _BLOCK + 1, _BLOCK):
            beginning.update(text[start : start + _BLOCK].encode())
            if beginning.hexdigest() in self._beginnings and known == start:
                known = start + _BLOCK
            self._beginnings.add(beginning.hexdigest())
        return tokens(text[:known]) if known >= _LEAST_CACHED * CHARS_PER_TOKEN else 0

    def _value(self, schema: dict) -> Any:
        if schema["type"] == "object":
            return {name: self._value(part) for name, part in schema["properties"].items()}
        if schema["type"] == "array":
            return [self._value(schema["items"]) for _ in range(schema["maxItems"])]
        if schema["type"] == "integer":
            return 40
        if "enum" in schema:
            return schema["enum"][0]
        return self._text(schema["maxLength"])

    def _text(self, most: int) -> str:
        """Words that no other answer has in this order, with a full stop at the end."""
        number, size, words = next(self._number), 0, list[str]()
        while size < _FILLED * most - 7:
            digit = number // len(_PLAIN) ** (len(words) % 4) if words else number
            words.append(_PLAIN[(digit + len(words)) % len(_PLAIN)])
            size += len(words[-1]) + 1
        return " ".join([*(words or _PLAIN[:1]), str(number)]) + "."


def _asks_for_numbers(schema: dict) -> bool:
    parts = schema.get("properties", {}).values()
    return all(part["type"] == "array" and part["items"]["type"] == "integer" for part in parts)

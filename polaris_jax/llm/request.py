"""What is asked and what comes back: ``Request``, ``Reply``, and the key under which a reply is kept."""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

from polaris_jax.errors import InputError

ROLES = ("system", "user", "assistant")
# A greedy answer that cannot be used would come back unchanged: from then on we draw with at least this temperature.
SECOND_CHANCE_TEMPERATURE = 0.3


@dataclass(frozen=True)
class Request:
    """One question to a language model. Everything but ``purpose`` decides the answer and is part of the cache key.

    Attributes:
      messages: ``(role, content)`` pairs, roles from ``ROLES``.
      schema: JSON text of a JSON schema that the answer must satisfy, or None for free text. The order of its
        properties is kept: constrained decoders write an answer's fields in that order.
      temperature: 0 is greedy.
      max_tokens: upper bound of the answer, hidden reasoning included, in tokens of the model.
      seed: of the draw, for servers that take one.
      sample: tells repeated draws of one request apart; each gets a seed of its own.
      purpose: the ledger's category.
      version: of the instructions; raise it to ask again what is in the cache.

    Raises:
      InputError: no messages, an unknown role, a schema that is not JSON, or a number out of range.
    """

    messages: tuple[tuple[str, str], ...]
    schema: str | None = None
    temperature: float = 0.0
    max_tokens: int = 1024
    seed: int | None = None
    sample: int = 0
    purpose: str = ""
    version: str = ""

    def __post_init__(self):
        messages = tuple((role, content) for role, content in self.messages)
        if not messages:
            raise InputError("messages", self.messages, "ask something: at least one (role, content)")
        for role, content in messages:
            if role not in ROLES or not isinstance(content, str):
                raise InputError("messages", (role, content), f"each is (role, text) with a role of {', '.join(ROLES)}")
        object.__setattr__(self, "messages", messages)
        if self.schema is not None:
            object.__setattr__(self, "schema", _compact_schema(self.schema))
        if self.max_tokens < 1:
            raise InputError("max_tokens", self.max_tokens, "at least 1")
        if self.temperature < 0:
            raise InputError("temperature", self.temperature, "0 (greedy) or more")
        if self.sample < 0:
            raise InputError("sample", self.sample, "0 or more")

    def key(self, identity: str) -> str:
        """SHA-256 (hex) of the identity of the model and of everything here that decides the answer."""
        decisive = {
            "identity": identity,
            "version": self.version,
            "messages": self.messages,
            "schema": self.schema,
            "temperature": float(self.temperature),
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "sample": self.sample,
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    def draw(self, spoiled: int) -> "Request":
        """The request as it is sent after ``spoiled`` unusable answers.

        Samples and second chances get seeds of their own. A failure on the way does not count as spoiled, so the answer
        does not depend on the weather of the network.
        """
        seed, temperature = self.seed, self.temperature
        if seed is not None and (self.sample or spoiled):
            digest = hashlib.sha256(f"{self.seed}/{self.sample}/{spoiled}".encode()).digest()
            seed = int.from_bytes(digest[:4], "big") >> 1
        if spoiled:
            temperature = max(temperature, SECOND_CHANCE_TEMPERATURE)
        return replace(self, seed=seed, temperature=temperature)


@dataclass(frozen=True)
class Reply:
    """One answer.

    Attributes:
      text: what the model wrote, unchanged: hidden reasoning and code fences included.
      data: the JSON value in ``text``, valid under the request's schema; None for free text.
      model: the name that the server gives its model.
      prompt_tokens, completion_tokens: of the call that gave the answer; 0 where the server does not say.
      cached: no call was made for it.
      attempts: calls made for it now; 0 when cached.
      finish: ``stop``, or ``length`` when free text was cut at ``max_tokens``.
    """

    text: str
    data: Any
    model: str
    prompt_tokens: int
    completion_tokens: int
    cached: bool
    attempts: int
    finish: str = "stop"


def _compact_schema(schema: str) -> str:
    try:
        content = json.loads(schema)
    except (TypeError, ValueError):
        raise InputError("schema", schema, "the text of a JSON schema, as json.dumps writes it") from None
    if not isinstance(content, dict):
        raise InputError("schema", schema, "a JSON object")
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))

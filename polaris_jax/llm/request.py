"""What is asked and what comes back: ``Request``, ``Reply``, and the key under which a reply is kept."""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

from polaris_jax.errors import InputError
from polaris_jax.llm.replies import clean_text

ROLES = ("system", "user", "assistant")
# Greedy decoding would repeat an unusable answer: retries after one are sampled with at least this temperature.
RETRY_TEMPERATURE = 0.3


@dataclass(frozen=True)
class Request:
    """One request to a language model. Everything but ``purpose`` affects the answer and is part of the cache key.

    Attributes:
      messages: ``(role, content)`` pairs, roles from ``ROLES``.
      schema: JSON text of a JSON schema that the answer must satisfy, or None for free text. The order of its
        properties is kept: constrained decoders write an answer's fields in that order.
      temperature: 0 is greedy.
      max_tokens: upper bound of the answer, hidden reasoning included, in tokens of the model.
      seed: of the sampling, for servers that take one.
      sample: tells repeated samples of one request apart; each gets a seed of its own.
      purpose: category in the ``UsageTracker``.
      version: of the instructions; raise it to ask again what is in the cache.
      enforce_schema: an answer that breaks the schema is asked again. False: the schema guides the server alone, and
        the caller reads the text, whatever it is; no part of the cache key.
      shared_prefix: other requests begin with the same long text, and a provider that keeps prompts should see it:
        nothing that differs may stand before the messages. No part of the cache key.

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
    enforce_schema: bool = True
    shared_prefix: bool = False

    def __post_init__(self):
        messages = tuple((role, content) for role, content in self.messages)
        if not messages:
            raise InputError("messages", self.messages, "ask something: at least one (role, content)")
        for role, content in messages:
            if role not in ROLES or not isinstance(content, str):
                raise InputError("messages", (role, content), f"each is (role, text) with a role of {', '.join(ROLES)}")
        # A text may hold half a surrogate pair, which no server and no file can be sent.
        object.__setattr__(self, "messages", tuple((role, clean_text(content)) for role, content in messages))
        if self.schema is not None:
            object.__setattr__(self, "schema", _compact_schema(self.schema))
        if self.max_tokens < 1:
            raise InputError("max_tokens", self.max_tokens, "at least 1")
        if self.temperature < 0:
            raise InputError("temperature", self.temperature, "0 (greedy) or more")
        if self.sample < 0:
            raise InputError("sample", self.sample, "0 or more")

    def key(self, identity: str) -> str:
        """SHA-256 (hex) of the identity of the model and of every field that affects the answer."""
        content = {
            "identity": identity,
            "version": self.version,
            "messages": self.messages,
            "schema": self.schema,
            "temperature": float(self.temperature),
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "sample": self.sample,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def draw(self, unusable: int, truncated: int = 0) -> "Request":
        """The request as it is sent after ``unusable`` unusable answers, ``truncated`` of them for want of room.

        An answer that was cut, or emptied by thinking, is asked for again at twice the limit. Samples and retries after
        an unusable answer get seeds of their own. Network failures do not count, so that the answer does not depend on
        them.
        """
        seed, temperature = self.seed, self.temperature
        if seed is not None and (self.sample or unusable):
            digest = hashlib.sha256(f"{self.seed}/{self.sample}/{unusable}".encode()).digest()
            seed = int.from_bytes(digest[:4], "big") >> 1
        if unusable:
            temperature = max(temperature, RETRY_TEMPERATURE)
        return replace(self, seed=seed, temperature=temperature, max_tokens=self.max_tokens * 2**truncated)


@dataclass(frozen=True)
class Reply:
    """One answer.

    Attributes:
      text: the model's output, unchanged, with its reasoning and code fences.
      data: the JSON value in ``text``, valid under the request's schema; None for free text.
      model: the name that the server gives its model.
      prompt_tokens, completion_tokens: of the call that gave the answer; 0 where the server does not report them.
      cached: it came from the cache.
      attempts: calls made for it; 0 when cached.
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

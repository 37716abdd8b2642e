"""``Request``, ``Reply``, and the key under which a reply is cached."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from polaris_jax.errors import InputError
from polaris_jax.llm.replies import clean_text

# Of each token of an answer: its text, and the likeliest tokens in its place with their log-probabilities.
TokenLogprobs = Sequence[tuple[str, Sequence[tuple[str, float]]]]
ROLES = ("system", "user", "assistant")
# Greedy decoding would repeat an unusable answer, so retries after one use at least this temperature.
RETRY_TEMPERATURE = 0.3


@dataclass(frozen=True)
class Request:
    """One request to a language model. Fields that affect the answer are part of the cache key.

    Attributes:
      messages: ``(role, content)`` pairs, roles from ``ROLES``.
      schema: JSON text of a JSON schema that the answer must satisfy, or None for free text. The order of its
        properties is kept, because constrained decoders write an answer's fields in that order.
      temperature: 0 is greedy.
      max_tokens: upper bound of the answer, including hidden reasoning, in the model's tokens.
      seed: seed of the sampling, for servers that accept one.
      sample: number of a repeated sample of one request; each sample gets its own seed.
      purpose: category in the ``UsageTracker``; not part of the cache key.
      version: version of the instructions; a new one ignores cached answers.
      enforce_schema: ask again if an answer breaks the schema. If False, the schema only guides the server, and the
        caller reads any text. Not part of the cache key.
      shared_prefix: whether other requests begin with the same long text. Then nothing that differs is put before the
        messages, so that a provider's prompt cache can work. Not part of the cache key.
      logprobs: how many alternatives of each token of the answer to ask for, with their log-probabilities; 0 asks for
        none. A provider that gives none leaves ``Reply.logprobs`` empty, or refuses (``bad_request``).

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
    logprobs: int = 0

    def __post_init__(self):
        messages = tuple((role, content) for role, content in self.messages)
        if not messages:
            raise InputError("messages", self.messages, "ask something: at least one (role, content)")
        for role, content in messages:
            if role not in ROLES or not isinstance(content, str):
                raise InputError("messages", (role, content), f"each is (role, text) with a role of {', '.join(ROLES)}")
        # A text may hold half a surrogate pair, which cannot be sent to a server or written to a file.
        object.__setattr__(self, "messages", tuple((role, clean_text(content)) for role, content in messages))
        if self.schema is not None:
            object.__setattr__(self, "schema", _compact_schema(self.schema))
        if self.max_tokens < 1:
            raise InputError("max_tokens", self.max_tokens, "at least 1")
        if self.temperature < 0:
            raise InputError("temperature", self.temperature, "0 (greedy) or more")
        if self.sample < 0:
            raise InputError("sample", self.sample, "0 or more")
        if not 0 <= self.logprobs <= 20:
            raise InputError("logprobs", self.logprobs, "0 (none) to 20 alternatives, the most that servers give")

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
        if self.logprobs:  # only then, so that the replies that are kept without them are still found
            content["logprobs"] = self.logprobs
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def draw(self, unusable: int, truncated: int = 0) -> "Request":
        """The request to send after ``unusable`` unusable answers, ``truncated`` of them cut at the limit.

        After an answer that was cut, or empty because of thinking, the limit is doubled. Samples and retries after an
        unusable answer get their own seeds. Network failures do not count, so that the answer does not depend on them.
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
      model: the server's name of the model.
      prompt_tokens, completion_tokens: of the call that gave the answer; 0 if the server does not report them.
      cached: whether it came from the cache.
      attempts: calls made for it; 0 when cached.
      finish: ``stop``, or ``length`` when free text was cut at ``max_tokens``.
      logprobs: of each token of ``text``: its text, and its alternatives with their natural log-probabilities; empty
        if the request asks for none or the server gives none.
    """

    text: str
    data: Any
    model: str
    prompt_tokens: int
    completion_tokens: int
    cached: bool
    attempts: int
    finish: str = "stop"
    logprobs: TokenLogprobs = ()


def _compact_schema(schema: str) -> str:
    try:
        content = json.loads(schema)
    except (TypeError, ValueError):
        raise InputError("schema", schema, "the text of a JSON schema, as json.dumps writes it") from None
    if not isinstance(content, dict):
        raise InputError("schema", schema, "a JSON object")
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))

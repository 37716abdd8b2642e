"""``ClientSpec``: everything a client is made of, by name, so that it can be pickled, logged and put in a config."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from polaris_jax.errors import InputError

PROVIDERS = ("openai", "gemini", "replay")
STRUCTURED = ("json_schema", "json_object", "prompt")
_KEY_VARIABLES = {"openai": "OPENAI_API_KEY", "gemini": "GEMINI_API_KEY"}


@dataclass(frozen=True)
class ClientSpec:
    """Which model, how to reach it, and how far to go.

    Attributes:
      provider: ``openai`` (any OpenAI-compatible server: hosted, vLLM, llama.cpp), ``gemini``, or ``replay`` (answers
        from the cache only).
      model: the name that the server knows; for ``replay`` the identity that was recorded, ``openai/<model>``.
      base_url: of the server; None is the provider's own.
      api_key_env: NAME of the environment variable with the key, read at every call. None is the provider's usual
        variable at its own address, and no key at any other.
      cache: folder or ``gs://bucket/prefix`` of the replies; None keeps nothing.
      concurrency: calls in flight at once, over all threads that share the client.
      timeout: seconds without a byte from the server.
      attempts: calls per request, at most.
      budget_tokens, budget_usd: what the client may use, prompt and completion together; ``BudgetSpent`` beyond.
      prices: USD per million prompt tokens and per million completion tokens.
      structured: how a schema is sent: ``json_schema`` (the server constrains decoding), ``json_object`` (the server
        promises JSON, the schema stands in the prompt) or ``prompt`` (the schema stands in the prompt).
      backoff: seconds; before retry ``n`` we wait a random time of up to ``backoff * 2**n``.

    Raises:
      InputError: a field is out of range, or carries a secret.
    """

    provider: str
    model: str
    base_url: str | None = None
    api_key_env: str | None = None
    cache: str | None = None
    concurrency: int = 8
    timeout: float = 120.0
    attempts: int = 6
    budget_tokens: int | None = None
    budget_usd: float | None = None
    prices: tuple[float, float] | None = None
    structured: str = "json_schema"
    backoff: float = 1.0

    def __post_init__(self):
        for name, allowed in (("provider", PROVIDERS), ("structured", STRUCTURED)):
            if getattr(self, name) not in allowed:
                raise InputError(name, getattr(self, name), f"one of {', '.join(allowed)}")
        if not self.model:
            raise InputError("model", self.model, "the name that the server knows its model by")
        for name in ("concurrency", "attempts"):
            if getattr(self, name) < 1:
                raise InputError(name, getattr(self, name), "at least 1")
        if self.timeout <= 0:
            raise InputError("timeout", self.timeout, "seconds, more than 0")
        if self.backoff < 0:
            raise InputError("backoff", self.backoff, "seconds, 0 or more")
        for name in ("budget_tokens", "budget_usd"):
            if getattr(self, name) is not None and getattr(self, name) < 0:
                raise InputError(name, getattr(self, name), "0 or more, or None for no limit")
        if self.budget_usd is not None and self.prices is None:
            raise InputError("budget_usd", self.budget_usd, "needs prices=(USD per million prompt tokens, completion)")
        # What may be a secret is not shown.
        if self.api_key_env is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.api_key_env):
            raise InputError("api_key_env", "...", "the NAME of an environment variable, never the key itself")
        if self.base_url is not None:
            address = urlsplit(self.base_url)
            if "@" in address.netloc or address.query:
                raise InputError("base_url", "...", "leave credentials out of it; name a variable in api_key_env")
            if address.scheme not in ("http", "https") or not address.hostname:
                raise InputError("base_url", self.base_url, "an http:// or https:// address")
        if self.provider == "replay" and not self.cache:
            raise InputError("cache", self.cache, "a replay client answers from a cache: give its folder")

    @property
    def identity(self) -> str:
        """``provider/model``; of a replay client that of the client whose replies it repeats.

        The address is no part of it, so a server may move. Different models under one name need different caches.
        """
        return self.model if self.provider == "replay" else f"{self.provider}/{self.model}"

    @property
    def key_variable(self) -> str | None:
        """Name of the environment variable that holds the key, or None when the server needs none."""
        if self.api_key_env or self.base_url:
            return self.api_key_env
        return _KEY_VARIABLES.get(self.provider)

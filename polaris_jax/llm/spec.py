"""``ClientSpec``: the description of a client as plain values, which can be pickled, logged and put in a config.

The fields of a client are declared only here; the command line's flags and a config's fields derive from them.
"""

import re
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urlsplit

from polaris_jax.errors import InputError
from polaris_jax.options import AT_LEAST_1, NOT_NEGATIVE, Bounds, check, option
from polaris_jax.prices import read_prices

PROVIDERS = ("openai", "gemini", "replay")
STRUCTURED = ("json_schema", "json_object", "prompt")
KINDS = ("offline", "llm")
EFFORTS = ("none", "minimal", "low", "medium", "high")
TIERS = ("standard", "flex", "priority")
# Gemini's names for its thresholds.
SAFETY = {
    "off": "OFF",
    "none": "BLOCK_NONE",
    "high": "BLOCK_ONLY_HIGH",
    "medium": "BLOCK_MEDIUM_AND_ABOVE",
    "low": "BLOCK_LOW_AND_ABOVE",
}
_KEY_VARIABLES = {"openai": "OPENAI_API_KEY", "gemini": "GEMINI_API_KEY"}


@dataclass(frozen=True)
class ClientOptions:
    """Which model to use, how to reach it, and its limits: the fields of ``ClientSpec``, configs and the command line.

    ``openai`` is any OpenAI-compatible server: hosted, vLLM, llama.cpp. ``replay`` answers only from the cache; its
    ``model`` is the recorded identity, ``openai/<model>``. Without ``api_key_env``, the key comes from the provider's
    usual variable at the provider's own address; other addresses get no key. A schema is sent as ``json_schema`` (the
    server constrains decoding), ``json_object`` (the server guarantees JSON, the schema is in the prompt) or ``prompt``
    (the schema is in the prompt). A client that would exceed its budget raises ``BudgetSpent``.
    """

    provider: str = option(choices=PROVIDERS, doc="openai (any compatible server), gemini or replay")
    model: str = option(doc="name of the model")
    base_url: str | None = option(None, blank="", doc="address of an OpenAI-compatible server")
    api_key_env: str | None = option(None, blank="", doc="NAME of the environment variable that holds the key")
    cache: str | None = option(
        None, blank="", execution=True, doc="folder or gs:// prefix of the model's replies; default: none are kept"
    )
    concurrency: int = option(8, bounds=AT_LEAST_1, execution=True, doc="calls to the model in flight")
    timeout: float = option(
        120.0,
        bounds=Bounds("seconds, more than 0", above=0),
        execution=True,
        doc="seconds without a byte from the server; reasoning models need more",
    )
    attempts: int = option(6, bounds=AT_LEAST_1, execution=True, doc="calls per question, at most")
    budget_tokens: int | None = option(
        None,
        blank=0,
        bounds=Bounds("0 or more, or None for no limit", least=0),
        execution=True,
        doc="stop before the model has used more tokens, prompt and completion together",
    )
    budget_usd: float | None = option(
        None,
        blank=0.0,
        bounds=Bounds("0 or more, or None for no limit", least=0),
        execution=True,
        doc="stop before the model has cost more; needs prices",
    )
    prices: tuple[float, ...] | None = option(
        None,
        blank=(),
        doc="USD per million prompt and completion tokens, and those from the provider's cache where these cost "
        "less: 0.15,0.60 or 0.15,0.60,0.015; default: the dated table",
    )
    structured: str = option(
        "json_schema", choices=STRUCTURED, doc="how a schema is sent: json_schema | json_object | prompt"
    )
    backoff: float = option(
        1.0,
        bounds=Bounds("seconds, 0 or more", least=0),
        execution=True,
        doc="seconds; before retry n a client waits a random time of up to this times 2^n",
    )
    top_p: float | None = option(
        None,
        blank=0.0,
        bounds=Bounds("above 0, at most 1", above=0, most=1),
        doc="total probability of the tokens that are kept; default: the server's own",
    )
    effort: str | None = option(
        None,
        blank="",
        choices=EFFORTS,
        doc="effort of reasoning: OpenAI's reasoning_effort, Gemini's thinking_level; default: the model's own",
    )
    tier: str | None = option(
        None,
        blank="",
        choices=TIERS,
        execution=True,
        doc="service tier: flex is cheaper and slower, priority dearer and faster; default: the provider's own",
    )
    safety: str | None = option(
        None,
        blank="",
        choices=tuple(SAFETY),
        doc="gemini: the risk from which its safety filters block: low, medium, high, none (they only rate) or off; "
        "default: the provider's own",
    )


@dataclass(frozen=True)
class ClientSpec(ClientOptions):
    """``ClientOptions`` that are complete and valid for a client.

    Raises:
      InputError: a field is out of range, or contains a secret.
    """

    def __post_init__(self) -> None:
        check(self)
        if not self.model:
            raise InputError("model", self.model, "the name that the server knows its model by")
        if self.budget_usd is not None and self.known_prices is None:
            raise InputError("budget_usd", self.budget_usd, "needs prices=(USD per million prompt tokens, completion)")
        if self.prices is not None and len(self.prices) not in (2, 3):
            raise InputError("prices", self.prices, "two or three prices such as 0.15,0.60")
        # The value may be a secret: it is not shown.
        if self.api_key_env is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.api_key_env):
            raise InputError("api_key_env", "...", "the NAME of an environment variable, never the key itself")
        if self.base_url is not None:
            address = urlsplit(self.base_url)
            if "@" in address.netloc or address.query:
                raise InputError("base_url", "...", "leave credentials out of it; name a variable in api_key_env")
            if address.scheme not in ("http", "https") or not address.hostname:
                raise InputError("base_url", self.base_url, "an http:// or https:// address")
        if self.safety is not None and self.provider == "openai":
            raise InputError("safety", self.safety, "only gemini has safety settings")
        if self.effort == "none" and self.provider == "gemini":
            raise InputError("effort", self.effort, "gemini's thinking has no such level; minimal is its least")
        if self.provider == "replay" and not self.cache:
            raise InputError("cache", self.cache, "a replay client answers from a cache: give its folder")

    @property
    def identity(self) -> str:
        """``provider/model``; for a replay client, the identity of the recorded client.

        The address is not part of it, so a server may move. Different models with the same name need different caches.
        """
        return self.model if self.provider == "replay" else f"{self.provider}/{self.model}"

    @property
    def known_prices(self) -> tuple[float, ...] | None:
        """``prices``, else those of the dated table for the provider's own address; None if unknown."""
        if self.prices is not None or self.base_url is not None or self.provider == "replay":
            return self.prices
        listed = read_prices().models.get(self.model)
        return None if listed is None else (listed.input, listed.output, listed.cached)

    @property
    def key_identity(self) -> str:
        """``identity`` with the options that affect an answer, if set; part of cache keys."""
        dials = ("top_p", "effort", "safety")
        return self.identity + "".join(
            f" {name}={value}" for name in dials if (value := getattr(self, name)) is not None
        )

    @property
    def key_variable(self) -> str | None:
        """Name of the environment variable that holds the key, or None when the server needs none."""
        if self.api_key_env or self.base_url:
            return self.api_key_env
        return _KEY_VARIABLES.get(self.provider)


@dataclass(frozen=True)
class ModelOrOfflineSpec:
    """Who does a task: a language model or the offline implementation. Base class of annotator and judge specs.

    ``client`` describes the model's client; it is required for ``llm`` and None for ``offline``.

    Raises:
      InputError: a field is out of range; its name follows ``_where``.
    """

    kind: str = option("offline", choices=KINDS, doc="offline (no model) or llm")
    client: ClientSpec | None = None
    samples: int = option(1, bounds=AT_LEAST_1, doc="independent samples per question")
    temperature: float = option(0.0, bounds=NOT_NEGATIVE, doc="temperature of the samples")

    _where: ClassVar[str] = ""

    def __post_init__(self) -> None:
        check(self, self._where)
        if (self.client is None) == (self.kind == "llm"):
            name = f"{self._where}.client" if self._where else "client"
            raise InputError(name, self.client, "a model's client for kind=llm, and only for that")

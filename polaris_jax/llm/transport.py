"""``Transport``, the interface of a provider, and helpers for all providers: keys, optional libraries, wait times."""

import importlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from polaris_jax.errors import InputError
from polaris_jax.llm.request import Request, TokenLogprobs

NO_KEY = "none"  # sent to servers that need no key


@dataclass(frozen=True)
class RawReply:
    """The answer to one call.

    Attributes:
      text: the answer's text, possibly empty.
      prompt_tokens, completion_tokens: as the server counts them; None if it does not report them.
      finish: ``stop``, ``length`` (cut at ``max_tokens``) or ``refused``.
      cached_tokens: how many of the prompt tokens came from the provider's own cache.
      logprobs: see ``Reply.logprobs``.
    """

    text: str
    model: str
    prompt_tokens: int | None
    completion_tokens: int | None
    finish: str
    cached_tokens: int = 0
    logprobs: TokenLogprobs = ()


class Transport(Protocol):
    """One call to one provider, without retries. Thread-safe."""

    def ready(self) -> None:
        """Checks that a call can be made.

        Raises:
          InputError: the environment lacks the key.
        """

    def send(self, request: Request) -> RawReply:
        """Makes one call.

        Raises:
          AttemptFailed: there is no usable answer. No exception that may hold the key is chained to it.
        """

    def close(self) -> None:
        """Closes connections."""


def read_key(variable: str | None) -> str:
    """Reads the current key from the environment variable ``variable``.

    Raises:
      InputError: the variable is not set.
    """
    if variable is None:
        return NO_KEY
    key = os.environ.get(variable, "").strip()
    if not key:
        raise InputError("api_key_env", variable, "is not set in the environment; export it and run again")
    return key


def redacted(text: str, variable: str | None) -> str:
    """``text`` without the key, which some servers repeat in their errors."""
    key = os.environ.get(variable, "").strip() if variable else ""
    return text.replace(key, "***") if key else text


def counted(tokens: Any) -> int | None:
    """A token count as the server reports it; None if it reports none."""
    whole = isinstance(tokens, (int, float)) and not isinstance(tokens, bool) and 0 <= tokens < 1e12
    return int(tokens) if whole else None


def extra(module: str) -> Any:
    """Imports a library that only the ``llm`` extra installs.

    Raises:
      InputError: the library is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError("library", module, "not installed; run: pip install polaris-jax[llm]") from None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from the header ``Retry-After`` (RFC 9110 §10.2.3) or ``retry-after-ms``; None if absent."""
    milliseconds, seconds = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        if milliseconds is not None:
            return max(float(milliseconds) / 1000, 0.0)
        if seconds is None:
            return None
        return max(float(seconds), 0.0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(seconds or "").timestamp() - time.time(), 0.0)
    except ValueError:
        return None

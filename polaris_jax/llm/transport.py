"""What a provider has to offer: ``Transport``; and what all of them need: keys, optional libraries, waiting times."""

import importlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from polaris_jax.errors import InputError
from polaris_jax.llm.request import Request

NO_KEY = "none"  # what servers without keys are sent


@dataclass(frozen=True)
class RawReply:
    """What one call brought.

    Attributes:
      text: of the answer, possibly empty.
      prompt_tokens, completion_tokens: as the server counts them; None where it does not say.
      finish: ``stop``, ``length`` (cut at ``max_tokens``) or ``refused``.
    """

    text: str
    model: str
    prompt_tokens: int | None
    completion_tokens: int | None
    finish: str


class Transport(Protocol):
    """One call to one provider, without retries. Thread-safe."""

    def ready(self) -> None:
        """Does nothing if a call can be made.

        Raises:
          InputError: the environment lacks the key.
        """

    def send(self, request: Request) -> RawReply:
        """Asks once.

        Raises:
          AttemptFailed: for whatever reason there is no answer. No exception that has seen the key is chained to it.
        """

    def close(self) -> None:
        """Closes connections."""


def read_key(variable: str | None) -> str:
    """The key in the environment variable ``variable``, as it is now.

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


def extra(module: str) -> Any:
    """Imports a library that only the ``llm`` extra installs.

    Raises:
      InputError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError("library", module, "not installed; run: pip install polaris-jax[llm]") from None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by the headers ``Retry-After`` (RFC 9110 §10.2.3) or ``retry-after-ms``; None if absent."""
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

"""How the released trainer reads a response, a prompt and a judge's reply (POLARIS §3.2, §3.3)."""

import html
import json
import re

from polaris_jax.rewards.length import LengthSpec
from polaris_jax.rewards.reply import strip_fence
from polaris_jax.rewards.thinking import Response
from polaris_jax.rewards.thinking import split_thinking as _split_thinking

OPEN, CLOSE = "<think>", "</think>"
_WORD = re.compile(r"\w+")
_REQUEST = re.compile(r"(\d+)\s+words\s+long", re.IGNORECASE)


def split_thinking(text: str) -> Response:
    """Splits a response in thinking and story. A thinking block that is never closed counts as the story."""
    return _split_thinking(text) if CLOSE in text else Response(None, text)


def human_response(story: str, reasoning: str) -> str:
    """A human reference, always with the opening tag, and with one newline after the closing tag (models write two)."""
    return f"{OPEN}\n{reasoning}\n{CLOSE}\n{story}"


def count_words(text: str) -> int:
    """Runs of ``\\w``, HTML entities resolved."""
    return len(_WORD.findall(html.unescape(text)))


def requested_words(prompt: str) -> int | None:
    """The number in the first ``N words long``; for ``2,500 words long`` it is 500."""
    found = _REQUEST.search(prompt)
    return int(found[1]) if found and len(found[1]) <= 9 else None


def length_target(prompt: str, spec: LengthSpec, given: int | None = None, human_reference_words: int = 0) -> int:
    """The target: from the prompt, else the row, else ``spec.target``, else the fewest words that are not blank."""
    requested = requested_words(prompt)
    requested = max(spec.min_words, requested) if requested else None
    fewest = max(spec.min_words, human_reference_words)
    return next((n for n in (requested, given, spec.target) if n and n > 0), fewest)


def first_object(text: str) -> str | None:
    """The text from the first ``{`` to the last ``}``; None if there is none."""
    start, end = text.find("{"), text.rfind("}")
    return text[start : end + 1] if 0 <= start < end else None


def read_object(text: str) -> dict:
    """The JSON object in a reply; if the reply nests it, the value of ``global_evaluation``.

    Raises:
      ValueError: there is none; the message is one line.
    """
    stripped = strip_fence(text)
    try:
        value = json.loads(stripped)
    except (ValueError, RecursionError):
        inner = first_object(stripped)
        if inner is None:
            raise ValueError("no JSON object in the reply") from None
        try:
            value = json.loads(inner)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"a JSON {type(value).__name__}, not an object")
    nested = value.get("global_evaluation")
    return nested if isinstance(nested, dict) else value

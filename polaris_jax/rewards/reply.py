"""JSON in a judge's reply: alone, in a code fence, or with words around it (POLARIS §3.3.3)."""

import json
import re

_FENCE_OPENS = re.compile(r"\A\s*```(?:json)?[ \t]*\n?", re.IGNORECASE)
_FENCE_CLOSES = re.compile(r"\n?[ \t]*```\s*\Z")


def strip_fence(text: str) -> str:
    """``text`` without one code fence at its start and one at its end."""
    return _FENCE_CLOSES.sub("", _FENCE_OPENS.sub("", text)).strip()


def first_object(text: str) -> str | None:
    """From the first ``{`` to the last ``}``; None if there is no such stretch."""
    start, end = text.find("{"), text.rfind("}")
    return text[start : end + 1] if 0 <= start < end else None


def read_object(text: str) -> dict:
    """The JSON object that a reply holds; of a reply that nests it, what stands under ``global_evaluation``.

    Raises:
      ValueError: there is none; one line.
    """
    stripped = strip_fence(text)
    try:
        value = json.loads(stripped)
    except ValueError:
        inner = first_object(stripped)
        if inner is None:
            raise ValueError("no JSON object in the reply") from None
        try:
            value = json.loads(inner)
        except ValueError as error:
            raise ValueError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"a JSON {type(value).__name__}, not an object")
    nested = value.get("global_evaluation")
    return nested if isinstance(nested, dict) else value

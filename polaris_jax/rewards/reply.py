"""A judge's reply without its code fence."""

import re

_FENCE_OPENS = re.compile(r"\A\s*```(?:json)?[ \t]*\n?", re.IGNORECASE)
_FENCE_CLOSES = re.compile(r"\n?[ \t]*```\s*\Z")


def strip_fence(text: str) -> str:
    """``text`` without one code fence at its start and one at its end."""
    return _FENCE_CLOSES.sub("", _FENCE_OPENS.sub("", text)).strip()

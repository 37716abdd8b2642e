"""Splits the reasoning before a story from the story, in characters and in tokens (POLARIS §3.2)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_CLOSED = re.compile(r"\A\s*(?:<think>)?(.*?)</think>\s*(.*)\Z", re.DOTALL)
_OPEN = re.compile(r"\A\s*<think>(.*)\Z", re.DOTALL)
_CLOSE_TAG = re.compile(r"</think>", re.IGNORECASE)


@dataclass(frozen=True)
class Response:
    """The two parts of a response; ``thoughts`` is None when there are none, and ``story`` may be empty."""

    thoughts: str | None
    story: str


@dataclass(frozen=True)
class TokenCounts:
    """Token counts of a response: all, those up to the end of ``</think>``, and whether it ended by itself (EOS)."""

    total: int
    thoughts: int = 0
    ended: bool = True


def split_thinking(text: str, opened: bool = False) -> Response:
    """Splits a response at its first ``</think>``. The opening tag may be missing: some chat templates write it.

    Args:
      opened: whether the prompt ended inside the thinking block; then a response that never closes it has no story.
    """
    closed = _CLOSED.match(text)
    if closed:
        return Response(closed[1].strip() or None, closed[2])
    unclosed = _OPEN.match(text)
    if not (opened or unclosed):
        return Response(None, text)
    return Response((unclosed[1] if unclosed else text).strip() or None, "")


def count_thought_tokens(text: str, offsets: Sequence[tuple[int, int]], length: int | None = None) -> int:
    """Tokens of the thinking part: those whose middle lies before the end of the first ``</think>``; 0 without one.

    Args:
      offsets: (start, end) of every token in ``text``, in characters.
      length: count at most this many tokens; None counts all.
    """
    tag = _CLOSE_TAG.search(text)
    if tag is None:
        return 0
    found = sum((start + end) / 2 < tag.end() for start, end in offsets)
    return found if length is None else min(found, length)

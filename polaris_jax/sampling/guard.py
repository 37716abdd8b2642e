"""Detects loops in prose while it is generated, and finds where it may be cut.

Long generated prose is known to fall into repetition. A loop is declared when the newest ``span`` tokens have
occurred ``times`` times among the last ``window`` tokens (trajectory specification G6); the text is then cut back to
the last paragraph or sentence that ended before the repetition did, and continued from there at a higher temperature.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polaris_jax.sampling.forbidden import ForbiddenPhrases
from polaris_jax.trajectory.sentences import last_sentence_end

PHRASE_TOKENS = 96  # last tokens that are searched for a forbidden phrase
_PARAGRAPH_END = re.compile(r"\n\n+")


@dataclass(frozen=True)
class LoopGuard:
    """When repetition counts as a loop: ``times`` occurrences of the same ``span`` tokens in ``window`` tokens."""

    window: int = 400
    span: int = 12
    times: int = 3

    def repeats_from(self, tokens: Sequence[int]) -> int | None:
        """Index where the newest span was first *repeated* (its second occurrence), or None when there is no loop.

        Only the newest span is looked for, so calling this after every token finds every loop as it closes.
        """
        if len(tokens) < self.span + self.times - 1:
            return None
        start = max(0, len(tokens) - self.window)
        recent = np.asarray(tokens[start:], np.int64)
        spans = np.lib.stride_tricks.sliding_window_view(recent, self.span)
        found = np.flatnonzero((spans == recent[-self.span :]).all(axis=1))
        return start + int(found[1]) if len(found) >= self.times else None

    def first_loop(self, tokens: Sequence[int]) -> int | None:
        """``repeats_from`` of the shortest prefix of ``tokens`` that has a loop; None when there is none.

        A dictionary of the spans in the window replaces a search per token.
        """
        places: dict[tuple[int, ...], list[int]] = {}
        for end in range(self.span, len(tokens) + 1):
            at = end - self.span
            span = tuple(tokens[at:end])
            places[span] = [place for place in places.get(span, ()) if place >= end - self.window] + [at]
            if len(places[span]) >= self.times:
                return places[span][1]
        return None


@dataclass(frozen=True)
class ProseGuard:
    """Watches for loops and for forbidden phrases at once.

    Attributes:
      loops: finds loops; phrases: finds forbidden phrases; pieces: bytes of the vocabulary's tokens.
    """

    loops: LoopGuard
    phrases: ForbiddenPhrases
    pieces: Sequence[bytes]

    def repeats_from(self, tokens: Sequence[int]) -> int | None:
        """Index of the first token to remove: the start of a repetition or of a complete phrase; None if neither."""
        start = max(0, len(tokens) - PHRASE_TOKENS)
        recent = [self.pieces[token] for token in tokens[start:]]
        found = self.phrases.first(b"".join(recent).decode("utf-8", errors="ignore"))
        return self.loops.repeats_from(tokens) if found is None else start + tokens_within(recent, found[0])


def last_clean_end(text: str) -> int:
    """Length of the longest prefix of ``text`` that ends a paragraph, else a sentence; 0 when nothing has ended."""
    paragraphs = [m.end() for m in _PARAGRAPH_END.finditer(text) if text[: m.start()].strip()]
    if paragraphs:
        return paragraphs[-1]
    return last_sentence_end(text)


def tokens_within(pieces: Sequence[bytes], text_length: int) -> int:
    """How many leading tokens, with bytes ``pieces``, lie within the first ``text_length`` characters of their text."""
    limit = len(b"".join(pieces).decode("utf-8", errors="ignore")[:text_length].encode("utf-8"))
    used = 0
    for count, piece in enumerate(pieces):
        used += len(piece)
        if used > limit:
            return count
    return len(pieces)

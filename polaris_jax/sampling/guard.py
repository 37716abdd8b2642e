"""Watching prose while it is written: where it begins to loop, and where it may be cut.

Long free-running prose is known to fall into repetition. A loop is declared when the newest ``span`` tokens have
occurred ``times`` times among the last ``window`` tokens (trajectory specification G6); the text is then cut back to
the last paragraph or sentence that ended before the repetition did, and written on from there with more noise.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# A sentence ends with a terminator, closing quotes or brackets, then white space or the end of what there is.
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s|$)")
_PARAGRAPH_END = re.compile(r"\n\n+")


@dataclass(frozen=True)
class LoopGuard:
    """When repetition counts as a loop: ``times`` occurrences of a ``span``-token stretch in ``window`` tokens."""

    window: int = 400
    span: int = 12
    times: int = 3

    def repeats_from(self, tokens: Sequence[int]) -> int | None:
        """Index where the newest span was first *repeated* (its second occurrence), or None while all is well.

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

        A dictionary of the spans in the window takes the place of a search per token.
        """
        places: dict[tuple[int, ...], list[int]] = {}
        for end in range(self.span, len(tokens) + 1):
            at = end - self.span
            span = tuple(tokens[at:end])
            places[span] = [place for place in places.get(span, ()) if place >= end - self.window] + [at]
            if len(places[span]) >= self.times:
                return places[span][1]
        return None


def last_clean_end(text: str) -> int:
    """Length of the longest prefix of ``text`` that ends a paragraph, else a sentence; 0 when nothing has ended."""
    paragraphs = [m.end() for m in _PARAGRAPH_END.finditer(text) if text[: m.start()].strip()]
    if paragraphs:
        return paragraphs[-1]
    return last_sentence_end(text)


def last_sentence_end(text: str) -> int:
    """Length of the longest prefix of ``text`` that ends with a finished sentence; 0 when there is none."""
    ends = [m.end() for m in _SENTENCE_END.finditer(text)]
    return ends[-1] if ends else 0


def tokens_within(pieces: Sequence[bytes], text_length: int) -> int:
    """How many leading tokens, with bytes ``pieces``, fit in the first ``text_length`` characters they spell."""
    limit = len(b"".join(pieces).decode("utf-8", errors="ignore")[:text_length].encode("utf-8"))
    used = 0
    for count, piece in enumerate(pieces):
        used += len(piece)
        if used > limit:
            return count
    return len(pieces)

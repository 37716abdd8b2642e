"""Emits text deltas and retractions, so that a listener's copy of a step's text stays equal to the step's."""

import codecs
from collections.abc import Callable

TextCallback = Callable[[str, int, int], None]
"""``(text, taken_back, attempt)``: the last ``taken_back`` characters no longer count, then ``text`` follows."""


class TextStreamDiff:
    """The text of one step as deltas, over all its attempts.

    Args:
      callback: gets the deltas.
    """

    def __init__(self, callback: TextCallback):
        self._callback = callback
        self._emitted = ""
        self._skip = 0
        self._given = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")

    def begin(self, given: str, known: int, attempt: int) -> None:
        """Starts an attempt whose text begins with ``given``, of which the listener knows ``known`` characters."""
        self._given, self._skip = len(given) - known, known
        self._decoder.reset()
        self._replace("", attempt)

    def push(self, piece: bytes, attempt: int) -> None:
        """Adds bytes; a character is emitted when it is complete."""
        text = self._decoder.decode(piece)
        new, self._skip = text[self._skip :], max(self._skip - len(text), 0)
        if new:
            self._emitted += new
            self._callback(new, 0, attempt)

    def truncate(self, length: int, attempt: int) -> None:
        """Retracts all but the first ``length`` characters emitted."""
        self._decoder.reset()
        self._replace(self._emitted[:length], attempt)

    def finish(self, sampled: str, attempt: int) -> None:
        """Sets the step's final text: the given text, then ``sampled``."""
        self._replace(self._emitted[: self._given] + sampled, attempt)

    def _replace(self, text: str, attempt: int) -> None:
        pairs = enumerate(zip(self._emitted, text, strict=False))
        kept = next((at for at, (old, new) in pairs if old != new), min(len(self._emitted), len(text)))
        taken_back, new = len(self._emitted) - kept, text[kept:]
        self._emitted = text
        if taken_back or new:
            self._callback(new, taken_back, attempt)

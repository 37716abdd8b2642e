"""What a listener has heard of a step, kept equal to what the step says: new text is told, lost text is taken back."""

import codecs
from collections.abc import Callable

Hears = Callable[[str, int, int], None]
"""``(text, taken_back, attempt)``: the last ``taken_back`` characters told no longer count, then ``text`` follows."""


class Teller:
    """Tells the text of one step, over all its attempts.

    Args:
      hears: the listener.
    """

    def __init__(self, hears: Hears):
        self._hears = hears
        self._told = ""
        self._skip = 0
        self._given = 0
        self._bytes = codecs.getincrementaldecoder("utf-8")("ignore")

    def begin(self, given: str, old: int, attempt: int) -> None:
        """A new attempt, whose text begins with ``given``, of which the first ``old`` characters were heard before."""
        self._given, self._skip = len(given) - old, old
        self._bytes.reset()
        self._become("", attempt)

    def more(self, piece: bytes, attempt: int) -> None:
        """Bytes that follow; a character is told when it is whole."""
        text = self._bytes.decode(piece)
        new, self._skip = text[self._skip :], max(self._skip - len(text), 0)
        if new:
            self._told += new
            self._hears(new, 0, attempt)

    def cut(self, length: int, attempt: int) -> None:
        """Only the first ``length`` characters of what was told still count."""
        self._bytes.reset()
        self._become(self._told[:length], attempt)

    def settle(self, sampled: str, attempt: int) -> None:
        """The step is finished and says ``sampled`` after what was given."""
        self._become(self._told[: self._given] + sampled, attempt)

    def _become(self, text: str, attempt: int) -> None:
        pairs = enumerate(zip(self._told, text, strict=False))
        kept = next((at for at, (old, new) in pairs if old != new), min(len(self._told), len(text)))
        taken_back, new = len(self._told) - kept, text[kept:]
        self._told = text
        if taken_back or new:
            self._hears(new, taken_back, attempt)

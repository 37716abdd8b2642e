"""Turns the bytes of tokens into final text: whole characters, and nothing that may still become a stop string."""

import codecs
from collections.abc import Sequence


class IncrementalDetokenizer:
    """Turns the bytes of tokens into text that can be shown.

    Args:
      stop: strings that end the text; the earliest match wins, whatever tokens it falls across.

    Attributes:
      stopped: whether a stop string was found.
    """

    def __init__(self, stop: Sequence[str] = ()):
        self._stop = tuple(stop)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""
        self.stopped = False

    def push(self, piece: bytes) -> str:
        """The text that becomes final with ``piece``. It never contains a stop string, and is empty after one."""
        self._held += self._decoder.decode(piece)
        ends = [at for string in self._stop if (at := self._held.find(string)) >= 0]
        if ends:
            self.stopped = True
            return self._release(min(ends))
        return self._release(len(self._held) - self._partial_stop())

    def flush(self) -> str:
        """The text that was held back; for a text that ends without a stop string."""
        if self.stopped:
            return ""
        self._held += self._decoder.decode(b"", final=True)
        return self._release(len(self._held))

    def _partial_stop(self) -> int:
        """Length of the longest ending that is the beginning of a stop string."""
        longest = max(map(len, self._stop), default=0)
        for size in range(min(longest - 1, len(self._held)), 0, -1):
            if any(string.startswith(self._held[-size:]) for string in self._stop):
                return size
        return 0

    def _release(self, count: int) -> str:
        text, self._held = self._held[:count], self._held[count:]
        return text

"""What a decode cache has read of tokens that are only guessed."""

from collections.abc import Sequence

import jax
import numpy as np

from polaris_jax.sampling.prompt_lookup import PromptLookup


class ReadAhead:
    """The guesses behind the rows of a cache, as far as the last pass has read them.

    Args:
      rows: of the cache.
      width: tokens that a pass reads per row, the certain ones and the guesses after them.

    Attributes:
      lookup: makes the guesses; it follows the rows' texts.
      logits: ``[B, width, V] float32`` after every token of the last pass; None before the first.
      guessed: tokens guessed and read so far; right: how many of them were then generated.
    """

    def __init__(self, rows: int, width: int):
        self.width = width
        self.lookup = PromptLookup(rows)
        self.logits: jax.Array | None = None
        self.guessed = self.right = 0
        self._guesses: list[list[int]] = [[] for _ in range(rows)]
        self._read = [0] * rows  # tokens of the last pass that the row has by now

    def forget(self) -> None:
        """The cache has changed otherwise: no guess counts any more."""
        self._guesses = [[] for _ in self._guesses]

    def guess(self, rows: Sequence[Sequence[int]], room: Sequence[int]) -> list[list[int]]:
        """What follows ``rows``, the new tokens of each row, in the same pass; at most ``room`` tokens of each."""
        self.forget()
        for b, new in enumerate(rows):
            if new:
                most = min(self.width, room[b]) - len(new)
                self._guesses[b] = self.lookup.guess(b, new, most)
                self._read[b] = len(new)
                self.guessed += len(self._guesses[b])
        return self._guesses

    def holds(self, row: int, tokens: Sequence[int]) -> bool:
        """Whether ``tokens``, at least one, are the guesses that come next in ``row``."""
        return bool(tokens) and self._guesses[row][: len(tokens)] == list(tokens)

    def take(self, rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of ``rows``, which are guesses that it ``holds``, come true.

        Returns:
          ``(how many per row, tokens of the last pass that the row has now)``, ``[B] int32`` each.
        """
        for b, new in enumerate(rows):
            self._guesses[b] = self._guesses[b][len(new) :] if new else self._guesses[b]
            self._read[b] += len(new)
            self.right += len(new)
        return np.asarray([len(new) for new in rows], np.int32), np.asarray(self._read, np.int32)

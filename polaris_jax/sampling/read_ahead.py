"""The guessed tokens that a decode cache has read ahead."""

from collections.abc import Sequence

import jax
import numpy as np

from polaris_jax.sampling.prompt_lookup import PromptLookup


class ReadAhead:
    """The guesses that the last pass has read after the rows of a cache.

    Args:
      rows: number of rows of the cache.
      width: tokens that a pass reads per row: certain ones, then guesses.

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
        """Drops all guesses, because the cache has changed."""
        self._guesses = [[] for _ in self._guesses]

    def guess(self, rows: Sequence[Sequence[int]], room: Sequence[int]) -> list[list[int]]:
        """Guesses what follows ``rows``, the new tokens of each row; both together are at most ``room`` tokens."""
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
        """Accepts the tokens of ``rows``, which are guesses that it ``holds``.

        Returns:
          ``(how many per row, tokens of the last pass that the row has now)``, ``[B] int32`` each.
        """
        for b, new in enumerate(rows):
            self._guesses[b] = self._guesses[b][len(new) :] if new else self._guesses[b]
            self._read[b] += len(new)
            self.right += len(new)
        return np.asarray([len(new) for new in rows], np.int32), np.asarray(self._read, np.int32)

"""Guesses the next tokens of a text by looking for its end earlier in the text.

A book's plans are copied into its later stages, so what comes next often stands in the text already. The longest ending
that has occurred before is found, and the tokens that followed it there are the guess (prompt lookup: A. Saxena,
"Prompt Lookup Decoding", 2023, github.com/apoorvumang/prompt-lookup-decoding).
"""

from collections.abc import Sequence

import numpy as np

LONGEST_MATCH = 32  # tokens; longer matches are not compared, and the latest one is taken
FIRST_ROOM = 1024


class PromptLookup:
    """The texts of ``rows`` rows as arrays, and guesses of how each continues."""

    def __init__(self, rows: int):
        self._ids = [np.zeros(FIRST_ROOM, np.int32) for _ in range(rows)]
        self._lengths = [0] * rows

    def extend(self, row: int, tokens: Sequence[int] | np.ndarray) -> None:
        """Adds tokens to the end of a row."""
        length = self._lengths[row] + len(tokens)
        if length > len(self._ids[row]):
            longer = np.zeros(max(2 * len(self._ids[row]), length), np.int32)
            longer[: self._lengths[row]] = self._ids[row][: self._lengths[row]]
            self._ids[row] = longer
        self._ids[row][self._lengths[row] : length] = tokens
        self._lengths[row] = length

    def copy(self, source: int, target: int, length: int) -> None:
        """Replaces row ``target`` by the first ``length`` tokens of row ``source``."""
        if source != target:
            self._lengths[target] = 0
            self.extend(target, self._ids[source][:length])
        self._lengths[target] = length

    def guess(self, row: int, unread: Sequence[int], most: int) -> list[int]:
        """Guesses what follows the row and then ``unread``: at most ``most`` tokens, none if their end is new."""
        self.extend(row, unread)
        text = self._ids[row][: self._lengths[row]]
        self._lengths[row] -= len(unread)
        return following(text, most).tolist()


def following(text: np.ndarray, most: int) -> np.ndarray:
    """The tokens, at most ``most``, after the latest of the longest earlier occurrences of the end of ``text [n]``."""
    last = len(text) - 1
    if last < 1 or most < 1:
        return text[:0]
    ends = np.flatnonzero(text[:last] == text[last])  # where an occurrence ends
    if not len(ends):
        return text[:0]
    for length in range(2, LONGEST_MATCH + 1):
        longer = ends[ends >= length - 1]
        longer = longer[text[longer - length + 1] == text[last - length + 1]]
        if not len(longer):
            break
        ends = longer
    after = int(ends[-1]) + 1
    return text[after : after + most]

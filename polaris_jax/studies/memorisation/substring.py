"""Longest common substring of two token sequences in linear time, by the suffix automaton of one of them.

The automaton (Blumer et al. 1985) has one state per set of end positions; feeding it the other sequence keeps the
longest suffix read so far that occurs in the first. ``difflib`` answers the same question in quadratic time.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple


class Match(NamedTuple):
    """``a[start_a : start_a + length] == b[start_b : start_b + length]``."""

    length: int
    start_a: int
    start_b: int


def longest_common_substring(a: Sequence[Hashable], b: Sequence[Hashable]) -> Match:
    """The longest run of equal items; of several, the one that starts first in ``a``, then first in ``b``.

    Time O(len(a) + len(b)). Without any common item the answer is ``(0, 0, 0)``.
    """
    automaton = SuffixAutomaton(b)
    best = Match(0, 0, 0)
    state = length = 0
    for end, item in enumerate(a, 1):
        while state and item not in automaton.next[state]:
            state = automaton.link[state]
            length = automaton.length[state]
        if item in automaton.next[state]:
            state, length = automaton.next[state][item], length + 1
        if length > best.length:
            best = Match(length, end - length, automaton.first_end[state] - length)
    return best


class SuffixAutomaton:
    """Every substring of ``items`` as a path from state 0.

    Attributes:
      next: per state, item → state.
      link: per state, the state of its longest suffix that ends in more places; -1 for state 0.
      length: per state, its longest substring.
      first_end: per state, where its substrings end first (exclusive index).
    """

    def __init__(self, items: Sequence[Hashable]):
        self.next: list[dict] = [{}]
        self.link, self.length, self.first_end = [-1], [0], [0]
        last = 0
        for item in items:
            last = self._extend(last, item)

    def _extend(self, last: int, item: Hashable) -> int:
        new = self._state({}, -1, self.length[last] + 1, self.length[last] + 1)
        at = last
        while at >= 0 and item not in self.next[at]:
            self.next[at][item] = new
            at = self.link[at]
        if at < 0:
            self.link[new] = 0
            return new
        found = self.next[at][item]
        if self.length[found] == self.length[at] + 1:
            self.link[new] = found
            return new
        clone = self._state(dict(self.next[found]), self.link[found], self.length[at] + 1, self.first_end[found])
        while at >= 0 and self.next[at].get(item) == found:
            self.next[at][item] = clone
            at = self.link[at]
        self.link[found] = self.link[new] = clone
        return new

    def _state(self, transitions: dict, link: int, length: int, first_end: int) -> int:
        self.next.append(transitions)
        self.link.append(link)
        self.length.append(length)
        self.first_end.append(first_end)
        return len(self.length) - 1

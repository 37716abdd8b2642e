"""Sets of characters, written once and printed for every regular-expression dialect in use.

A ``CharSet`` is a sorted tuple of code point ranges. So union, difference and complement are exact, and Python's ``re``
and Rust's ``regex`` (inside llguidance) get the same explicit class instead of their own ``\\s`` or ``\\w``.
"""

import random
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

LAST = 0x10FFFF
SURROGATES = (0xD800, 0xDFFF)
# Sampled strings should look like text: printable ASCII is drawn most of the time when the set allows it.
ASCII_SHARE = 0.9


@dataclass(frozen=True)
class CharSet:
    """Code point ranges, inclusive, sorted and disjoint."""

    ranges: tuple[tuple[int, int], ...]

    @staticmethod
    def of(*parts: "str | tuple[str, str]") -> "CharSet":
        """The characters of every string and of every inclusive ``(first, last)`` range."""
        ranges = []
        for part in parts:
            if isinstance(part, str):
                ranges += [(ord(char), ord(char)) for char in part]
            else:
                ranges.append((ord(part[0]), ord(part[1])))
        return CharSet(_merged(ranges))

    def __or__(self, other: "CharSet") -> "CharSet":
        return CharSet(_merged(self.ranges + other.ranges))

    def __invert__(self) -> "CharSet":
        gaps, start = [], 0
        for low, high in self.ranges:
            if low > start:
                gaps.append((start, low - 1))
            start = high + 1
        if start <= LAST:
            gaps.append((start, LAST))
        return CharSet(tuple(gaps))

    def __sub__(self, other: "CharSet") -> "CharSet":
        return ~(~self | other)

    def __contains__(self, char: str) -> bool:
        code = ord(char)
        at = bisect_right(self._starts, code) - 1
        return at >= 0 and code <= self.ranges[at][1]

    @cached_property
    def _starts(self) -> list[int]:
        return [low for low, _ in self.ranges]

    @cached_property
    def pattern(self) -> str:
        """The bracket expression, understood alike by Python ``re`` and Rust ``regex``."""
        negated = len(self.ranges) > 1 and self.ranges[-1][1] == LAST
        body = "".join(_range_pattern(low, high) for low, high in (~self if negated else self).ranges)
        return f"[^{body}]" if negated else f"[{body}]"

    def pick(self, rng: random.Random) -> str:
        """A random member, mostly printable ASCII if the set has any."""
        if self._ascii and rng.random() < ASCII_SHARE:
            return rng.choice(self._ascii)
        while True:
            low, high = rng.choice(self.ranges)
            code = rng.randint(low, min(high, max(low, 0xFFFF)))
            if not SURROGATES[0] <= code <= SURROGATES[1]:
                return chr(code)

    @cached_property
    def _ascii(self) -> str:
        return "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) in self)


def _merged(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def _range_pattern(low: int, high: int) -> str:
    if low == high:
        return escape(chr(low))
    return f"{escape(chr(low))}-{escape(chr(high))}"


def escape(char: str) -> str:
    """One character as a regular-expression atom that needs no quoting in a ``/.../`` literal either."""
    code = ord(char)
    if char == "\n":
        return "\\n"
    if char.isascii() and (char.isalnum() or char in " _,;:!%\"'=<>@"):
        return char
    if 0x21 <= code <= 0x7E:
        return f"\\x{code:02x}"
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"

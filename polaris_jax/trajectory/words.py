"""Word counts and the bins they are rounded to (trajectory specification 2.4 and 5.1)."""

import re
from functools import cache

from polaris_jax.errors import InputError
from polaris_jax.trajectory.scripts import HAN_AND_KANA

# (first raw count of the bin, last raw count, rounding step, percent that the reference adds to an upper bound)
BINS = ((0, 99, 10, 50), (100, 999, 50, 25), (1_000, 9_999, 100, 15), (10_000, None, 500, 8))
LARGEST_COUNT = 99_500

LEGAL_COUNTS = (
    *range(10, 100, 10),
    *range(100, 1_000, 50),
    *range(1_000, 10_000, 100),
    *range(10_000, LARGEST_COUNT + 1, 500),
)
_LEGAL = frozenset(LEGAL_COUNTS)


# Han and kana are written without blanks: each character counts as a word, as their readers count.
_CHARACTER = re.compile(HAN_AND_KANA.pattern)
_OTHER_WORD = re.compile(r"\w")


def count_words(text: str) -> int:
    """Raw count of words separated by white space; in scripts without blanks, each character is a word."""
    if _CHARACTER.search(text) is None:
        return len(text.split())
    count = 0
    for token in text.split():
        characters = len(_CHARACTER.findall(token))
        rest = _CHARACTER.split(token)
        count += characters + sum(_OTHER_WORD.search(part) is not None for part in rest) if characters else 1
    return count


def is_legal_count(value: int) -> bool:
    """True for the values a card may have: 10..90 by 10, 100..950 by 50, 1000..9900 by 100, 10000..99500 by 500."""
    return value in _LEGAL


def bin_word_count(raw: int) -> int:
    """Rounds a raw count to its bin, half to even; the result is always a legal card value (10 to 99,500).

    Raises:
      InputError: the count is negative.
    """
    if raw < 0:
        raise InputError("word count", raw, "a count of words cannot be negative")
    step = next(step for _, last, step, _ in BINS if last is None or raw <= last)
    quotient, rest = divmod(raw, step)
    up = 2 * rest > step or (2 * rest == step and quotient % 2 == 1)
    return min(max((quotient + up) * step, LEGAL_COUNTS[0]), LARGEST_COUNT)


@cache
def raw_interval(value: int) -> tuple[int, int]:
    """Smallest and largest raw count that ``bin_word_count`` rounds to the legal ``value``."""
    half = max(step for first, _, step, _ in BINS if value >= first)
    candidates = [raw for raw in range(max(0, value - half), value + half + 1) if bin_word_count(raw) == value]
    if not candidates:
        raise InputError("word count", value, "use a legal rounded count such as 250 or 1200")
    return candidates[0], candidates[-1]


def word_count_upper_bound(value: int) -> int:
    """The reference's bound on the raw count of a rounded ``value``; a chapter's token budget is a multiple of it.

    Every bin whose step divides ``value`` proposes its largest raw count that rounds to it (half to even, clipped to
    the bin) plus a margin; the largest proposal is used. Other values, such as 2350, get far too small a bound, so
    generation writes only legal counts.

    Raises:
      InputError: no bin's step divides ``value``.
    """
    bounds = []
    for first, last, step, margin in BINS:
        if value < 0 or value % step:
            continue
        largest = value + step // 2 - (value // step) % 2  # a tie rounds to the even multiple
        if last is not None:
            largest = min(largest, last)
        if largest >= first:
            bounds.append(-(-largest * (100 + margin) // 100))
    if not bounds:
        raise InputError("word count", value, "use a legal rounded count such as 250 or 1200")
    return max(bounds)

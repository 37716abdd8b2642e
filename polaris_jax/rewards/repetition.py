"""Self-repetition: n-grams anywhere, n-grams close by, and whole lines (POLARIS §3.5), in linear time."""

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from polaris_jax.options import ANY_NUMBER, NOT_NEGATIVE, Bounds, check, option

_TOKEN = re.compile(r"\w+|\S")
_TOKENS = Bounds("at least 1 token", least=1)
_HINGED, _NEAR = 0.7, 0.3  # shares of the two n-gram measures


@dataclass(frozen=True)
class RepetitionSpec:
    """Defines repetition and its penalty. The defaults are the recipe's.

    Raises:
      InputError: a field is out of range.
    """

    n: int = option(4, bounds=_TOKENS, doc="tokens per n-gram")
    window: int = option(
        64, bounds=_TOKENS, doc="an n-gram repeats locally within fewer tokens than this after its last occurrence"
    )
    hinge: float = option(0.08, bounds=NOT_NEGATIVE, doc="share of repeated n-grams that costs nothing")
    ngrams: float = option(0.8, bounds=ANY_NUMBER, doc="weight of n-grams")
    lines: float = option(0.4, bounds=ANY_NUMBER, doc="weight of lines")
    cap: float = option(1.5, bounds=ANY_NUMBER, doc="the penalty is at most this")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Repetition:
    """Shares of repeated n-grams, of n-grams repeated within the window, and of repeated lines; and the penalty."""

    ngrams: float
    near: float
    lines: float
    penalty: float


def self_repetition(text: str, spec: RepetitionSpec = RepetitionSpec()) -> Repetition:
    """Measures how much a text repeats itself.

    n-grams are sorted by an LSD radix sort (NumPy's stable sort of 16-bit keys is one), so equal n-grams are adjacent,
    in the order of the text. The cost is O(n) in the tokens, for any window.
    """
    ngrams, near = _repeats(_codes(text), spec.n, spec.window)
    return _weigh(ngrams, near, _repeated_lines(text), spec)


def self_repetition_plain(text: str, spec: RepetitionSpec = RepetitionSpec()) -> Repetition:
    """``self_repetition`` by its definition, for tests; O(tokens * window)."""
    tokens = [token.lower() for token in _TOKEN.findall(text)]
    grams = [tuple(tokens[i : i + spec.n]) for i in range(len(tokens) - spec.n + 1)]
    again = sum(count - 1 for count in Counter(grams).values())
    near = sum(gram in grams[max(0, j - spec.window + 1) : j] for j, gram in enumerate(grams))
    total = max(1, len(grams))
    return _weigh(again / total, near / total, _repeated_lines(text), spec)


def _codes(text: str) -> np.ndarray:
    """[n] int64: tokens numbered by first occurrence, ignoring case."""
    numbers: dict[str, int] = {}
    return np.fromiter(
        (numbers.setdefault(token.lower(), len(numbers)) for token in _TOKEN.findall(text)), dtype=np.int64
    )


def _repeats(codes: np.ndarray, n: int, window: int) -> tuple[float, float]:
    """Shares of n-grams that occurred before: anywhere, and within the window."""
    total = len(codes) - n + 1
    if total < 2:
        return 0.0, 0.0
    order = np.arange(total)
    for column in range(n - 1, -1, -1):
        for shift in range(0, max(1, int(codes.max()).bit_length()), 16):
            digit = (codes[order + column] >> shift & 0xFFFF).astype(np.uint16)
            order = order[np.argsort(digit, kind="stable")]
    grams = np.lib.stride_tricks.sliding_window_view(codes, n)
    same = np.all([grams[order[1:], i] == grams[order[:-1], i] for i in range(n)], axis=0)
    close = same & (np.diff(order) < window)
    return int(same.sum()) / total, int(close.sum()) / total


def _repeated_lines(text: str) -> float:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (len(lines) - len(set(lines))) / max(1, len(lines))


def _weigh(ngrams: float, near: float, lines: float, spec: RepetitionSpec) -> Repetition:
    of_ngrams = spec.ngrams * (_HINGED * max(0.0, ngrams - spec.hinge) + _NEAR * near)
    return Repetition(ngrams, near, lines, min(spec.cap, of_ngrams + spec.lines * lines))

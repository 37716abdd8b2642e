"""Fits material into a context window: token estimates, windows over a text, and packing of items."""

from collections.abc import Callable, Sequence

from polaris_jax.scaffold.drafts import pieces
from polaris_jax.scaffold.profile import Bound
from polaris_jax.trajectory import count_words

CHARS_PER_TOKEN = 3.5


def tokens(text: str) -> int:
    """A conservative estimate: 3.5 ASCII characters or one other character per token."""
    plain = sum(map(str.isascii, text)) if not text.isascii() else len(text)
    return int(plain / CHARS_PER_TOKEN) + len(text) - plain + 1


def windows(text: str, room: int) -> list[str]:
    """The text in windows of at most ``room`` tokens; their concatenation is the text.

    It is cut at paragraph ends, else at sentence ends, else between words, else anywhere.
    """
    if tokens(text) <= room:
        return [text]
    most = max(1, int(count_words(text) * room / tokens(text)))
    runs = [text]
    while most and max(map(tokens, runs)) > room:
        runs = pieces(text, most)
        most = most * 4 // 5
    return [part for run in runs for part in _hard(run, room)]


def _hard(run: str, room: int) -> list[str]:
    """Cuts text without spaces anywhere."""
    if tokens(run) <= room:
        return [run]
    return [run[i : i + room - 1] for i in range(0, len(run), room - 1)]


def pack(items: Sequence[str], room: int, most: int | None = None) -> list[list[str]]:
    """Runs of at most ``most`` consecutive items that together fit ``room`` tokens.

    An item that does not fit alone is cut at its end.
    """
    runs: list[list[str]] = []
    used = 0
    for item in items:
        if tokens(item) > room:
            item = windows(item, room)[0].rstrip()
        size = tokens(item) + 1
        if runs and used + size <= room and (most is None or len(runs[-1]) < most):
            runs[-1].append(item)
            used += size
        else:
            runs.append([item])
            used = size
    return runs


def spread(items: Sequence[str], room: int) -> list[str]:
    """All items if they fit; else as many as fit, evenly spread and in order."""
    sizes = [tokens(item) + 1 for item in items]
    count = len(items)
    while count and sum(sizes[i] for i in _every(len(items), count)) > room:
        count -= max(1, count // 20)
    return [items[i] for i in _every(len(items), count)]


def _every(total: int, count: int) -> list[int]:
    return [i * total // count for i in range(count)]


def shares(bound: Bound, weights: Sequence[int]) -> list[Bound]:
    """The bound, divided among windows by weight; every window gets at least one bullet."""
    total = max(1, sum(weights))
    return [Bound(max(1, round(bound.count * weight / total)), bound.words) for weight in weights]


def thinned(cards: Sequence[Callable[[int], str]], room: int, most: int) -> list[str]:
    """The cards as text, each with the most bullets (``most`` to 0) with which all fit; empty if they never fit."""
    for count in range(most, -1, -1):
        printed = [card(count) for card in cards]
        if sum(tokens(text) + 1 for text in printed) <= room:
            return printed
    return []

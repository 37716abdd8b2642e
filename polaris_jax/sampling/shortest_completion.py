"""The shortest completion of a partial text under a grammar.

When a step has used up its token budget in the middle of a list, the text so far does not match the grammar yet.
``shortest_completion`` follows the stage's grammar over it and returns a grammar of the missing text: open headings and
lines are finished, optional repetition is left out. The model then fills the few free parts.
"""

from collections.abc import Callable
from functools import cached_property, partial

from polaris_jax.trajectory.grammar import Alt, CharClass, Grammar, Literal, Named, Repeat, Seq

# Characters that free text may have beyond its minimum: enough for a name or a short line.
FREE_CHARACTERS = 80
_NOTHING = Literal("")


def shortest_completion(node: Grammar, text: str) -> Grammar | None:
    """Grammar of the shortest continuation that completes ``text`` to a member of ``node``.

    Returns:
      A grammar without optional repetition (``Literal("")`` when the text is complete), or None when no continuation
      exists.
    """
    walk = _Walk(text)
    ends, rest = walk.visit(node, 0)
    return _NOTHING if len(text) in ends else rest


def minimal(node: Grammar) -> Grammar:
    """``node`` with every repetition at its lowest count and all free text short."""
    match node:
        case CharClass(chars, low, high):
            return CharClass(chars, low, _short_limit(low, high)) if low else _NOTHING
        case Named(name, item):
            return type(node)(name, minimal(item))
        case Seq(parts):
            return Seq(tuple(map(minimal, parts)))
        case Alt(options):
            return minimal(min(options, key=shortest))
        case Repeat(item, low, _, separator):
            first = [minimal(item)] * (low > 0)
            return Seq((*first, *(minimal(part) for _ in range(low - 1) for part in (separator, item))))
    return node


def shortest(node: Grammar) -> int:
    """Characters in the shortest member of ``node``."""
    match node:
        case Literal(text):
            return len(text)
        case CharClass(low=low):
            return low
        case Named(item=item):
            return shortest(item)
        case Seq(parts):
            return sum(map(shortest, parts))
        case Alt(options):
            return min(map(shortest, options))
        case Repeat(item, low, _, separator):
            return low * shortest(item) + max(low - 1, 0) * shortest(separator)
    raise TypeError(f"not a grammar node: {node!r}")


def _short_limit(low: int, high: int | None) -> int:
    return low + FREE_CHARACTERS if high is None else min(high, low + FREE_CHARACTERS)


_Visit = Callable[[int], tuple[frozenset[int], Grammar | None]]


class _Walk:
    """Memoised visit of (node, start): where the node can end inside the text, and what it lacks at the text's end."""

    def __init__(self, text: str):
        self.text = text
        self.seen: dict[tuple[int, int], tuple[frozenset[int], Grammar | None]] = {}

    @cached_property
    def end(self) -> int:
        return len(self.text)

    def visit(self, node: Grammar, start: int) -> tuple[frozenset[int], Grammar | None]:
        """``(ends, rest)``: ``rest`` is the shortest completion if ``text[start:]`` is a proper part of a member."""
        key = (id(node), start)
        if key not in self.seen:
            ends, rests = self._visit(node, start)
            self.seen[key] = frozenset(ends), min(rests, key=shortest, default=None)
        return self.seen[key]

    def _visit(self, node: Grammar, start: int) -> tuple[set[int], list[Grammar]]:
        match node:
            case Literal(text):
                if self.text.startswith(text, start):
                    return {start + len(text)}, []
                given = self.text[start:]
                return set(), [Literal(text[len(given) :])] if text.startswith(given) else []
            case CharClass(chars, low, high):
                stop = start
                while stop < self.end and (high is None or stop - start < high) and self.text[stop] in chars:
                    stop += 1
                run = stop - start
                if run < low and stop == self.end:
                    return set(), [
                        CharClass(chars, low - run, _short_limit(low - run, None if high is None else high - run))
                    ]
                return set(range(start + low, stop + 1)), []
            case Named(name, item):
                ends, rest = self.visit(item, start)
                return set(ends), [] if rest is None else [type(node)(name, rest)]
            case Seq(parts):
                return self._sequence([partial(self.visit, part) for part in parts], start, parts)
            case Alt(options):
                found = [self.visit(option, start) for option in options]
                return set().union(*(ends for ends, _ in found)), [rest for _, rest in found if rest is not None]
            case Repeat():
                return self._repetition(node, start)
        raise TypeError(f"not a grammar node: {node!r}")

    def _sequence(self, visits: list[_Visit], start: int, parts: tuple[Grammar, ...]) -> tuple[set[int], list[Grammar]]:
        frontier = {start}
        rests: list[Grammar] = []
        for index, visit in enumerate(visits):
            after: set[int] = set()
            for at in frontier:
                ends, rest = visit(at)
                after |= ends
                if rest is not None:
                    rests.append(Seq((rest, *map(minimal, parts[index + 1 :]))))
            frontier = after
        return frontier, rests

    def _repetition(self, node: Repeat, start: int) -> tuple[set[int], list[Grammar]]:
        ends: set[int] = {start} if node.low == 0 else set()
        rests: list[Grammar] = []
        frontier, count = {start}, 0
        while frontier and (node.high is None or count < node.high):
            lacking = max(node.low - count - 1, 0)
            missing = [minimal(part) for _ in range(lacking) for part in (node.separator, node.item)]
            after: set[int] = set()
            for at in frontier:
                parts = (node.separator, node.item) if count else (node.item,)
                inner, open_rests = self._sequence([partial(self.visit, part) for part in parts], at, parts)
                after |= inner - {at}  # an item without text would repeat for ever
                rests += [Seq((rest, *missing)) for rest in open_rests]
            count += 1
            if count >= node.low:
                ends |= after
            frontier = after
        return ends, rests

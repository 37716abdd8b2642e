"""The grammar of everything that may follow a text, when part of a grammar is already written.

``continuation(node, text)`` describes exactly the endings ``rest`` for which ``text + rest`` is a member of ``node``
(a derivative of the language, Brzozowski 1964), as a grammar of the same kind. A decoder that keeps no state between
calls uses it to continue inside an unfinished step.
"""

from collections.abc import Callable, Iterable
from functools import partial

from polaris_jax.trajectory.grammar import Alt, CharClass, Grammar, Literal, Named, Repeat, Seq

NOTHING = Literal("")
_Visit = Callable[[int], tuple[frozenset[int], Grammar | None]]


def continuation(node: Grammar, text: str) -> Grammar | None:
    """Grammar of what may follow ``text`` in ``node``; None if no member of ``node`` begins with ``text``."""
    if not text:
        return node
    ends, rest = _Walk(text).visit(node, 0)
    options = [NOTHING] * (len(text) in ends) + ([rest] if rest is not None else [])
    return _any_of(options)


def fixed_text(node: Grammar) -> str | None:
    """The only member of ``node``; None if there are several."""
    match node:
        case Literal(text):
            return text
        case CharClass(high=0):
            return ""
        case Named(item=item):
            return fixed_text(item)
        case Seq(parts):
            texts = [fixed_text(part) for part in parts]
            return None if any(text is None for text in texts) else "".join(text for text in texts if text)
        case Alt(options):
            found = {fixed_text(option) for option in options}
            return found.pop() if len(found) == 1 else None
        case Repeat(item, low, high, separator) if low == high:
            one, between = fixed_text(item), fixed_text(separator)
            return None if one is None or between is None else between.join([one] * low)
    return None


def fixed_start(node: Grammar) -> str:
    """The text with which every member of ``node`` begins, as far as literals fix it."""
    if (text := fixed_text(node)) is not None:
        return text
    match node:
        case Named(item=item):
            return fixed_start(item)
        case Seq(parts):
            before = ""
            for part in parts:
                if (text := fixed_text(part)) is None:
                    return before + fixed_start(part)
                before += text
    return ""


class _Walk:
    """Memoised visit of (node, start): where the node can end inside the text, and what may follow the text in it.

    The second is for nodes that are not complete at the end of the text; it always adds at least one character.
    """

    def __init__(self, text: str):
        self.text, self.end = text, len(text)
        self.seen: dict[tuple[int, int], tuple[frozenset[int], Grammar | None]] = {}
        self.nodes: list[Grammar] = []  # keeps temporary nodes alive, since ``seen`` knows them by ``id``

    def visit(self, node: Grammar, start: int) -> tuple[frozenset[int], Grammar | None]:
        """``(ends, rest)``."""
        key = (id(node), start)
        if key not in self.seen:
            self.nodes.append(node)
            ends, rests = self._visit(node, start)
            self.seen[key] = frozenset(ends), _any_of(rests)
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
                open_end = stop == self.end and (high is None or run < high)
                more = CharClass(chars, max(low - run, 1), None if high is None else high - run)
                return set(range(start + low, stop + 1)), [more] if open_end else []
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
                    rests.append(_in_order((rest, *parts[index + 1 :])))
            frontier = after
        return frontier, rests

    def _repetition(self, node: Repeat, start: int) -> tuple[set[int], list[Grammar]]:
        ends: set[int] = {start} if node.low == 0 else set()
        rests: list[Grammar] = []
        frontier, count = {start}, 0
        further = _in_order((node.separator, node.item))
        while frontier and (node.high is None or count < node.high):
            left = None if node.high is None else node.high - count - 1
            others = Repeat(further, max(node.low - count - 1, 0), left)
            parts = (node.separator, node.item) if count else (node.item,)
            after: set[int] = set()
            for at in frontier:
                inner, open_rests = self._sequence([partial(self.visit, part) for part in parts], at, parts)
                after |= inner - {at}  # an empty item would repeat for ever
                rests += [rest if left == 0 else _in_order((rest, others)) for rest in open_rests]
            count += 1
            if count >= node.low:
                ends |= after
            frontier = after
        return ends, rests


def _in_order(parts: Iterable[Grammar]) -> Grammar:
    kept = tuple(part for part in parts if part != NOTHING)
    return kept[0] if len(kept) == 1 else Seq(kept)


def _any_of(options: Iterable[Grammar]) -> Grammar | None:
    unique = tuple(dict.fromkeys(options))
    return None if not unique else unique[0] if len(unique) == 1 else Alt(unique)

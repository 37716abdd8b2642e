"""Exhaustive parsing for the rare spans where a greedy match is wrong.

The chart memoises every possible end of every node at every position, so ambiguity costs memory, but never exponential
time.
"""

from collections.abc import Collection, Iterator, Sequence

from polaris_jax.trajectory.grammar import Alt, CharClass, Grammar, Literal, Named, Repeat, Seq

# (name, start, end, inner parts)
Part = tuple[str, int, int, tuple]


def split(node: Grammar, text: str, start: int, end: int) -> tuple[Part, ...]:
    """Named parts of a derivation of ``text[start:end]`` from ``node``; the span must belong to the language."""
    return tuple(_shifted(part, start) for part in _Chart(text[start:end]).parts(node, 0, end - start))


def _shifted(part: Part, by: int) -> Part:
    name, start, end, inner = part
    return name, start + by, end + by, tuple(_shifted(child, by) for child in inner)


class _Chart:
    def __init__(self, text: str):
        self.text = text
        self.memo: dict[tuple[int, int], Sequence[int]] = {}

    def ends(self, node: Grammar, start: int) -> Sequence[int]:
        """Sorted offsets at which a member of ``node`` that begins at ``start`` can end."""
        key = (id(node), start)
        if key not in self.memo:
            ends = self._ends(node, start)
            self.memo[key] = ends if isinstance(ends, range) else tuple(sorted(ends))
        return self.memo[key]

    def _ends(self, node: Grammar, start: int) -> Collection[int]:
        match node:
            case Literal(text):
                return (start + len(text),) if self.text.startswith(text, start) else ()
            case CharClass(_, low, _):
                run = node.compiled.match(self.text, start)
                return range(start + low, run.end() + 1) if run else ()
            case Named(_, item):
                return self.ends(item, start)
            case Seq(parts):
                return self.through(parts, start)[-1]
            case Alt(options):
                return {end for option in options for end in self.ends(option, start)}
            case Repeat(low=low):
                frontiers = self.rounds(node, start)
                return {end for count, frontier in enumerate(frontiers) if count >= low for end in frontier}
        raise TypeError(f"not a grammar node: {node!r}")

    def through(self, parts: Sequence[Grammar], start: int) -> list[set[int]]:
        """Reachable offsets after 0, 1, ... of the parts."""
        frontiers = [{start}]
        for part in parts:
            frontiers.append({end for at in frontiers[-1] for end in self.ends(part, at)})
        return frontiers

    def rounds(self, node: Repeat, start: int) -> list[set[int]]:
        """Reachable offsets after 0, 1, 2, ... items; stops when no further item fits."""
        frontiers = [{start}]
        while node.high is None or len(frontiers) <= node.high:
            further = set()
            for at in frontiers[-1]:
                begins = (at,) if len(frontiers) == 1 else self.ends(node.separator, at)
                further |= {end for begin in begins for end in self.ends(node.item, begin)}
            if not further:
                break
            frontiers.append(further)
        return frontiers

    def parts(self, node: Grammar, start: int, end: int) -> Iterator[Part]:
        """A derivation of ``text[start:end]``; of several, the one whose last part begins latest."""
        match node:
            case Named(name, item):
                yield name, start, end, tuple(self.parts(item, start, end))
            case Seq(nodes):
                yield from self.row(nodes, start, end)
            case Alt(options):
                chosen = next(option for option in options if end in self.ends(option, start))
                yield from self.parts(chosen, start, end)
            case Repeat(item, low, _, separator):
                frontiers = self.rounds(node, start)
                count = max(n for n, frontier in enumerate(frontiers) if n >= low and end in frontier)
                if count:
                    yield from self.row([item] + [separator, item] * (count - 1), start, end)

    def row(self, nodes: Sequence[Grammar], start: int, end: int) -> Iterator[Part]:
        stops = [end]
        for node, frontier in zip(reversed(nodes), reversed(self.through(nodes, start)[:-1]), strict=True):
            stops.append(next(at for at in sorted(frontier, reverse=True) if stops[-1] in self.ends(node, at)))
        stops.reverse()
        for node, begin, stop in zip(nodes, stops, stops[1:], strict=False):
            yield from self.parts(node, begin, stop)

"""Parses text by a grammar: returns a tree of named parts, or the furthest place reached.

Greedy descent takes linear time and is right for every unambiguous element. It may choose a wrong end: a focus may end
in the same character that separates focuses. Then the named group's regular expression finds the right end, and the
exhaustive ``chart`` splits that small span.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from polaris_jax.trajectory import chart
from polaris_jax.trajectory.grammar import Alt, CharClass, Grammar, Literal, Named, Repeat, Seq, Token


@dataclass(frozen=True)
class Tree:
    """A named part, ``text == whole[start:end]``; children are the named parts inside, in order."""

    name: str
    start: int
    end: int
    text: str
    children: tuple["Tree", ...] = ()

    def all(self, name: str) -> list["Tree"]:
        """Every descendant called ``name``, in order of appearance."""
        found = []
        for child in self.children:
            if child.name == name:
                found.append(child)
            found += child.all(name)
        return found

    def first(self, name: str) -> "Tree":
        """The first descendant called ``name``.

        Raises:
          KeyError: there is none.
        """
        for child in self.children:
            if child.name == name:
                return child
            found = child.all(name)
            if found:
                return found[0]
        raise KeyError(name)

    def texts(self, name: str) -> tuple[str, ...]:
        """Texts of every descendant called ``name``."""
        return tuple(child.text for child in self.all(name))


@dataclass(frozen=True)
class Failure:
    """The furthest place reached: offset, the named part being read, and what was expected there."""

    offset: int
    field: str
    expected: str


def read(node: Grammar, text: str) -> Tree | Failure:
    """``Tree`` named ``""`` over the whole text, or the furthest ``Failure``."""
    descent = _Descent(text)
    children: list[Tree] = []
    if descent.visit(node, 0, children) == len(text):
        return Tree("", 0, len(text), text, tuple(children))
    if node.matches(text):
        return Tree("", 0, len(text), text, _trees(chart.split(node, text, 0, len(text)), text))
    return descent.furthest


def _trees(parts: Iterable[chart.Part], text: str) -> tuple[Tree, ...]:
    return tuple(Tree(name, start, end, text[start:end], _trees(inner, text)) for name, start, end, inner in parts)


class _Descent:
    """Greedy recursive descent; ``visit`` returns the end of a part, or -1, and collects the named parts inside."""

    def __init__(self, text: str):
        self.text = text
        self.names = [""]
        self.furthest = Failure(0, "", "the beginning")

    def miss(self, offset: int, expected: str) -> int:
        if offset >= self.furthest.offset:
            self.furthest = Failure(offset, self.names[-1], expected)
        return -1

    def visit(self, node: Grammar, start: int, into: list[Tree]) -> int:
        match node:
            case Literal(text):
                if self.text.startswith(text, start):
                    return start + len(text)
                return self.miss(start + _common(self.text, start, text), repr(text))
            case CharClass():
                run = node.compiled.match(self.text, start)
                return run.end() if run else self.miss(start, "another character")
            case Named():
                return self.named(node, start, into)
            case Seq(parts):
                for part in parts:
                    start = self.visit(part, start, into)
                    if start < 0:
                        return -1
                return start
            case Alt(options):
                for option in options:
                    mark = len(into)
                    end = self.visit(option, start, into)
                    if end >= 0:
                        return end
                    del into[mark:]
                return -1
            case Repeat():
                return self.many(node, start, into)
        raise TypeError(f"not a grammar node: {node!r}")

    def named(self, node: Named, start: int, into: list[Tree]) -> int:
        found = node.compiled.match(self.text, start)
        self.names.append(node.name)
        children: list[Tree] = []
        if isinstance(node, Token):
            end = found.end() if found else self.miss(start, node.name.replace("_", " "))
        else:
            end = self.visit(node.item, start, children)
            if found and end != found.end():
                end = found.end()
                children = list(_trees(chart.split(node.item, self.text, start, end), self.text))
        self.names.pop()
        if end >= 0:
            into.append(Tree(node.name, start, end, self.text[start:end], tuple(children)))
        return end

    def many(self, node: Repeat, start: int, into: list[Tree]) -> int:
        count, end = 0, start
        while node.high is None or count < node.high:
            mark = len(into)
            begin = self.visit(node.separator, end, into) if count else end
            further = self.visit(node.item, begin, into) if begin >= 0 else -1
            if further < 0:
                del into[mark:]
                break
            count, end = count + 1, further
        else:
            self.miss(end, "the end of this list")
        return end if count >= node.low else -1


def _common(text: str, start: int, literal: str) -> int:
    """Number of characters of ``literal`` that the text has at ``start``."""
    count = 0
    while count < len(literal) and text[start + count : start + count + 1] == literal[count]:
        count += 1
    return count

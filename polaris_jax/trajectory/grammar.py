"""A small declarative algebra of grammars: define an element once, derive everything else.

Nodes: ``Literal``, ``CharClass``, ``Seq``, ``Alt``, ``Repeat`` (with separator), ``optional``, ``Token`` (a named
leaf, one lexeme for the decoder) and ``Named`` (a named group, one rule for the decoder). From a node follow

* ``.regex``          a pattern for Python ``re`` (and Rust ``regex``),
* ``.lark()``         a grammar for llguidance (see ``lark.py``),
* ``.gbnf()``         a grammar for llama.cpp (see ``gbnf.py``),
* ``.matches(text)``  the whole-string verdict,
* ``.parse(text)``    a tree of named parts, or the furthest place reached (see ``tree.py``),
* ``.sample(rng)``    a random member of the language,
* ``.longest``        the length of its longest member in characters.
"""

import math
import random
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from polaris_jax.trajectory.charset import CharSet, escape

if TYPE_CHECKING:
    from polaris_jax.trajectory.tree import Failure, Tree

# Unbounded or wide repeats are sampled near their minimum: test strings stay short.
SAMPLE_SLACK = 3


class Grammar(ABC):
    """Base of every node. Nodes are immutable and compare by value."""

    @property
    @abstractmethod
    def regex(self) -> str:
        """The pattern of the whole language, without anchors and without capturing groups."""

    @property
    @abstractmethod
    def longest(self) -> float:
        """Characters in the longest member; ``math.inf`` if unbounded."""

    @abstractmethod
    def sample(self, rng: random.Random) -> str:
        """A random member of the language."""

    @cached_property
    def compiled(self) -> re.Pattern:
        return re.compile(self.regex)

    def matches(self, text: str) -> bool:
        """True if the *whole* of ``text`` is a member."""
        return self.compiled.fullmatch(text) is not None

    def prefix(self, text: str, start: int = 0) -> int | None:
        """End of the member that begins at ``start`` (greedy), or None."""
        found = self.compiled.match(text, start)
        return found.end() if found else None

    def parse(self, text: str) -> "Tree | Failure":
        """``tree.Tree`` of named parts, or ``tree.Failure`` with the furthest place reached."""
        from polaris_jax.trajectory import tree  # it imports this file, so it is imported late

        return tree.read(self, text)

    def gbnf(self) -> str:
        """The grammar in the format of llama.cpp, entry rule ``root``."""
        from polaris_jax.trajectory import gbnf

        return gbnf.gbnf(self)

    def lark(self) -> str:
        """The grammar in llguidance's Lark dialect, entry rule ``start``."""
        from polaris_jax.trajectory import lark

        return lark.lark(self)


@dataclass(frozen=True)
class Literal(Grammar):
    """Exactly ``text``."""

    text: str

    @cached_property
    def regex(self) -> str:
        return "".join(escape(char) for char in self.text)

    @cached_property
    def longest(self) -> float:
        return len(self.text)

    def sample(self, rng: random.Random) -> str:
        return self.text


@dataclass(frozen=True)
class CharClass(Grammar):
    """Between ``low`` and ``high`` characters of ``chars`` (``high=None``: without limit)."""

    chars: CharSet
    low: int = 1
    high: int | None = 1

    @cached_property
    def regex(self) -> str:
        return self.chars.pattern + _times(self.low, self.high)

    @cached_property
    def longest(self) -> float:
        return math.inf if self.high is None else self.high

    def sample(self, rng: random.Random) -> str:
        return "".join(self.chars.pick(rng) for _ in range(_draw(rng, self.low, self.high)))


@dataclass(frozen=True)
class Seq(Grammar):
    """The parts one after another."""

    parts: tuple[Grammar, ...]

    @cached_property
    def regex(self) -> str:
        return "".join(part.regex for part in self.parts)

    @cached_property
    def longest(self) -> float:
        return sum(part.longest for part in self.parts)

    def sample(self, rng: random.Random) -> str:
        return "".join(part.sample(rng) for part in self.parts)


@dataclass(frozen=True)
class Alt(Grammar):
    """Any one of the options."""

    options: tuple[Grammar, ...]

    @cached_property
    def regex(self) -> str:
        return "(?:" + "|".join(option.regex for option in self.options) + ")"

    @cached_property
    def longest(self) -> float:
        return max(option.longest for option in self.options)

    def sample(self, rng: random.Random) -> str:
        return rng.choice(self.options).sample(rng)


@dataclass(frozen=True)
class Repeat(Grammar):
    """``low`` to ``high`` items (``high=None``: without limit), ``separator`` between neighbours."""

    item: Grammar
    low: int
    high: int | None
    separator: Grammar = Literal("")

    @cached_property
    def regex(self) -> str:
        item, separator = self.item.regex, self.separator.regex
        if not separator:
            return f"(?:{item}){_times(self.low, self.high)}"
        further = None if self.high is None else self.high - 1
        many = f"{item}(?:{separator}{item}){_times(max(self.low - 1, 0), further)}"
        return many if self.low else f"(?:{many})?"

    @cached_property
    def longest(self) -> float:
        if self.high is None:
            return math.inf
        return self.high * self.item.longest + max(self.high - 1, 0) * self.separator.longest

    def sample(self, rng: random.Random) -> str:
        parts = []
        for index in range(_draw(rng, self.low, self.high)):
            if index:
                parts.append(self.separator.sample(rng))
            parts.append(self.item.sample(rng))
        return "".join(parts)


@dataclass(frozen=True)
class Named(Grammar):
    """A group with a name: a rule for the decoder, a branch of the parse tree, a place in an error message."""

    name: str
    item: Grammar

    @cached_property
    def regex(self) -> str:
        return self.item.regex

    @cached_property
    def longest(self) -> float:
        return self.item.longest

    def sample(self, rng: random.Random) -> str:
        return self.item.sample(rng)


@dataclass(frozen=True)
class Token(Named):
    """A named leaf: one lexeme, compiled by the decoder as a single regular expression."""


def seq(*parts: Grammar | str) -> Grammar:
    """Concatenation; bare strings are literals."""
    return Seq(tuple(_node(part) for part in parts))


def alt(*options: Grammar | str) -> Grammar:
    """Choice; bare strings are literals."""
    return Alt(tuple(_node(option) for option in options))


def optional(item: Grammar | str) -> Repeat:
    """Zero or one ``item``."""
    return Repeat(_node(item), 0, 1)


def repeat(item: Grammar | str, low: int, high: int | None, separator: Grammar | str = "") -> Repeat:
    """``low`` to ``high`` items with ``separator`` between neighbours."""
    return Repeat(_node(item), low, high, _node(separator))


def _node(part: Grammar | str) -> Grammar:
    return Literal(part) if isinstance(part, str) else part


def _times(low: int, high: int | None) -> str:
    if high is None:
        return {0: "*", 1: "+"}.get(low, f"{{{low},}}")
    if (low, high) == (0, 1):
        return "?"
    if low == high:
        return "" if low == 1 else f"{{{low}}}"
    return f"{{{low},{high}}}"


def _draw(rng: random.Random, low: int, high: int | None) -> int:
    """A count in the bounds, usually close to ``low`` and sometimes exactly at ``high``."""
    if high is not None and rng.random() < 0.05:
        return high if high - low < 400 else low
    count = low
    while rng.random() < 1 - 1 / SAMPLE_SLACK and (high is None or count < high):
        count += 1
    return count

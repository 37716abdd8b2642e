"""The user's rules for reading single books: which lines are headings, which books to accept or reject."""

import fnmatch
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from polaris_jax import storage
from polaris_jax.errors import InputError

Verdict = Literal["accept", "reject"]


@dataclass(frozen=True)
class ReadingChoice:
    """How to read one book.

    Attributes:
      heading: a regular expression for the lines that are headings, or None to find them.
      verdict: ``accept`` or ``reject`` overrules the library; None lets it decide.
    """

    heading: str | None = None
    verdict: Verdict | None = None

    def given(self) -> dict[str, str]:
        """The given rules by name; empty without rules."""
        return {name: value for name, value in (("heading", self.heading), ("verdict", self.verdict)) if value}


@dataclass(frozen=True)
class ReadingRules:
    """Rules for many books. A book is named by a glob for its file name or its whole address.

    Attributes:
      heading: regular expressions, each for all books, or ``GLOB=REGEX`` for some; the last one that fits counts.
      accept, reject: globs of the books to accept and to reject.
    """

    heading: tuple[str, ...] = ()
    accept: tuple[str, ...] = ()
    reject: tuple[str, ...] = ()

    def reading(self, address: str | os.PathLike[str]) -> ReadingChoice:
        """The rules for one book; ``check`` has made sure that they do not conflict."""
        heading = None
        for rule in self.heading:
            pattern, regex = _split(rule)
            if _fits(pattern, address):
                heading = regex
        if any(_fits(pattern, address) for pattern in self.accept):
            return ReadingChoice(heading, "accept")
        return ReadingChoice(heading, "reject" if any(_fits(pattern, address) for pattern in self.reject) else None)

    def check(self, addresses: Sequence[str | os.PathLike[str]]) -> None:
        """Refuses rules that make no sense.

        Raises:
          InputError: an invalid regular expression or one that matches an empty line, a glob that fits no book, or a
            book that is both accepted and rejected.
        """
        for rule in self.heading:
            pattern, regex = _split(rule)
            try:
                empty = re.compile(regex).fullmatch("") is not None
            except re.error as error:
                raise InputError("--heading", rule, f"is no regular expression: {error}") from None
            if empty:
                raise InputError("--heading", rule, "also matches a line with nothing in it; say what a heading has")
            _find("--heading", rule, pattern, addresses)
        for flag, patterns in (("--accept", self.accept), ("--reject", self.reject)):
            for pattern in patterns:
                _find(flag, pattern, pattern, addresses)
        for address in addresses:
            if all(any(_fits(pattern, address) for pattern in patterns) for patterns in (self.accept, self.reject)):
                raise InputError("--reject", storage.name_of(os.fspath(address)), "is the name of an accepted book too")


def _split(rule: str) -> tuple[str, str]:
    """(glob, regular expression) of a heading rule such as ``*.txt=^PART``; without a glob, it holds for all books."""
    pattern, equals, regex = rule.partition("=")
    named = equals and re.fullmatch(r"[\w ./~*?\[\]!,'&:-]+\.\w+|[\w ./~'&:-]*\*", pattern)
    return (pattern, regex) if named else ("*", rule)


def _fits(pattern: str, address: str | os.PathLike[str]) -> bool:
    whole = os.fspath(address)
    return fnmatch.fnmatchcase(storage.name_of(whole), pattern) or fnmatch.fnmatchcase(whole, pattern)


def _find(flag: str, value: str, pattern: str, addresses: Sequence[str | os.PathLike[str]]) -> None:
    if not any(_fits(pattern, address) for address in addresses):
        raise InputError(flag, value, "fits none of the books; give the file name of one, or a quoted glob")

"""Flags that overrule the reader of novels: which lines are headings, which books are accepted or rejected."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polaris_jax.corpus.readings import ReadingRules

READING = ("heading", "accept", "reject")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """``--heading``, ``--accept`` and ``--reject``; none has a default."""
    parser.add_argument(
        "--heading",
        action="append",
        metavar="REGEX",
        help="lines whose start matches are the chapter headings; for some books only: 'GLOB=REGEX'",
    )
    for name, what in (("accept", "always read as novels"), ("reject", "left out")):
        parser.add_argument(
            f"--{name}",
            action="append",
            nargs="?",
            const="*",
            metavar="GLOB",
            help=f"books that are {what}, by file name (default: all of them)",
        )


def reading_rules(values: Mapping[str, Any]) -> "ReadingRules":
    """The rules from the flags (or a config file). The reader of the books checks whether they fit the books."""
    from polaris_jax.corpus.readings import ReadingRules

    return ReadingRules(**{name: as_tuple(values.get(name)) for name in READING})


def as_tuple(value: str | list[str] | tuple[str, ...] | None) -> tuple[str, ...]:
    """One or several texts as a tuple."""
    return (value,) if isinstance(value, str) else tuple(value or ())

"""Headings given by the user as a regular expression; they overrule all other evidence."""

import re

from polaris_jax.errors import InputError
from polaris_jax.library.blocks import Block
from polaris_jax.library.candidates import PROSE_CHARS, HeadingCandidate, prose_chars
from polaris_jax.library.headings import HeadingLine, parse_heading
from polaris_jax.library.outline import Outline, Unit
from polaris_jax.library.titles import normalise_title


def check_heading(heading: str) -> None:
    """Refuses an invalid regular expression.

    Raises:
      InputError: says why the expression is invalid.
    """
    try:
        re.compile(heading)
    except re.error as error:
        raise InputError("--heading", heading, f"is no regular expression: {error}") from None


def given_outline(blocks: list[Block], heading: str) -> Outline:
    """Every match is a chapter, except entries of a contents page: they have little text and occur again later.

    Args:
      blocks: from ``split_blocks`` with the same expression, so that a heading begins its block.

    Raises:
      InputError: the expression matches no line.
    """
    pattern = re.compile(heading)
    at = [index for index, block in enumerate(blocks) if pattern.match(block.lines[0].strip())]
    if not at:
        raise InputError("--heading", heading, "matches no line of this book from its start")
    heads = []
    later: set[str] = set()
    for index, end in zip(reversed(at), reversed([*at[1:], len(blocks)]), strict=True):
        line = blocks[index].lines[0].strip()
        text = sum(map(prose_chars, blocks[index + 1 : end]))
        key = normalise_title(line) or line
        if text >= PROSE_CHARS or key not in later:
            said = parse_heading(line) or HeadingLine("title", None, line, "", False)
            heads.append(HeadingCandidate(index, blocks[index].line, said, 1, blocks[index].gap, text))
        later.add(key)
    return Outline(tuple(Unit(head, "chapter", ()) for head in reversed(heads)), (), (), "title")

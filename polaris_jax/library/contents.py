"""The contents page: the lines that it lists."""

import re

from polaris_jax.library.blocks import Block
from polaris_jax.library.candidates import prose_chars
from polaris_jax.library.headings import HeadingLine, parse_heading, undecorate
from polaris_jax.library.titles import normalise_title

_CONTENTS = re.compile(r"(?:table of )?contents|list of chapters|chapters", re.I)
_MAX_PROSE_CHARS = 300
_MAX_BLOCKS = 400


def is_contents_line(line: str) -> bool:
    """Whether a line heads a contents page."""
    return len(line) < 60 and _CONTENTS.fullmatch(undecorate(line)[0].rstrip(".:")) is not None


def contents_entries(blocks: list[Block]) -> frozenset[str]:
    """Normalised entries of the contents page, from its heading to the first prose; empty without one."""
    return frozenset(map(normalise_title, _contents_lines(blocks))) - {""}


def contents_headings(blocks: list[Block], stop: int) -> list[HeadingLine]:
    """The numbered headings that the contents page lists, in order.

    Args:
      blocks: the book.
      stop: index of the first real heading; the contents page ends before it.
    """
    return [heading for line in _contents_lines(blocks[:stop]) if (heading := parse_heading(line))]


def _contents_lines(blocks: list[Block]) -> list[str]:
    start = next((i for i, block in enumerate(blocks[:_MAX_BLOCKS]) if is_contents_line(block.lines[0])), None)
    if start is None:
        return []
    lines = blocks[start].lines[1:]
    for block in blocks[start + 1 : start + _MAX_BLOCKS]:
        if prose_chars(block) > _MAX_PROSE_CHARS:
            break
        lines = [*lines, *block.lines]
    return lines

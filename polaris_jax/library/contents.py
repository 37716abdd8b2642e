"""The contents page: which lines it lists."""

import re

from polaris_jax.library.blocks import Block
from polaris_jax.library.candidates import prose_chars
from polaris_jax.library.headings import undecorate
from polaris_jax.library.titles import normalise_title

_CONTENTS = re.compile(r"(?:table of )?contents|list of chapters|chapters", re.I)
_MAX_PROSE_CHARS = 300
_MAX_BLOCKS = 400


def contents_entries(blocks: list[Block]) -> frozenset[str]:
    """Normalised entries of the contents page (empty without one): from its heading to the first prose."""
    start = next(
        (i for i, block in enumerate(blocks[:_MAX_BLOCKS]) if _CONTENTS.fullmatch(_core(block.lines[0]))), None
    )
    if start is None:
        return frozenset()
    entries: set[str] = set(map(normalise_title, blocks[start].lines[1:]))
    for block in blocks[start + 1 : start + _MAX_BLOCKS]:
        if prose_chars(block) > _MAX_PROSE_CHARS:
            break
        entries.update(map(normalise_title, block.lines))
    return frozenset(entries - {""})


def _core(line: str) -> str:
    return undecorate(line)[0].rstrip(".:")

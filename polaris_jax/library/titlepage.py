"""Title and author from a title page, for files without a header that declares them."""

import re
from dataclasses import dataclass

from polaris_jax.library.blocks import Block
from polaris_jax.library.gutenberg import is_credit
from polaris_jax.library.headings import is_apparatus, parse_heading, undecorate
from polaris_jax.library.prose import is_break

_FIELD = re.compile(r"(title|author)\s*:\s*(.+)", re.I)
_BY = re.compile(r"(?:(.+?)[ ,]+)?by[ :]+(.+)", re.I)
_MAX_BLOCKS = 8


@dataclass(frozen=True)
class TitlePage:
    """What the first blocks say, '' where they say nothing."""

    title: str
    author: str


def read_title_page(blocks: list[Block]) -> TitlePage:
    """Title and author as the first few blocks print them."""
    title = author = ""
    awaiting = False
    for block in blocks[:_MAX_BLOCKS]:
        if is_break(block) or is_credit(block.lines[0]):
            continue
        core, _ = undecorate(" ".join(line.strip() for line in block.lines))
        if len(core) > 150 or is_apparatus(block.lines[0]) or (parse_heading(block.lines[0]) and title):
            break
        field = _FIELD.match(core)
        by = _BY.fullmatch(core)
        if field:
            title, author = (field[2], author) if field[1].lower() == "title" else (title, field[2])
        elif awaiting:
            author = author or core
            break
        elif core.lower() == "by":
            awaiting = True
        elif by and len(core) < 120:
            title, author = title or (by[1] or ""), author or by[2]
            break
        elif not title:
            title = core
    return TitlePage(title, author.strip(" ."))

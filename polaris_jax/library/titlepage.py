"""Title and author from a title page, for files without a header that declares them."""

import re
from dataclasses import dataclass

from polaris_jax.library.blocks import Block
from polaris_jax.library.gutenberg import is_credit
from polaris_jax.library.headings import is_apparatus, looks_titled, parse_heading, undecorate
from polaris_jax.library.prose import is_break

_FIELD = re.compile(r"(title|author)\s*:\s*(.+)", re.I)
_BY = re.compile(r"(?:(.+?)[ ,]+)?by[ :]+(.+)", re.I)
_BY_LINE = re.compile(r"[\s_*#]*by(?![^\W_])[\s:_]*", re.I)
_INITIALS = re.compile(r"(?:[A-Z][a-z]+ )?(?:[A-Z]\. ?){1,3}(?:[A-Z][\w'’-]+ ?){1,2}")  # initials and a surname
_MAX_TITLE = 150
_MAX_TITLE_WORDS = 14
_MAX_LINES = 12
_MAX_BLOCKS = 8


@dataclass(frozen=True)
class TitlePage:
    """Title and author in the first blocks, '' where they name none."""

    title: str
    author: str


def read_title_page(blocks: list[Block]) -> TitlePage:
    """Title and author as printed in the first few blocks."""
    title = author = ""
    awaiting = False
    for block in blocks[:_MAX_BLOCKS]:
        if is_break(block) or is_credit(block.lines[0]):
            continue
        lines = _above_heading(block.lines, bool(title))
        if not lines:
            break
        by = next((i for i, line in enumerate(lines) if _BY_LINE.match(line)), None)
        core, _ = undecorate(" ".join(line.strip() for line in lines[: by or None]))
        if len(core) > (_MAX_TITLE if by is None else 2 * _MAX_TITLE) or is_apparatus(lines[0]):
            break
        field = _FIELD.match(core)
        inline = _BY.fullmatch(core)
        if field:
            title, author = (field[2], author) if field[1].lower() == "title" else (title, field[2])
        elif awaiting:
            author = author or undecorate(lines[0])[0]
            break
        elif by is not None:
            title = title or undecorate(" ".join(line.strip() for line in lines[:by]))[0]
            named = [_BY_LINE.sub("", lines[by]).strip(), *(line.strip() for line in lines[by + 1 : by + 2])]
            author = author or next(filter(None, named), "")
            if author:
                break
            awaiting = True
        elif inline and len(core) < 120:
            title, author = title or (inline[1] or ""), author or inline[2]
            break
        elif not title and len(lines) > 1 and _INITIALS.fullmatch(lines[-1].strip(" _*,")):
            title, author = undecorate(" ".join(line.strip() for line in lines[:-1]))[0], lines[-1].strip()
        elif not title and _is_prose(core):
            break  # no title page: the text has begun
        elif not title:
            title = core
        elif _INITIALS.fullmatch(core):
            author = author or core
        if len(lines) < len(block.lines):
            break
    return TitlePage(title, undecorate(author)[0])


def _is_prose(core: str) -> bool:
    """Whether a first block is already text: lower-case words, with the end or the length of a sentence."""
    sentence = core.endswith((".", "!", "?", '"', "”")) or len(core.split()) > _MAX_TITLE_WORDS
    return sentence and not looks_titled(core.rstrip(".!?"))


def _above_heading(lines: list[str], titled: bool) -> list[str]:
    """The lines of a title page's block above the first heading of the book itself."""
    for index, line in enumerate(lines[:_MAX_LINES]):
        if (index or titled) and parse_heading(line):
            return lines[:index]
    return lines[:_MAX_LINES]

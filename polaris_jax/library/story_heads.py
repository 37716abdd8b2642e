"""Where the stories of a collection begin.

The best evidence is a title with a line "By ..." below it. Without three of those, the titles on the contents page show
how titles are set in this book, and every line set like them is one. The next evidence is numbered headings with
titles, and then titles set off only by space.
"""

import re
from collections import Counter
from dataclasses import dataclass

from polaris_jax.library.blocks import Block
from polaris_jax.library.candidates import prose_chars
from polaris_jax.library.contents import contents_entries
from polaris_jax.library.headings import is_apparatus, looks_titled, parse_heading, undecorate
from polaris_jax.library.outline import read_outline
from polaris_jax.library.titles import find_titles, normalise_title

MIN_STORY_CHARS = 1_000  # about 180 words; less is a title page, an epigraph or a list
_BY = re.compile(r"(?i:by)\s+((?:[A-Z][\w.'’-]*|de|la|le|du|von|van|der|and|&|\"[^\"]+\"|“[^”]+”|[(),\s])+)$")
_YEARS = re.compile(r"\s*[(\[][^()\[\]]*\d{4}[^()\[\]]*[)\]]\s*$")
_MIN_STORIES = 3
_MIN_SIGNED, _MIN_AUTHORS = 4, 3  # signed titles and authors of an anthology
_MAX_PIECE = 0.5  # largest share of an anthology's prose in one piece
_MAX_TITLE = 110  # characters
_MIN_TITLED = 0.8  # share of numbered headings that must have a title


@dataclass(frozen=True)
class StoryHead:
    """A story's heading: blocks ``start`` (inclusive) to ``body`` (exclusive); ``author`` is '' if none is named."""

    start: int
    body: int
    title: str
    author: str


def signed_by_several(blocks: list[Block]) -> bool:
    """Whether a body is an anthology: several titles, each with the name of its author, and several names."""
    if sum(block.lines[-1].lstrip(" _").startswith(("By ", "BY ", "by ")) for block in blocks) < _MIN_SIGNED:
        return False
    heads = _with_text(blocks, _signed(blocks))
    if len(heads) < _MIN_SIGNED or len({head.author for head in heads}) < _MIN_AUTHORS:
        return False
    # A title page and a publisher's list of other books are signed too; then the book is one piece.
    starts = [head.start for head in heads]
    bounds = zip([0, *starts], [*starts, len(blocks)], strict=True)
    sizes = [sum(map(prose_chars, blocks[start:end])) for start, end in bounds]
    return max(sizes) < _MAX_PIECE * sum(sizes)


def find_story_heads(blocks: list[Block]) -> list[StoryHead]:
    """The heads of the stories in order; empty when the stories cannot be told apart."""
    for find in (_signed, _listed, _numbered, _set_off):
        heads = _with_text(blocks, find(blocks))
        if len(heads) >= _MIN_STORIES:
            return heads
    return []


def _signed(blocks: list[Block]) -> list[StoryHead]:
    """Titles with a line ``By ...`` below, in the same block or the next."""
    heads = []
    for index, block in enumerate(blocks):
        if len(block.lines) > 3:
            continue
        author = _by_line(block.lines[-1])
        if not author:
            continue
        start = index if len(block.lines) > 1 else index - 1
        while start > max(0, index - 3) and blocks[start].lines[0].lstrip().startswith("["):
            start -= 1  # a note on the first printing, between title and author
        titles = block.lines[:-1] if start == index else blocks[start].lines if start >= 0 else []
        title = _title(" ".join(titles)) if len(titles) <= 2 else ""
        if title:
            heads.append(StoryHead(start, index + 1, title, author))
    return heads


def _listed(blocks: list[Block]) -> list[StoryHead]:
    """Titles of the contents page, and every line set like most of them: the same space, the same capitals."""
    entries = contents_entries(blocks)
    lone = [(index, title) for index, block in enumerate(blocks) if (title := _lone_title(block))]
    known = [(index, title) for index, title in lone if normalise_title(title) in entries and blocks[index].gap >= 2]
    if len(known) < _MIN_STORIES:
        return []
    usual = Counter(_setting(blocks[index], title) for index, title in known).most_common(1)[0][0]
    like = [(index, title) for index, title in lone if _setting(blocks[index], title) == usual]
    return [StoryHead(index, index + 1, title, "") for index, title in sorted({*known, *like})]


def _numbered(blocks: list[Block]) -> list[StoryHead]:
    """Numbered headings, each with a title ("ADVENTURE II. THE LEAGUE")."""
    outline = read_outline(blocks)
    heads = [unit.head for unit in outline.units if unit.kind in ("chapter", "narrative", "section")]
    titled = [head for head in heads if head.heading.title]
    if len(titled) < _MIN_TITLED * len(heads):
        return []
    return [StoryHead(head.block, head.block + 1, head.heading.title.strip(" ._"), "") for head in titled]


def _set_off(blocks: list[Block]) -> list[StoryHead]:
    return [
        StoryHead(c.block, c.block + 1, c.heading.label, "")
        for c in find_titles(blocks, frozenset())
        if c.heading.label
    ]


def _with_text(blocks: list[Block], heads: list[StoryHead]) -> list[StoryHead]:
    """Heads that are followed by a story; entries of a contents page are not."""
    ends = [head.start for head in heads[1:]] + [len(blocks)] * bool(heads)
    return [
        head
        for head, end in zip(heads, ends, strict=True)
        if sum(map(prose_chars, blocks[head.body : end])) >= MIN_STORY_CHARS
    ]


def _by_line(line: str) -> str:
    """The name in a line ``By Ambrose Bierce (1842-1914)``; '' for any other line."""
    core = _YEARS.sub("", line.replace("_", "").strip()).strip(" .,*")
    match = _BY.fullmatch(core)
    if not match or len(core) > 80:
        return ""
    name = " ".join(match[1].split()).strip(" ,.")
    return name.title() if name.isupper() else name


def _lone_title(block: Block) -> str:
    return _title(" ".join(block.lines)) if len(block.lines) <= 2 else ""


def _title(text: str) -> str:
    """A title line without decoration; '' if the text is not a title, or names apparatus."""
    core, _ = undecorate(text)
    core = " ".join(core.replace("_", "").split())
    heading = parse_heading(core)
    if not core or len(core) > _MAX_TITLE or is_apparatus(core) or not looks_titled(core.rstrip(".!?")):
        return ""
    if heading and heading.style != "title":
        return heading.title.strip(" ._") if heading.number is not None else ""  # an introduction is not a story
    return core.rstrip(".")


def _setting(block: Block, title: str) -> tuple[int, bool]:
    return min(block.gap, 4), title.isupper()

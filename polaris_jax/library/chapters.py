"""Builds chapters with names, clean text and scenes from the outline; finds titles above and below numbers."""

import re
from dataclasses import dataclass, replace

from polaris_jax.library.blocks import Block
from polaris_jax.library.candidates import HeadingCandidate, prose_chars
from polaris_jax.library.gutenberg import is_credit
from polaris_jax.library.headings import HeadingLine, is_apparatus, looks_titled, parse_heading, undecorate
from polaris_jax.library.names import heading_name, unique_names
from polaris_jax.library.novel import NovelChapter
from polaris_jax.library.outline import Outline, Unit
from polaris_jax.library.prose import BREAK_MARK, Paragraph, ProseLayout, is_break, read_paragraphs
from polaris_jax.library.scenes import split_scenes

_END = re.compile(r"[\s_*.\[(-]*(?:the end|end|finis|fin|the end of .{0,60})[\s_*.!)\]-]*$", re.I)
_LISTS = re.compile(r"contents|illustrations", re.I)
_DEDICATION = re.compile(r"[\s_]*(?:to|for|my dear|dear)\b", re.I)
_MAX_TITLE_LINES = 5
_TITLES_SHARE = 0.7
_FRAME_CHARS = 3_000
_PIECE_WORDS = 4_000
_UNHEADED_CHARS = 1_500  # less is an epigraph or a dedication


@dataclass(frozen=True)
class NovelSection:
    """A unit of the outline with its place among the blocks.

    Attributes:
      unit: heading, kind, parts.
      title: the title printed around the heading, or ''.
      start: index of the first block of its heading (title above the number included).
      body: index of the first block of its text.
    """

    unit: Unit
    title: str
    start: int
    body: int


@dataclass(frozen=True)
class Reading:
    """The chapters of a book and the blocks they were made from.

    Attributes:
      chapters: in order.
      kept: first lines (in the file) of the blocks whose text is in a chapter.
      heads: first lines of the blocks that are headings of units, including titles.
      start, stop: indices of the first block of the first unit and of the block after the narrative.
    """

    chapters: tuple[NovelChapter, ...]
    kept: frozenset[int]
    heads: frozenset[int]
    start: int
    stop: int


def read_chapters(blocks: list[Block], outline: Outline, layout: ProseLayout) -> Reading:
    """The chapters of a book with an outline."""
    sections = _sections(blocks, outline, layout)
    frame = _unheaded_frame(blocks, sections, outline)
    if frame:
        sections.insert(0, frame)
    stop = _narrative_end(blocks, sections)
    part_blocks = {part.block: part for part in outline.parts}
    inner = frozenset(c.line for c in outline.inner)
    read: list[tuple[NovelSection, NovelChapter]] = []
    kept: set[int] = set()
    for section, following in zip(sections, [*sections[1:], None], strict=True):
        end = following.start if following else stop
        end = next((i for i in range(section.body, end) if i in part_blocks), end)
        paragraphs = read_paragraphs(_body_blocks(blocks, section, end), layout, inner)
        if paragraphs:
            read.append((section, _chapter(section, paragraphs)))
            kept.update(paragraph.line for paragraph in paragraphs)
    names = unique_names(
        [chapter.name for _, chapter in read],
        [section.unit.head.heading.label for section, _ in read],
        [" - ".join(part.heading.label for part in section.unit.parts) for section, _ in read],
    )
    chapters = tuple(replace(chapter, name=name) for (_, chapter), name in zip(read, names, strict=True))
    heads = frozenset(block.line for section in sections for block in blocks[section.start : section.body + 1])
    return Reading(chapters, frozenset(kept), heads - kept, sections[0].start if sections else 0, stop)


def read_pieces(blocks: list[Block], layout: ProseLayout) -> Reading:
    """An undivided narrative in pieces of about 4,000 words, cut at an explicit break if one is near."""
    start = _undivided_start(blocks)
    stop = next((i for i in range(len(blocks) - 1, start, -1) if _is_end(blocks[i])), len(blocks))
    paragraphs = read_paragraphs(blocks[start:stop], layout, frozenset())
    groups: list[list[Paragraph]] = [[]]
    words = 0
    for paragraph in paragraphs:
        near_break = paragraph.opens and words >= 0.6 * _PIECE_WORDS
        if groups[-1] and (near_break or words >= _PIECE_WORDS) and paragraph.text != BREAK_MARK:
            groups.append([])
            words = 0
        groups[-1].append(paragraph)
        words += len(paragraph.text.split())
    if len(groups) > 1 and words < 0.25 * _PIECE_WORDS:
        groups[-2].extend(groups.pop())
    pieces = tuple(
        _novel_chapter(f"Section {number}", "section", None, group[0].line, group)
        for number, group in enumerate(groups, 1)
        if group
    )
    return Reading(pieces, frozenset(paragraph.line for paragraph in paragraphs), frozenset(), start, stop)


def _sections(blocks: list[Block], outline: Outline, layout: ProseLayout) -> list[NovelSection]:
    heads = {unit.head.block for unit in outline.units} | {part.block for part in outline.parts}
    units = outline.units
    above = _titles_above(blocks, units, heads)
    long_titles = _long_titles(blocks, units, heads, layout)
    sections = []
    for unit in units:
        head = unit.head
        body = head.block + (head.taken == len(blocks[head.block].lines))
        title, start = head.heading.title, head.block
        if above and not title and (text := _title_text(blocks, head.block - 1, heads)):
            title, start = text, head.block - 1
        elif not title and body > head.block and head.style != "title":
            while body < len(blocks) and (text := _title_below(blocks, body, heads, long_titles, layout)):
                title, body = f"{title} {text}".strip(), body + 1
                if long_titles or len(title) > 60 or body - head.block > 2:
                    break
        sections.append(NovelSection(unit, title, start, body))
    return sections


def _title_text(blocks: list[Block], index: int, heads: set[int]) -> str:
    """The text of a block if it is a title, else ''."""
    if not 0 <= index < len(blocks) or index in heads or len(blocks[index].lines) > 3:
        return ""
    core, _ = undecorate(" ".join(line.strip() for line in blocks[index].lines))
    heading = parse_heading(core)
    if len(core) > 150 or not looks_titled(core) or is_break(blocks[index]) or (heading and heading.number is not None):
        return ""
    if core[:1] in "\"“‘'" and core[-1:] not in "\"”’'!?":
        return ""
    return core


def _titles_above(blocks: list[Block], units: tuple[Unit, ...], heads: set[int]) -> bool:
    """Whether the book sets its titles above its numbers."""
    numbered = [unit for unit in units if unit.head.heading.number is not None and not unit.head.heading.title]
    titled = sum(
        bool(_title_text(blocks, unit.head.block - 1, heads)) and blocks[unit.head.block - 1].gap >= unit.head.gap
        for unit in numbered
    )
    return len(numbered) >= 2 and titled >= _TITLES_SHARE * len(numbered)


def _long_titles(blocks: list[Block], units: tuple[Unit, ...], heads: set[int], layout: ProseLayout) -> bool:
    """Whether most of the book's headings have a descriptive sentence below them, set off from the text."""
    below = [unit.head.block + 1 for unit in units if not unit.head.heading.title]
    set_off = sum(
        i + 1 < len(blocks)
        and i not in heads
        and len(blocks[i].lines) <= _MAX_TITLE_LINES
        and blocks[i + 1].gap > max(layout.gap, blocks[i].gap)
        for i in below
    )
    return len(below) >= 2 and set_off >= _TITLES_SHARE * len(below)


def _title_below(blocks: list[Block], index: int, heads: set[int], long_titles: bool, layout: ProseLayout) -> str:
    """The title in the block under a heading; '' when that block is text."""
    if index in heads or index + 1 >= len(blocks):
        return ""
    block = blocks[index]
    if long_titles and len(block.lines) <= _MAX_TITLE_LINES and blocks[index + 1].gap > layout.gap:
        return undecorate(" ".join(line.strip() for line in block.lines))[0]
    return _title_text(blocks, index, heads)


def _unheaded_frame(blocks: list[Block], sections: list[NovelSection], outline: Outline) -> NovelSection | None:
    """A frame story before the first heading, without a heading of its own.

    Text under the heading of a preface or a dedication is front matter, not a frame story.
    """
    first = min([s.start for s in sections[:1]] + [part.block for part in outline.parts], default=0)
    front = blocks[:first]
    opening = next((i for i, block in enumerate(front) if prose_chars(block) >= 80 and len(block.lines[0]) > 30), None)
    if opening is None or sum(map(prose_chars, front[opening:])) < _FRAME_CHARS:
        return None
    heads = [block.lines[0] for block in front if len(block.lines) <= 2]
    if any(is_apparatus(line) and not _LISTS.search(line) for line in heads):
        return None
    if opening and not _is_title_page(front, opening - 1):
        return None
    if any(len(block.lines) <= 2 and _DEDICATION.match(block.lines[0]) for block in front[: opening + 1]):
        return None
    head = HeadingCandidate(opening, front[opening].line, HeadingLine("prologue", None, "Prologue", "", False), 0, 0)
    return NovelSection(Unit(head, "prologue", ()), "", opening, opening)


def _is_title_page(front: list[Block], index: int) -> bool:
    """Whether a block above the first text names the book or its author, and so is not a heading of that text."""
    core = undecorate(" ".join(front[index].lines))[0].lower()
    repeated = any(undecorate(" ".join(block.lines))[0].lower() == core for block in front[:index])
    named = repeated or index == 0 or core.startswith("by ")
    return named or is_credit(front[index].lines[0]) or is_break(front[index])


def _narrative_end(blocks: list[Block], sections: list[NovelSection]) -> int:
    """Index of the block after the last unit, where notes, advertisements or an end mark begin."""
    start = sections[-1].body
    usual = min((s.unit.head.gap for s in sections if s.unit.head.gap), default=1)
    for index in range(start + 1, len(blocks)):
        block = blocks[index]
        if len(block.lines) > 2 or len(block.lines[0]) > 80:
            continue
        line = block.lines[0]
        if _is_end(block) or is_apparatus(line):
            return index
        if block.gap >= max(usual, 3) and line.strip().isupper() and looks_titled(line) and len(line.split()) > 1:
            return index
    return len(blocks)


def _is_end(block: Block) -> bool:
    line = block.lines[0]
    return (
        len(block.lines) <= 2
        and len(line) < 80
        and (_END.match(line) is not None or line.strip(" _*").upper().startswith(("THE END.", "THE END,")))
    )


def _undivided_start(blocks: list[Block]) -> int:
    """First block of an undivided narrative: after title page, contents and headed front matter.

    Prose without a heading of front matter above it is already the narrative, whatever line follows it.
    """
    horizon = max(1, len(blocks) // 5)
    start = prose = 0
    for index in range(min(horizon, len(blocks))):
        block = blocks[index]
        if len(block.lines) <= 2 and (is_apparatus(block.lines[0]) or parse_heading(block.lines[0])):
            start = index + 1
        elif not start:
            prose += prose_chars(block)
            if prose > _UNHEADED_CHARS:
                break
    if start:
        usual = max(block.gap for block in blocks[start : start + 3])
        later = next((i for i in range(start + 1, horizon) if blocks[i].gap >= max(3, usual)), None)
        return _first_prose(blocks, later if later is not None else start)
    return _first_prose(blocks, 0)


def _first_prose(blocks: list[Block], start: int) -> int:
    for index in range(start, len(blocks)):
        block = blocks[index]
        if is_credit(block.lines[0]):
            continue
        if prose_chars(block) >= 150 or (prose_chars(block) >= 40 and not looks_titled(block.lines[0])):
            return index
    return start


def _body_blocks(blocks: list[Block], section: NovelSection, end: int) -> list[Block]:
    body = blocks[section.body : end]
    head = section.unit.head
    if body and section.body == head.block and head.taken:
        rest = Block(blocks[head.block].line + head.taken, blocks[head.block].lines[head.taken :], 0)
        body = [rest, *body[1:]]
    return body


def _chapter(section: NovelSection, paragraphs: list[Paragraph]) -> NovelChapter:
    heading = section.unit.head.heading
    name = heading_name(heading.label, section.title)
    part = " - ".join(heading_name(p.heading.label, p.heading.title) for p in section.unit.parts) or None
    return _novel_chapter(name, section.unit.kind, part, section.unit.head.line, paragraphs)


def _novel_chapter(name: str, kind: str, part: str | None, line: int, paragraphs: list[Paragraph]) -> NovelChapter:
    texts = [paragraph.text for paragraph in paragraphs]
    scenes = split_scenes(texts, [paragraph.opens for paragraph in paragraphs])
    return NovelChapter(name, kind, part, line, "\n\n".join(texts), scenes)

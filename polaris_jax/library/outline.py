"""Builds the outline of a book from heading candidates: which open units, which are parts, which are scene heads.

One numbering style marks the chapters, and the others are read relative to it. Styles directly above it are parts.
Numbered heads inside a chapter are scene breaks. Numbered heads in places for chapters without chapters (a prologue, a
narrative without chapters) are units of their own.
"""

from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from polaris_jax.library.blocks import Block
from polaris_jax.library.candidates import PROSE_CHARS, RANKS, HeadingCandidate, drop_contents, find_candidates
from polaris_jax.library.headings import OPENING, PART_KEYWORDS, UNIT_KEYWORDS
from polaris_jax.library.sequence import Numbered, best_sequence

BARE = ("roman", "arabic", "word", "small roman")
_MIN_SHARE = 0.3
_UNIT_CHARS = 900  # a part heading with this much text (about 150 words) is a unit of its own
_MIN_BARE_CHARS = 4_000
_SECTION_RATIO = 0.4
_TAIL_SHARE = 0.85
_LEADING_SHARE = 0.5
_KINDS = {"letter": "letter", "prologue": "prologue", "epilogue": "epilogue", "interlude": "section"}


@dataclass(frozen=True)
class Unit:
    """A narrative unit of the outline: its heading, its kind and the part headings above it (outermost first)."""

    head: HeadingCandidate
    kind: str
    parts: tuple[HeadingCandidate, ...]


@dataclass(frozen=True)
class Outline:
    """The outline of a book.

    Attributes:
      units: narrative units in order.
      parts: accepted part headings (with no text, or only an epigraph).
      inner: headings inside units: scene breaks.
      style: the heading style of the chapters, '' when the book is undivided.
    """

    units: tuple[Unit, ...]
    parts: tuple[HeadingCandidate, ...]
    inner: tuple[HeadingCandidate, ...]
    style: str


def read_outline(blocks: list[Block]) -> Outline:
    """The outline of a book by its numbered and named headings; without units if it has none.

    Weak candidates count if the others head no chapters (or only parts), or if they complete a series.
    """
    strong, every = find_candidates(blocks)
    outline = build_outline(drop_contents(strong))
    if every is strong:
        return outline
    fuller = build_outline(drop_contents(every))
    missing = outline.style == "" or outline.style in PART_KEYWORDS or outline.style == fuller.style
    return fuller if missing and len(fuller.units) > len(outline.units) else outline


def build_outline(candidates: list[HeadingCandidate]) -> Outline:
    """Builds the outline from candidates without those of contents pages."""
    total = sum(c.text for c in candidates)
    primary = _primary_style(candidates, total)
    if not primary:
        return Outline((), (), (), "")
    part_styles = _part_styles(candidates, primary)
    chain = set(map(id, _chain([c for c in candidates if c.style == primary or c.style in part_styles], primary)))
    return _walk(candidates, primary, part_styles, chain, total)


def _spans(candidates: list[HeadingCandidate], style: str) -> list[int]:
    """Prose characters under each heading of a style, up to the next heading of the same or a higher rank."""
    spans: list[int] = []
    open_rank = None
    for c in candidates:
        if c.style == style:
            spans.append(c.text)
            open_rank = c.rank
        elif open_rank is not None and c.rank < open_rank:
            open_rank = None
        elif open_rank is not None:
            spans[-1] += c.text
    return spans


def _primary_style(candidates: list[HeadingCandidate], total: int) -> str:
    best, best_share = "", _MIN_SHARE * total
    others = sorted({c.style for c in candidates} - RANKS.keys())  # words that came with numbers in a series
    for style in (*UNIT_KEYWORDS, *others):
        spans = [s for s in _spans(candidates, style) if s >= PROSE_CHARS]
        share = sum(spans) * (1.5 if style == "chapter" else 1.0)
        numbers = {c.number for c in candidates if c.style == style}
        if len(spans) >= 2 and share > best_share and len(numbers) > 1:
            best, best_share = style, share
    if best:
        return best
    bare = []
    for style in BARE:
        chain = _chain([c for c in candidates if c.style == style or c.rank < 40], style)
        spans = list(_spans([c for c in candidates if c.style != style or c in chain], style))
        if len(chain) >= 2 and sum(spans) > _MIN_SHARE * total:
            bare.append((len(chain), median(spans), style))
    if bare:
        bare.sort(reverse=True)
        long_enough = [style for _, size, style in bare if size >= _MIN_BARE_CHARS]
        return long_enough[0] if long_enough else bare[-1][2]
    for style in reversed(_by_depth(candidates, PART_KEYWORDS)):
        spans = [s for s in _spans(candidates, style) if s >= PROSE_CHARS]
        if len(spans) >= 2 and sum(spans) > _MIN_SHARE * total:
            return style
    return ""


def _by_depth(candidates: list[HeadingCandidate], styles: tuple[str, ...]) -> list[str]:
    """The styles that occur, from outermost (fewest headings, then first) to innermost."""
    seen: dict[str, list[int]] = {}
    for position, c in enumerate(candidates):
        if c.style in styles:
            seen.setdefault(c.style, [0, position])[0] += 1
    return sorted(seen, key=lambda style: seen[style])


def _part_styles(candidates: list[HeadingCandidate], primary: str) -> list[str]:
    """Styles above the chapters, outermost first: part keywords, and bare numbers directly before a chapter heading."""
    styles = []
    for style in _by_depth(candidates, (*PART_KEYWORDS, *BARE)):
        members = [c for c in candidates if c.style == style]
        if style == primary or not (1 in {c.number for c in members} or len(members) > 1):
            continue
        if style in BARE and (primary not in BARE or len(members) < 2):
            continue
        leading = [
            a.text < _UNIT_CHARS and b.rank != a.rank and (b.style == primary or style not in BARE)
            for a, b in pairwise(candidates)
            if a.style == style
        ]
        if sum(leading) >= _LEADING_SHARE * len(members):
            styles.append(style)
    return styles


def _chain(candidates: list[HeadingCandidate], style: str) -> list[HeadingCandidate]:
    """The headings of a style with consistent numbers; after a heading of another style, numbering may restart.

    Keyword headings are kept even with a misprinted number, except an inner sequence (a book within the book) that
    interrupts the outer one. For bare numbers, the best whole sequence is kept.
    """
    if style not in BARE:
        return _without_stray_start([c for c in candidates if c.style == style])
    own: list[Numbered] = []
    chosen: list[HeadingCandidate] = []
    part = 0
    for c in candidates:
        if c.style == style:
            own.append(Numbered(c.number or 0, part, _weight(c)))
            chosen.append(c)
        else:
            part += 1
    return [chosen[i] for i in best_sequence(own)]


def _weight(c: HeadingCandidate) -> float:
    """How much a bare number looks like a heading: by the text below it, the space around it and its form."""
    return (0.5 if c.text >= PROSE_CHARS else -0.5) + 0.25 * min(c.gap, 2) + 0.25 * c.heading.marked


def _without_stray_start(own: list[HeadingCandidate]) -> list[HeadingCandidate]:
    """Drops headings before the first number one if they occur again (they are left over from a contents page)."""
    first = next((i for i, c in enumerate(own) if c.number == 1), 0)
    if not 0 < first <= 2:
        return own
    later = {c.number for c in own[first:]}
    return own[first:] if all(c.number in later for c in own[:first]) else own


def _walk(
    candidates: list[HeadingCandidate], primary: str, part_styles: list[str], chain: set[int], total: int
) -> Outline:
    units: list[Unit] = []
    parts: list[HeadingCandidate] = []
    inner: list[HeadingCandidate] = []
    stack: list[HeadingCandidate] = []
    open_primary = False
    inner_expected = 1
    read = 0
    last_primary = max((i for i, c in enumerate(candidates) if id(c) in chain), default=-1)
    for position, c in enumerate(candidates):
        before, read = read, read + c.text
        if c.style == primary:
            if id(c) in chain:
                units.append(Unit(c, _KINDS.get(primary, "chapter"), tuple(stack)))
                open_primary = True
            elif open_primary:
                inner.append(c)
        elif c.style in part_styles:
            if c.style in BARE and (c.text >= _UNIT_CHARS or candidates[position + 1 : position + 2] == []):
                inner.append(c)
                continue
            depth = part_styles.index(c.style)
            stack = [p for p in stack if p.style in part_styles and part_styles.index(p.style) < depth]
            stack.append(c)
            open_primary, inner_expected = False, 1
            if (c.text >= _UNIT_CHARS and position != len(candidates) - 1) or c.text >= 4 * _UNIT_CHARS:
                units.append(_part_with_text(c, candidates[position + 1 :], primary, tuple(stack)))
            else:
                parts.append(c)
        elif c.style == "apparatus":
            continue
        elif c.style in _KINDS and c.style != "letter":
            if not _named_fits(c, position > last_primary, bool(units), before, total):
                continue
            follower = candidates[position + 1] if position + 1 < len(candidates) else None
            stack = [p for p in stack if p.style in part_styles] if c.style == "interlude" else []
            if c.text < _UNIT_CHARS and follower and _heads_units(follower, primary, units):
                stack = [c]
                parts.append(c)
                open_primary, inner_expected = False, 1
            elif c.text >= PROSE_CHARS:
                units.append(Unit(c, _KINDS[c.style], tuple(stack)))
                open_primary = c.style != "prologue"
        elif open_primary and _fills_gap(c, units[-1].head, candidates[position + 1 :], inner):
            units.append(Unit(c, _KINDS.get(primary, "chapter"), tuple(stack)))
        elif open_primary:
            inner.append(c)
        elif (
            c.rank >= 40
            and c.number == inner_expected
            and c.text >= PROSE_CHARS
            and (units or stack or c.style in UNIT_KEYWORDS)
        ):
            units.append(Unit(c, "letter" if c.style == "letter" else "section", tuple(stack)))
            inner_expected += 1
    return Outline(tuple(_grade_sections(units)), tuple(parts), tuple(inner), primary)


def _part_with_text(
    c: HeadingCandidate, following: list[HeadingCandidate], primary: str, stack: tuple[HeadingCandidate, ...]
) -> Unit:
    """The unit of a part that has text itself: a narrative, or its first chapter if the next is numbered two."""
    after = next((d for d in following if d.rank <= c.rank or d.style == primary), None)
    if after is not None and after.style == primary and after.number == 2:
        return Unit(c, _KINDS.get(primary, "chapter"), stack)
    return Unit(c, "narrative", stack[:-1])


def _fills_gap(
    c: HeadingCandidate, last: HeadingCandidate, following: list[HeadingCandidate], inner: list[HeadingCandidate]
) -> bool:
    """Whether a bare number is a chapter heading that lost its keyword.

    It must have the next number, the text of a chapter and the space of a chapter heading. No later heading may have
    the same number, and it may not belong to a series of sections inside the chapter.
    """
    if c.style not in BARE or last.number is None or c.number != last.number + 1 or c.gap < 2:
        return False
    if c.text < _MIN_BARE_CHARS or (inner and inner[-1].block > last.block and inner[-1].style == c.style):
        return False
    rival = next((d for d in following if d.rank <= 40), None)
    return rival is None or rival.number != c.number


def _heads_units(follower: HeadingCandidate, primary: str, units: list[Unit]) -> bool:
    """Whether the heading after a named section begins a numbering inside it.

    If it is chapter one of the book, the section is a short prologue without sections.
    """
    starts_book = follower.style == primary and not units
    return follower.rank >= 40 and follower.number == 1 and not starts_book


def _named_fits(c: HeadingCandidate, after_last: bool, any_units: bool, before: int, total: int) -> bool:
    """Whether a named section is in the right place for its name."""
    if c.style == "prologue":
        return not any_units or c.heading.label.lower().removeprefix("the ") not in OPENING[5:]
    if c.style == "epilogue":
        if c.heading.label.lower().removeprefix("the ") in ("epilogue", "finale"):
            return any_units
        return after_last and before > _TAIL_SHARE * total
    return any_units and c.gap >= 2


def _grade_sections(units: list[Unit]) -> list[Unit]:
    """Makes numbered units outside the chapter style chapters if they are as long as chapters."""
    chapters = [unit.head.text for unit in units if unit.kind == "chapter"]
    sections = [unit.head.text for unit in units if unit.kind == "section" and unit.head.number]
    if not chapters or not sections or median(sections) < _SECTION_RATIO * median(chapters):
        return units
    return [Unit(u.head, "chapter", u.parts) if u.kind == "section" and u.head.number else u for u in units]

"""From heading candidates to the outline of a book: which of them open units, which are parts, which are scene heads.

One numbering style carries the chapters. Everything else is read relative to it: styles that lead straight into it are
parts, numbered heads inside a chapter are scene breaks, and numbered heads that stand where a chapter could stand but
is not (in a prologue, in a narrative without chapters) are units of their own.
"""

from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from polaris_jax.library.candidates import PROSE_CHARS, Candidate
from polaris_jax.library.headings import OPENING, PART_KEYWORDS, UNIT_KEYWORDS

BARE = ("roman", "arabic", "word")
_MIN_SHARE = 0.3
_UNIT_CHARS = 900  # about 150 words under a part heading make it a unit of its own
_MIN_BARE_CHARS = 4_000
_SECTION_RATIO = 0.4
_TAIL_SHARE = 0.85
_LEADING_SHARE = 0.5
_KINDS = {"letter": "letter", "prologue": "prologue", "epilogue": "epilogue", "interlude": "section"}


@dataclass(frozen=True)
class Unit:
    """A narrative unit of the outline: its heading, its kind and the part headings above it (outermost first)."""

    head: Candidate
    kind: str
    parts: tuple[Candidate, ...]


@dataclass(frozen=True)
class Outline:
    """What the headings of a book amount to.

    Attributes:
      units: narrative units in order.
      parts: accepted part headings (they carry no text, or only an epigraph).
      inner: headings inside units: scene breaks.
      style: the style that carries the chapters, '' when the book is undivided.
    """

    units: tuple[Unit, ...]
    parts: tuple[Candidate, ...]
    inner: tuple[Candidate, ...]
    style: str


def build_outline(candidates: list[Candidate]) -> Outline:
    """Read the structure off candidates that are free of contents pages."""
    total = sum(c.text for c in candidates)
    primary = _primary_style(candidates, total)
    if not primary:
        return Outline((), (), (), "")
    part_styles = _part_styles(candidates, primary)
    chain = set(map(id, _chain([c for c in candidates if c.style == primary or c.style in part_styles], primary)))
    return _walk(candidates, primary, part_styles, chain, total)


def _spans(candidates: list[Candidate], style: str) -> list[int]:
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


def _primary_style(candidates: list[Candidate], total: int) -> str:
    best, best_share = "", _MIN_SHARE * total
    for style in UNIT_KEYWORDS:
        spans = [s for s in _spans(candidates, style) if s >= PROSE_CHARS]
        share = sum(spans) * (1.5 if style == "chapter" else 1.0)
        if len(spans) >= 2 and share > best_share:
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


def _by_depth(candidates: list[Candidate], styles: tuple[str, ...]) -> list[str]:
    """The styles that occur, outermost (fewest headings, then first) to innermost."""
    seen: dict[str, list[int]] = {}
    for position, c in enumerate(candidates):
        if c.style in styles:
            seen.setdefault(c.style, [0, position])[0] += 1
    return sorted(seen, key=lambda style: seen[style])


def _part_styles(candidates: list[Candidate], primary: str) -> list[str]:
    """Styles above the chapters, outermost first: part keywords, and bare numbers that lead straight into a chapter."""
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


def _chain(candidates: list[Candidate], style: str) -> list[Candidate]:
    """The headings of a style that number consistently; those of other styles in the list allow a restart.

    Keyword headings are all kept, for a misprinted number does not unmake them, except an inner sequence (a book
    within the book) that interrupts the outer one. Bare numbers must continue, restart at one, or be a single
    misprint between two numbers that fit.
    """
    if style not in BARE:
        own = [c for c in candidates if c.style == style]
        return _without_stray_start(own)
    kept: list[Candidate] = []
    expected = 1
    fresh = True
    for position, c in enumerate(candidates):
        if c.style != style:
            fresh = True
            continue
        following = next((d.number for d in candidates[position + 1 :] if d.style == style), None)
        misprint = following == expected + 1 and expected > 1 and c.text >= PROSE_CHARS
        restart = c.number == 1 and (fresh or not _resumes(candidates[position + 1 :], style, expected))
        first_lost = not kept and c.number == 2 and following == 3
        if c.number == expected or restart or misprint or first_lost:
            expected = 3 if first_lost else expected + 1 if (c.number == expected or misprint) else 2
            kept.append(c)
            fresh = False
    return kept


def _resumes(following: list[Candidate], style: str, expected: int) -> bool:
    """Whether the outer numbering goes on after an inner one that starts here."""
    previous = 1
    for c in following:
        if c.style != style:
            return False
        if c.number == expected:
            return previous != expected - 1
        previous = c.number
    return False


def _without_stray_start(own: list[Candidate]) -> list[Candidate]:
    """Drop headings before the first number one if the same heading comes again (left over from a contents page)."""
    first = next((i for i, c in enumerate(own) if c.number == 1), 0)
    if not 0 < first <= 2:
        return own
    later = {c.number for c in own[first:]}
    return own[first:] if all(c.number in later for c in own[:first]) else own


def _walk(candidates, primary: str, part_styles: list[str], chain: set[int], total: int) -> Outline:
    units: list[Unit] = []
    parts: list[Candidate] = []
    inner: list[Candidate] = []
    stack: list[Candidate] = []
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
                units.append(Unit(c, "narrative", tuple(stack[:-1])))
            else:
                parts.append(c)
        elif c.style == "apparatus":
            continue
        elif c.style in _KINDS and c.style != "letter":
            if not _named_fits(c, position > last_primary, bool(units), before, total):
                continue
            follower = candidates[position + 1] if position + 1 < len(candidates) else None
            heads_units = follower is not None and follower.rank >= 40 and follower.number == 1
            stack = [p for p in stack if p.style in part_styles] if c.style == "interlude" else []
            if heads_units and c.text < _UNIT_CHARS and not _starts_book(follower, primary, units):
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


def _fills_gap(c: Candidate, last: Candidate, following: list[Candidate], inner: list[Candidate]) -> bool:
    """Whether a bare number takes the place of a chapter heading that lost its keyword.

    It must carry the next number, a chapter's text and a chapter's space; no later heading may claim the number, and
    it may not be one of a series of sections inside the chapter.
    """
    if c.style not in BARE or last.number is None or c.number != last.number + 1 or c.gap < 2:
        return False
    if c.text < _MIN_BARE_CHARS or (inner and inner[-1].block > last.block and inner[-1].style == c.style):
        return False
    rival = next((d for d in following if d.rank <= 40), None)
    return rival is None or rival.number != c.number


def _starts_book(follower: Candidate, primary: str, units: list[Unit]) -> bool:
    """Whether the heading after a prologue already is chapter one (then the prologue is short, not a container)."""
    return follower.style == primary and not units


def _named_fits(c: Candidate, after_last: bool, any_units: bool, before: int, total: int) -> bool:
    """Whether a named section stands where its name belongs."""
    if c.style == "prologue":
        return not any_units or c.heading.label.lower().removeprefix("the ") not in OPENING[5:]
    if c.style == "epilogue":
        if c.heading.label.lower().removeprefix("the ") in ("epilogue", "finale"):
            return any_units
        return after_last and before > _TAIL_SHARE * total
    return any_units and c.gap >= 2


def _grade_sections(units: list[Unit]) -> list[Unit]:
    """Numbered units outside the chapter style count as chapters when they are as long as chapters are."""
    chapters = [unit.head.text for unit in units if unit.kind == "chapter"]
    sections = [unit.head.text for unit in units if unit.kind == "section" and unit.head.number]
    if not chapters or not sections or median(sections) < _SECTION_RATIO * median(chapters):
        return units
    return [Unit(u.head, "chapter", u.parts) if u.kind == "section" and u.head.number else u for u in units]

"""Checks a book that was read for contradictions: its numbering, its contents page, chapters of unlikely length."""

from itertools import groupby, pairwise
from statistics import median

from polaris_jax.library.blocks import Block
from polaris_jax.library.contents import contents_entries, contents_headings
from polaris_jax.library.headings import HeadingLine, parse_heading
from polaris_jax.library.novel import word_count
from polaris_jax.library.outline import Unit
from polaris_jax.library.structure import Structure
from polaris_jax.library.titles import normalise_title

_BASE = {"undivided": 0.5, "unread": 0.0, "titled chapters": 0.8}
_PER_WARNING = 0.15
_LONG_CHAPTER = 8
_MAX_NAMED = 6
_MIN_LISTED = 3
_MIN_LISTED_SHARE = 0.6
_ROMAN = ((100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))


def confidence(structure: Structure, warnings: list[str]) -> float:
    """How well the evidence supports the chapters: set by the kind of headings, and lower for every warning."""
    return (
        round(max(0.05, _BASE.get(structure.name, 1.0) - _PER_WARNING * len(warnings)), 2)
        if (structure.name != "unread")
        else 0.0
    )


def structure_warnings(blocks: list[Block], structure: Structure, listed: tuple[str, ...] = ()) -> list[str]:
    """Sentences about contradictions; none when all evidence agrees.

    Args:
      blocks, structure: the book and the structure read from it.
      listed: titles in an EPUB's navigation.
    """
    if structure.name == "unread":
        return []
    if structure.name == "undivided":
        return ["No chapter headings were found; the book is cut into pieces of equal length."]
    return [
        *_numbering(structure),
        *_contents(blocks, structure),
        *_navigation(listed, structure),
        *_lengths(structure),
    ]


def _numbering(structure: Structure) -> list[str]:
    """Numbers that are missing or occur twice, part by part."""
    warnings = []
    for _, group in groupby(structure.outline.units, key=lambda unit: tuple(part.line for part in unit.parts)):
        units = [u for u in group if u.head.style == structure.outline.style and (u.head.number or 0) > 0]
        for before, after in pairwise(units):
            warnings.extend(_gap(before, after))
    return (
        warnings
        if len(warnings) <= _MAX_NAMED
        else [
            *warnings[:_MAX_NAMED],
            f"The numbering breaks in {len(warnings) - _MAX_NAMED} more places.",
        ]
    )


def _gap(before: Unit, after: Unit) -> list[str]:
    first, second = before.head.number or 0, after.head.number or 0
    where = f"after {before.head.heading.label} (line {before.head.line})"
    if second == first:
        return [f"{after.head.heading.label} comes twice: lines {before.head.line} and {after.head.line}."]
    if second > first + 1:
        lost = ", ".join(_like(after.head.heading, number) for number in range(first + 1, min(second, first + 5)))
        return [f"The numbering misses {lost} {where}."]
    if second < first and second != 1:
        return [f"{after.head.heading.label} (line {after.head.line}) stands {where}."]
    return []


def _contents(blocks: list[Block], structure: Structure) -> list[str]:
    """A warning if the book's own contents page lists other headings than those found."""
    units = structure.outline.units
    style = structure.outline.style
    listed = [h for h in contents_headings(blocks, units[0].head.block) if h.style == style and (h.number or 0) > 0]
    if len(listed) >= _MIN_LISTED:
        found = [u.head.heading for u in units if u.head.style == style]
        if len(listed) == len(found) or len(listed) < _MIN_LISTED_SHARE * len(found):
            return []  # the headings agree, or the page lists something else
        missing = [h.label.split()[-1] for h in listed if h.number not in {f.number for f in found}]
        which = f": missing {', '.join(missing[:_MAX_NAMED])}" if missing else ""
        return [f"The contents page lists {len(listed)}, found {len(found)}{which}."]
    return titles_warning("The contents page", contents_entries(blocks), structure) if style == "title" else []


def _navigation(listed: tuple[str, ...], structure: Structure) -> list[str]:
    """A warning if an EPUB's navigation lists other chapters than those found."""
    style = structure.outline.style
    headings = [h for title in listed if (h := parse_heading(title)) and h.style == style and (h.number or 0) > 0]
    found = [u for u in structure.outline.units if u.head.style == style]
    if len(headings) >= _MIN_LISTED and len(headings) != len(found):
        return [f"The EPUB's navigation lists {len(headings)} chapters, found {len(found)}."]
    return titles_warning("The EPUB's navigation", frozenset(map(normalise_title, listed)), structure)


def titles_warning(source: str, entries: frozenset[str], structure: Structure) -> list[str]:
    """One sentence if a list of titles differs from the headings found although most are the same.

    Args:
      source: the list, as the sentence begins: ``The contents page``, ``The EPUB's navigation``.
      entries: normalised titles (``normalise_title``).
    """
    found = {normalise_title(c.name) for c in structure.reading.chapters}
    shared = found & entries
    if len(shared) < _MIN_LISTED or len(shared) < 0.5 * len(found) or found <= entries:
        return []
    extra = sorted(found - entries)[:_MAX_NAMED]
    return [f"{source} does not list {len(found - entries)} of {len(found)} headings found: {'; '.join(extra)}."]


def _lengths(structure: Structure) -> list[str]:
    """Chapters so long that a heading inside them may have been missed."""
    units = [c for c in structure.reading.chapters if c.kind in ("chapter", "letter")]
    if len(units) < 5:
        return []
    usual = median(map(word_count, units))
    long = [c for c in units if word_count(c) > _LONG_CHAPTER * usual]
    return [f"{c.name} (line {c.line}) is {word_count(c) / usual:.0f} times as long as usual." for c in long[:3]]


def _like(heading: HeadingLine, number: int) -> str:
    """``number`` in the notation of a heading."""
    if heading.label.split()[-1].isdigit():
        return str(number)
    numeral = ""
    for value, digits in _ROMAN:
        numeral, number = numeral + digits * (number // value), number % value
    return numeral

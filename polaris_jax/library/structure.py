"""The structure of a book: headings by the caller's rule, by number, by title, or none."""

from collections.abc import Sequence
from dataclasses import dataclass

from polaris_jax.library.blocks import Block
from polaris_jax.library.chapters import Reading, read_chapters, read_pieces
from polaris_jax.library.contents import contents_entries
from polaris_jax.library.declared import declared_outline
from polaris_jax.library.epub import NavEntry
from polaris_jax.library.front import drop_foreign_introduction, restore_first
from polaris_jax.library.given_headings import given_outline
from polaris_jax.library.headings import PART_KEYWORDS
from polaris_jax.library.outline import Outline, Unit, read_outline
from polaris_jax.library.prose import measure_layout
from polaris_jax.library.titles import find_salutations, find_titles

_NOTHING = Outline((), (), (), "")


@dataclass(frozen=True)
class Structure:
    """How a book is divided.

    Attributes:
      name: ``parts + chapters``, ``letters``, ``titled chapters``, ``undivided``, ``unread``, or similar words.
      outline: its headings.
      reading: its chapters.
    """

    name: str
    outline: Outline
    reading: Reading


def unread() -> Structure:
    """The structure of a book that was rejected before its headings were read."""
    return Structure("unread", _NOTHING, Reading((), frozenset(), frozenset(), 0, 0))


def read_structure(
    blocks: list[Block], author: str, heading: str | None, navigation: Sequence[NavEntry] = ()
) -> Structure:
    """Reads headings by the caller's rule, else by number, else by titles or salutations alone, else none.

    Args:
      blocks: the book.
      author: its author, '' if unknown.
      heading: the caller's regular expression for headings.
      navigation: an EPUB's table of contents; it overrules different headings in the text.

    Raises:
      InputError: the caller's rule matches no line.
    """
    layout = measure_layout(blocks)
    if heading is not None:
        outline = given_outline(blocks, heading)
        return Structure("chapters by the given headings", outline, read_chapters(blocks, outline, layout))
    outline = read_outline(blocks)
    if navigation and (declared := declared_outline(blocks, navigation, outline)):
        numbered = sum(unit.head.number is not None for unit in declared.units)
        name = _describe(declared) if 2 * numbered > len(declared.units) else "titled chapters"
        return Structure(name, declared, read_chapters(blocks, declared, layout))
    if outline.style in PART_KEYWORDS and (titled := _titles_in_parts(blocks, outline)):
        return Structure(_describe(titled), titled, read_chapters(blocks, titled, layout))
    if outline.units:
        outline = drop_foreign_introduction(blocks, restore_first(blocks, outline), author)
        return Structure(_describe(outline), outline, read_chapters(blocks, outline, layout))
    for kind, name in (("letter", "letters"), ("chapter", "titled chapters")):
        found = find_salutations(blocks) if kind == "letter" else find_titles(blocks, contents_entries(blocks))
        if found:
            outline = Outline(tuple(Unit(c, kind, ()) for c in found), (), (), "title")
            return Structure(name, outline, read_chapters(blocks, outline, layout))
    return Structure("undivided", _NOTHING, read_pieces(blocks, layout))


def _titles_in_parts(blocks: list[Block], outline: Outline) -> Outline | None:
    """The outline of a book with numbered parts and chapters with titles only; None for any other book."""
    parts = [unit.head for unit in outline.units if unit.head.style == outline.style]
    taken = {part.block for part in (*parts, *outline.parts)}
    titles = [c for c in find_titles(blocks, contents_entries(blocks)) if c.block not in taken]
    if len(titles) < 2 * len(parts):
        return None
    units = []
    for title in titles:
        above = [part for part in parts if part.block < title.block]
        units.append(Unit(title, "chapter", tuple(above[-1:])))
    return Outline(tuple(units), tuple(parts), (), "title")


def _describe(outline: Outline) -> str:
    """The structure in words: ``parts + chapters``, ``letters``, ``prologue + chapters + epilogue``."""
    kinds = list(dict.fromkeys(unit.kind for unit in outline.units))
    names = {"prologue": "prologue", "epilogue": "epilogue"}
    words = [names.get(kind, f"{kind}s") for kind in kinds]
    part_styles = list(dict.fromkeys(f"{part.style}s" for part in outline.parts if part.rank < 30))
    return " + ".join(part_styles + words)

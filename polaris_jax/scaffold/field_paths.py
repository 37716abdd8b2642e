"""Paths of the fields of a book's plan. Provenance records the annotated fields and the fallbacks (gate V11)."""

from collections.abc import Iterator, Sequence

from polaris_jax.trajectory import Arc, Book, Chapter

SCENE_FIELDS = ("name", "vector", "focuses", "perspective", "summary")
CHAPTER_FIELDS = ("scenes", "focuses", "summary")
ARC_FIELDS = ("title", "long", "medium", "short")
BOOK_FIELDS = (
    "arcs",
    "world_rules",
    "writing_style",
    "character_archetypes",
    "main_characters",
    "side_characters",
    "highlight",
    "tags",
    "archetype",
)


def field_paths(chapters: Sequence[Chapter], arcs: Sequence[Arc], prompts: int) -> Iterator[str]:
    """Path of every field an annotator answers, such as ``chapters/3/scenes/1/summary``, ``arcs/0/title``, ``tags``.

    Numbers count from 0. ``chapters/3/scenes`` is where the scenes of chapter 3 begin; ``arcs`` is which chapters open
    an arc. Chapter names, word counts, chapter vectors and the title come from the book and its cards, so they have no
    path.
    """
    for number, chapter in enumerate(chapters):
        yield from (f"chapters/{number}/{name}" for name in CHAPTER_FIELDS)
        for scene in range(len(chapter.scenes)):
            yield from (f"chapters/{number}/scenes/{scene}/{name}" for name in SCENE_FIELDS)
    for number in range(len(arcs)):
        yield from (f"arcs/{number}/{name}" for name in ARC_FIELDS)
    yield from BOOK_FIELDS
    yield from (f"prompts/{number}" for number in range(prompts))


def fallback_share(book: Book) -> float:
    """Share (0-1) of the annotated fields that the offline annotator filled in; at most 0.05 passes gate V11."""
    return len(book.provenance.get("fallback", ())) / max(1, book.provenance.get("fields", 0))

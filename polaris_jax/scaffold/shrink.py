"""Shortens a plan that is too long for its window: first fewer bullets, then leaner cards."""

from collections.abc import Callable
from dataclasses import replace

from polaris_jax.scaffold import limits
from polaris_jax.scaffold.field_paths import field_paths
from polaris_jax.trajectory import Book, render


def thin(lines: tuple[str, ...], count: int) -> tuple[str, ...]:
    """``count`` of the lines, evenly spread, so that a summary keeps its beginning and its end."""
    if count >= len(lines):
        return lines
    if count < 2:
        return lines[:1]
    return tuple(lines[round(i * (len(lines) - 1) / (count - 1))] for i in range(count))


def shrink(book: Book, fallback: Book, budget: int, count: Callable[[str], int]) -> Book:
    """The book, shortened to at most ``budget`` units of ``count(render(book))``.

    Bullets are dropped first, always from the longest lists, down to one each. Then all focuses but the first, long
    perspectives, and much of preview and prompt are cut. A book that is still too long is replaced by ``fallback``, the
    offline plan of the same prose, which must fit; then every field counts as a fallback.
    """
    longest = max(len(lines) for lines in _lists(book))
    for most in range(longest, 0, -1):
        shorter = _with_lists(book, most)
        if count(render(shorter)) <= budget:
            return shorter
    lean = _lean(shorter, fallback)
    if count(render(lean)) <= budget:
        return lean
    paths = tuple(field_paths(fallback.chapters, fallback.arcs, _prompts(book)))
    given_up = {"fields": len(paths), "fallback": paths, "failures": dict.fromkeys(paths, "budget")}
    return replace(fallback, provenance=book.provenance | given_up)


def _prompts(book: Book) -> int:
    """Number of prompts among the counted fields."""
    return book.provenance["fields"] - sum(1 for _ in field_paths(book.chapters, book.arcs, 0))


def _lists(book: Book) -> list[tuple[str, ...]]:
    """Every list of bullets."""
    lists = [book.world_rules, book.writing_style]
    lists += [lines for arc in book.arcs for lines in (arc.short, arc.medium, arc.long)]
    lists += [group.bullets for group in (*book.character_archetypes, *book.main_characters, *book.side_characters)]
    for chapter in book.chapters:
        lists += [chapter.summary, *(scene.summary for scene in chapter.scenes)]
    return lists


def _with_lists(book: Book, most: int) -> Book:
    """The book with at most ``most`` bullets in every list."""
    fewer = lambda groups: tuple(replace(group, bullets=thin(group.bullets, most)) for group in groups)  # noqa: E731
    return replace(
        book,
        world_rules=thin(book.world_rules, most),
        writing_style=thin(book.writing_style, most),
        arcs=tuple(
            replace(arc, short=thin(arc.short, most), medium=thin(arc.medium, most), long=thin(arc.long, most))
            for arc in book.arcs
        ),
        character_archetypes=fewer(book.character_archetypes),
        main_characters=fewer(book.main_characters),
        side_characters=fewer(book.side_characters),
        chapters=tuple(
            replace(
                chapter,
                summary=thin(chapter.summary, most),
                scenes=tuple(replace(scene, summary=thin(scene.summary, most)) for scene in chapter.scenes),
            )
            for chapter in book.chapters
        ),
    )


def _lean(book: Book, fallback: Book) -> Book:
    """The book with one focus per card, short perspectives and passages, and the shorter of the two prompts."""
    return replace(
        book,
        prompt=min(book.prompt, fallback.prompt, key=len),
        highlight=limits.passage(book.highlight, 55, 65),
        archetype=limits.passage(book.archetype, 45, 55),
        character_archetypes=book.character_archetypes[: len(fallback.character_archetypes)],
        main_characters=book.main_characters[: len(fallback.main_characters)],
        side_characters=book.side_characters[: len(fallback.side_characters)],
        chapters=tuple(
            replace(
                chapter,
                focuses=chapter.focuses[:1],
                scenes=tuple(
                    replace(scene, focuses=scene.focuses[:1], perspective=limits.one_line(scene.perspective, 60))
                    for scene in chapter.scenes
                ),
            )
            for chapter in book.chapters
        ),
    )

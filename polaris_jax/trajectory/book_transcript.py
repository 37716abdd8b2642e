"""``parse`` and ``render``: from a transcript to a ``Book`` and back.

``render(parse(x)) == x`` for every strict-valid transcript. Two things are not in a transcript: the prose of single
scenes (scenes are returned with ``text=""``; the chapter has its whole text) and provenance.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from polaris_jax.errors import InputError
from polaris_jax.trajectory import stage_text as st
from polaris_jax.trajectory import stages
from polaris_jax.trajectory.book import Arc, Book, Chapter, Described, Preview
from polaris_jax.trajectory.transcript import SPECIALS, Stage, join_stages, split_stages
from polaris_jax.trajectory.tree import Failure, Tree


def family_of(parts: list[Stage]) -> str:
    """``full_book`` or ``first_chapter``, according to the stage after the prompt."""
    return "first_chapter" if len(parts) > 1 and parts[1].role == "book_plan" else "full_book"


def stage_tree(role: str, text: str, family: str = "full_book") -> Tree:
    """The named parts of a stage text.

    Raises:
      InputError: the text does not match the reference grammar; the error names role and line.
    """
    tree = stages.element(role, family=family).parse(text)
    if isinstance(tree, Failure):
        line = text.count("\n", 0, tree.offset) + 1
        found = text[tree.offset : tree.offset + 40]
        where = f" in {tree.field}" if tree.field else ""
        raise InputError(f"{role}, line {line}", found, f"expected {tree.expected}{where}")
    return tree


def read_stage(role: str, text: str, family: str = "full_book") -> Any:
    """The content of a stage, in the types of ``stage_text``; raises like ``stage_tree``."""
    return st.READERS[stages.element_name(role, family)](stage_tree(role, text, family))


def parse(transcript: str) -> Book:
    """The book of a transcript.

    A truncated transcript (cut after a ``chapter_text``) gives chapters with ``scenes=()`` and ``text=""`` at the end.
    A 24B first-chapter transcript gives arcs with ``short`` only and the chapter cards it has.

    Raises:
      InputError: a stage is missing, out of order, or unreadable.
    """
    parts = split_stages(transcript)
    family = family_of(parts)
    said: dict[str, list] = {role: [] for role in stages.ROLES}
    for part in parts:
        said[part.role].append(part.text if part.role == "prompt" else read_stage(part.role, part.text, family))
    return _first_chapter_book(said) if family == "first_chapter" else _full_book(said)


def _only(said: dict[str, list], role: str) -> Any:
    if len(said[role]) != 1:
        raise InputError("transcript", f"{len(said[role])} x {role}", "this stage must occur exactly once")
    return said[role][0]


def _full_book(said: dict[str, list]) -> Book:
    preview, plan = _only(said, "book_preview"), _only(said, "book_plan")
    first, first_scenes = _only(said, "first_chapter_plan")
    cards = [first, *_only(said, "full_book_chapters_plan")]
    main, side = _only(said, "book_characters_list")
    scenes = [first_scenes, *(scenes for _, scenes in said["scene_breakdown"])]
    texts = [_only(said, "first_chapter_text")[1], *(text for _, text in said["chapter_text"])]
    if len(scenes) != len(texts) or len(texts) > len(cards):
        raise InputError("transcript", f"{len(scenes)} scene plans, {len(texts)} texts", "stages must come in pairs")
    missing = len(cards) - len(texts)
    chapters = [
        Chapter(card.name, card.word_count, card.vector, card.focuses, card.summary, scene, text)
        for card, scene, text in zip(cards, scenes + [()] * missing, texts + [""] * missing, strict=True)
    ]
    if not len(plan.short) == len(plan.medium) == len(plan.long) == len(plan.names):
        raise InputError("book_plan", [len(plan.short), len(plan.names)], "every section must list the same arcs")
    arcs = [
        Arc(title, short, medium, long, names)
        for (title, short), (_, medium), (_, long), (_, names) in zip(
            plan.short, plan.medium, plan.long, plan.names, strict=True
        )
    ]
    return _book(_only(said, "prompt"), preview, plan, arcs, chapters, main, side)


def _first_chapter_book(said: dict[str, list]) -> Book:
    preview, plan = _only(said, "book_plan")
    cards = _only(said, "first_chapter_plan")
    _, scenes = _only(said, "first_chapter_scene_breakdown")
    _, text = _only(said, "first_chapter_text")
    arcs = [Arc(title, short, (), (), ()) for title, short in plan.short]
    written = [(scenes, text), *[((), "")] * (len(cards) - 1)]
    chapters = [
        Chapter(card.name, card.word_count, card.vector, card.focuses, card.summary, *rest)
        for card, rest in zip(cards, written, strict=True)
    ]
    return _book(_only(said, "prompt"), preview, plan, arcs, chapters, (), ())


def _book(
    prompt: str,
    preview: Preview,
    plan: st.BookPlan,
    arcs: list[Arc],
    chapters: list[Chapter],
    main: Iterable[Described],
    side: Iterable[Described],
) -> Book:
    return Book(
        prompt,
        preview.highlight,
        preview.title,
        preview.tags,
        preview.archetype,
        plan.world_rules,
        tuple(arcs),
        plan.archetypes,
        plan.style,
        tuple(chapters),
        tuple(main),
        tuple(side),
    )


def render(book: Book) -> str:
    """The canonical transcript of a book.

    Final chapters without text have cards, but no later stages (a truncated trajectory). A book whose arcs name no
    chapters is written in the 24B first-chapter form, which has room for two chapter cards and one text.

    Raises:
      InputError: arcs and chapters disagree, or a field contains a reserved string.
    """
    full = any(arc.chapter_names for arc in book.arcs)
    parts = [("prompt", book.prompt), *(_full_stages(book) if full else _first_chapter_stages(book))]
    for role, text in parts:
        for special in SPECIALS:
            if special in text:
                raise InputError(role, special, "remove the reserved string from the book")
    return join_stages(parts)


def _preview(book: Book) -> Preview:
    return Preview(book.highlight, book.title, book.tags, book.archetype)


def _plan(book: Book) -> st.BookPlan:
    chapters = iter(book.chapters)
    by_arc = [(arc.title, [next(chapters, None) for _ in arc.chapter_names]) for arc in book.arcs]
    named = [name for arc in book.arcs for name in arc.chapter_names]
    if named != [chapter.name for chapter in book.chapters]:
        raise InputError("book.arcs", named[:5], "the arcs' chapter names must be the chapters' names, in order")
    section = lambda items: tuple((title, tuple(map(items, group))) for title, group in by_arc)  # noqa: E731
    return st.BookPlan(
        world_rules=book.world_rules,
        short=tuple((arc.title, arc.short) for arc in book.arcs),
        archetypes=book.character_archetypes,
        style=book.writing_style,
        medium=tuple((arc.title, arc.medium) for arc in book.arcs),
        long=tuple((arc.title, arc.long) for arc in book.arcs),
        numbers=tuple((arc.title, (len(arc.chapter_names),)) for arc in book.arcs),
        names=section(lambda chapter: chapter.name),
        vectors=section(lambda chapter: (chapter.name, chapter.vector)),
        counts=section(lambda chapter: (chapter.name, chapter.word_count)),
    )


def _full_stages(book: Book) -> Iterator[tuple[str, str]]:
    first, *later = book.chapters
    yield "book_preview", st.write_preview(_preview(book))
    yield "book_plan", st.write_plan(_plan(book))
    yield "first_chapter_plan", st.write_first_plan((first, first.scenes))
    yield "first_chapter_text", st.write_text((first.name, first.text))
    yield "full_book_chapters_plan", st.write_cards(later)
    yield "book_characters_list", st.write_characters((book.main_characters, book.side_characters))
    written = [chapter for chapter in later if chapter.scenes or chapter.text]
    if written != later[: len(written)]:
        raise InputError("book.chapters", [c.name for c in written][:5], "only chapters at the end may lack their text")
    for chapter in written:
        yield "scene_breakdown", st.write_breakdown((chapter.name, chapter.scenes))
        yield "chapter_text", st.write_text((chapter.name, chapter.text))


def _first_chapter_stages(book: Book) -> Iterator[tuple[str, str]]:
    first = book.chapters[0]
    arcs = tuple((arc.title, arc.short) for arc in book.arcs)
    plan = st.BookPlan(book.world_rules, arcs, book.character_archetypes, book.writing_style)
    yield "book_plan", st.write_plan_24b((_preview(book), plan))
    yield "first_chapter_plan", st.write_cards(book.chapters[:2])
    yield "first_chapter_scene_breakdown", st.write_breakdown((first.name, first.scenes))
    yield "first_chapter_text", st.write_text((first.name, first.text))

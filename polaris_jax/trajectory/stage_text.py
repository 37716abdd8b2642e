"""Stage texts and their content: one reader and one canonical writer per stage.

Readers take the parse tree of the reference grammar, so they read every accepted text. Writers produce the canonical
serialisation S1-S5 (trajectory specification 4.3). A text is canonical if ``write(read(text)) == text``.
"""

from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass
from typing import Any

from polaris_jax.trajectory import stages
from polaris_jax.trajectory.book import DIMENSIONS, Chapter, Described, Preview, Scene, Vector
from polaris_jax.trajectory.stages import FENCE
from polaris_jax.trajectory.tree import Tree

# Per arc: its title, and the items of one section under it.
ArcItems = tuple[tuple[str, tuple], ...]


@dataclass(frozen=True)
class BookPlan:
    """Stage ``book_plan``, section by section. The 24B family fills the first four fields only."""

    world_rules: tuple[str, ...]
    short: ArcItems
    archetypes: tuple[Described, ...]
    style: tuple[str, ...]
    medium: ArcItems = ()
    long: ArcItems = ()
    numbers: ArcItems = ()  # one integer per arc
    names: ArcItems = ()  # chapter names
    vectors: ArcItems = ()  # (chapter name, Vector)
    counts: ArcItems = ()  # (chapter name, word count)

    @property
    def planned(self) -> list["Card"]:
        """One card per chapter with name, count and vector only, in reading order; assumes the sections agree."""
        vectors = [pair for _, pairs in self.vectors for pair in pairs]
        counts = [pair for _, pairs in self.counts for pair in pairs]
        return [Card(name, count, vector) for (name, vector), (_, count) in zip(vectors, counts, strict=True)]


@dataclass(frozen=True)
class Card:
    """A chapter card."""

    name: str
    word_count: int
    vector: Vector
    focuses: tuple[str, ...] = ()
    summary: tuple[str, ...] = ()


# --- small parts ------------------------------------------------------------------------------------------------------


def read_vector(text: str) -> Vector:
    """``action: 1, dialog: 2, ...`` as numbers."""
    return Vector(*(int(part.split(": ")[1]) for part in text.split(", ")))


def write_vector(vector: Vector) -> str:
    """The one-line form of a vector."""
    return ", ".join(f"{name}: {value}" for name, value in zip(DIMENSIONS, astuple(vector), strict=True))


def write_bullets(bullets: Iterable[str]) -> str:
    """One ``- `` line per bullet, no final newline."""
    return "\n".join(f"- {bullet}" for bullet in bullets)


def arc_head(number: int, title: str) -> str:
    """``### Arc k: title`` without newline."""
    return f"### Arc {number}: {title}"


def write_arcs(header: str, arcs: ArcItems, body: Callable[[tuple], str]) -> str:
    """A section of arcs numbered from 1; ``body(items)`` writes the text under one head."""
    blocks = (f"{arc_head(number, title)}\n{body(items)}" for number, (title, items) in enumerate(arcs, 1))
    return f"{header}\n" + "\n\n".join(blocks)


def write_described(marker: str, things: Iterable[Described]) -> str:
    """Named blocks with bullets, one blank line between them."""
    return "\n\n".join(f"{marker} {thing.name}\n{write_bullets(thing.bullets)}" for thing in things)


def card_lines(name: str, word_count: int, vector: Vector) -> str:
    """The first three lines of a chapter card, no final newline."""
    return f"### {name}\n**Word Count:** {word_count}\n**Embedding Space:** {write_vector(vector)}"


def write_card(card: Card | Chapter) -> str:
    """A chapter card; no final newline."""
    return (
        f"{card_lines(card.name, card.word_count, card.vector)}\n**Narrative Focuses:** {'; '.join(card.focuses)}\n"
        f"**Chapter Summary:**\n{write_bullets(card.summary)}"
    )


def write_scenes(scenes: Iterable[Scene]) -> str:
    """Scene blocks numbered from 1, one blank line between them."""
    return "\n\n".join(
        f"#### Scene {number}: {scene.name}\n**Word Count:** {scene.word_count}\n"
        f"**Embedding Space:** {write_vector(scene.vector)}\n**Narrative Focus:** {'; '.join(scene.focuses)}\n"
        f"**Narrative Perspective:** {scene.perspective}\n**Scene Summary:**\n{write_bullets(scene.summary)}"
        for number, scene in enumerate(scenes, 1)
    )


def _arcs(section: Tree, items: Callable[[Tree], Iterable]) -> ArcItems:
    return tuple((arc.first("arc_title").text, tuple(items(arc))) for arc in section.all("arc"))


def _described(tree: Tree) -> tuple[Described, ...]:
    return tuple(Described(block.first("name").text, block.texts("bullet")) for block in tree.all("described"))


def _card(tree: Tree) -> Card:
    return Card(
        tree.first("chapter_name").text,
        int(tree.first("count").text),
        read_vector(tree.first("vector").text),
        tree.texts("focus"),
        tree.texts("bullet"),
    )


def read_scenes(tree: Tree) -> tuple[Scene, ...]:
    """Scene cards below ``tree``, without their prose."""
    return tuple(
        Scene(
            block.first("scene_name").text,
            int(block.first("count").text),
            read_vector(block.first("vector").text),
            block.texts("focus"),
            block.first("perspective").text,
            block.texts("bullet"),
        )
        for block in tree.all("scene")
    )


# --- stages -----------------------------------------------------------------------------------------------------------


def read_preview(tree: Tree) -> Preview:
    return Preview(
        tree.first("highlight").text, tree.first("title").text, tree.texts("tag"), tree.first("archetype").text
    )


def write_preview(preview: Preview) -> str:
    return (
        f"{stages.HIGHLIGHT}\n{preview.highlight}\n\n{stages.TITLE}\n{preview.title}\n\n"
        f"{stages.TAGS}\n{write_bullets(preview.tags)}\n\n{stages.ARCHETYPE}\n{preview.archetype}"
    )


def read_plan(tree: Tree) -> BookPlan:
    """The 14B plan."""
    bullets = lambda arc: arc.texts("bullet")  # noqa: E731
    return BookPlan(
        world_rules=tree.first("world_rules").texts("bullet"),
        short=_arcs(tree.first("short_story_arcs"), bullets),
        archetypes=_described(tree.first("character_archetypes")),
        style=tree.first("writing_style").texts("bullet"),
        medium=_arcs(tree.first("medium_story_arcs"), bullets),
        long=_arcs(tree.first("long_story_arcs"), bullets),
        numbers=_arcs(tree.first("number_of_chapters"), lambda arc: map(int, arc.texts("chapter_count"))),
        names=_arcs(tree.first("chapter_names"), lambda arc: arc.texts("chapter_name")),
        vectors=_arcs(
            tree.first("chapters_embedding_space"),
            lambda arc: zip(arc.texts("chapter_name"), map(read_vector, arc.texts("vector")), strict=True),
        ),
        counts=_arcs(
            tree.first("chapters_word_count"),
            lambda arc: zip(arc.texts("chapter_name"), map(int, arc.texts("count")), strict=True),
        ),
    )


def write_plan(plan: BookPlan) -> str:
    pairs = lambda show: lambda items: "\n".join(f"#### {name}\n{show(value)}" for name, value in items)  # noqa: E731
    return "\n\n".join(
        (
            f"{stages.RULES}\n{write_bullets(plan.world_rules)}",
            write_arcs(stages.SHORT, plan.short, write_bullets),
            f"{stages.ARCHETYPES}\n{write_described('###', plan.archetypes)}",
            f"{stages.STYLE}\n{write_bullets(plan.style)}",
            write_arcs(stages.MEDIUM, plan.medium, write_bullets),
            write_arcs(stages.LONG, plan.long, write_bullets),
            write_arcs(stages.NUMBERS, plan.numbers, lambda items: "\n".join(f"* {number}" for number in items)),
            write_arcs(stages.NAMES, plan.names, write_bullets),
            write_arcs(stages.VECTORS, plan.vectors, pairs(write_vector)),
            write_arcs(stages.COUNTS, plan.counts, pairs(str)),
        )
    )


def read_plan_24b(tree: Tree) -> tuple[Preview, BookPlan]:
    """The 24B ``book_plan``: preview and a plan with one arc resolution."""
    return read_preview(tree), BookPlan(
        world_rules=tree.first("world_rules").texts("bullet"),
        short=_arcs(tree.first("story_arcs"), lambda arc: arc.texts("bullet")),
        archetypes=_described(tree.first("character_archetypes")),
        style=tree.first("writing_style").texts("bullet"),
    )


def write_plan_24b(parts: tuple[Preview, BookPlan]) -> str:
    preview, plan = parts
    return "\n\n".join(
        (
            write_preview(preview),
            f"{stages.RULES}\n{write_bullets(plan.world_rules)}",
            write_arcs(stages.ARCS, plan.short, write_bullets),
            f"{stages.ARCHETYPES}\n{write_described('###', plan.archetypes)}",
            f"{stages.STYLE}\n{write_bullets(plan.style)}",
        )
    )


def read_cards(tree: Tree) -> tuple[Card, ...]:
    """Stage ``full_book_chapters_plan``, and the 24B ``first_chapter_plan``."""
    return tuple(_card(card) for card in tree.all("card"))


def write_cards(cards: Iterable[Card | Chapter]) -> str:
    return "\n\n".join(write_card(card) for card in cards)


def read_first_plan(tree: Tree) -> tuple[Card, tuple[Scene, ...]]:
    """The 14B ``first_chapter_plan``: chapter card and scenes."""
    return _card(tree.first("card")), read_scenes(tree.first("scene_breakdown"))


def write_first_plan(parts: tuple[Card | Chapter, Iterable[Scene]]) -> str:
    card, scenes = parts
    return f"{write_card(card)}\n\n{stages.SCENES}\n{write_scenes(scenes)}"


def read_breakdown(tree: Tree) -> tuple[str, tuple[Scene, ...]]:
    """Stage ``scene_breakdown``: chapter name and scenes."""
    return tree.first("chapter_name").text, read_scenes(tree)


def write_breakdown(parts: tuple[str, Iterable[Scene]]) -> str:
    name, scenes = parts
    return f"### {name}\n{write_scenes(scenes)}"


def read_characters(tree: Tree) -> tuple[tuple[Described, ...], tuple[Described, ...]]:
    """Main and side characters."""
    return _described(tree.first("main_characters")), _described(tree.first("side_characters"))


def write_characters(parts: tuple[Iterable[Described], Iterable[Described]]) -> str:
    main, side = parts
    return f"{stages.MAIN}\n{write_described('####', main)}\n\n{stages.SIDE}\n{write_described('####', side)}"


def text_head(name: str) -> str:
    """The prefilled text before a chapter's prose."""
    return f"### {name}\n{FENCE}\n"


def read_text(tree: Tree) -> tuple[str, str]:
    """Chapter name and prose of a text stage, without the fences."""
    return tree.first("chapter_name").text, tree.first("prose").text.removesuffix(f"\n{FENCE}")


def write_text(parts: tuple[str, str]) -> str:
    name, prose = parts
    return f"{text_head(name)}{prose}\n{FENCE}"


READERS: dict[str, Callable[[Tree], Any]] = {
    "book_preview": read_preview,
    "book_plan_14b": read_plan,
    "b24_book_plan": read_plan_24b,
    "first_chapter_plan_14b": read_first_plan,
    "b24_first_chapter_plan": read_cards,
    "full_book_chapters_plan": read_cards,
    "book_characters_list": read_characters,
    "scene_breakdown": read_breakdown,
    "first_chapter_scene_breakdown": read_breakdown,
    "first_chapter_text": read_text,
    "chapter_text": read_text,
}
WRITERS: dict[str, Callable[[Any], str]] = {
    "book_preview": write_preview,
    "book_plan_14b": write_plan,
    "b24_book_plan": write_plan_24b,
    "first_chapter_plan_14b": write_first_plan,
    "b24_first_chapter_plan": write_cards,
    "full_book_chapters_plan": write_cards,
    "book_characters_list": write_characters,
    "scene_breakdown": write_breakdown,
    "first_chapter_scene_breakdown": write_breakdown,
    "first_chapter_text": write_text,
    "chapter_text": write_text,
}

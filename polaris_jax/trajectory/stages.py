"""Every stage and every named element of the released grammar, 14B full book and 24B first chapter.

``ELEMENTS`` maps a name to its grammar, or to a function of ``params`` if the released pattern is built from a plan.
Names are those of the stage roles and of the published conformance cases.
"""

from collections.abc import Callable
from functools import lru_cache

from polaris_jax.errors import InputError
from polaris_jax.trajectory import elements as e
from polaris_jax.trajectory.charset import LAST, CharSet
from polaris_jax.trajectory.grammar import CharClass, Grammar, Named, repeat, seq
from polaris_jax.trajectory.preview_words import words
from polaris_jax.trajectory.scripts import SCRIPTS

NL, maybe_nl = e.NL, e.maybe_nl
ANY = CharSet(((0, LAST),))

# Roles in a fixed order: the position is the role's integer id wherever arrays need one.
ROLES = (
    "prompt",
    "book_preview",
    "book_plan",
    "first_chapter_plan",
    "first_chapter_text",
    "full_book_chapters_plan",
    "book_characters_list",
    "scene_breakdown",
    "chapter_text",
    "first_chapter_scene_breakdown",
)
TEXT_ROLES = frozenset({"first_chapter_text", "chapter_text"})
FAMILIES = ("full_book", "first_chapter")

HIGHLIGHT, TITLE, TAGS, ARCHETYPE = "## Book Highlight", "## Book Title", "## Book Tags", "## Book Archetype"
RULES, ARCHETYPES, STYLE = "## World Rules", "## Character Archetypes", "## Writing Style"
SHORT, MEDIUM, LONG, ARCS = "## Short Story Arcs", "## Medium Story Arcs", "## Long Story Arcs", "## Story Arcs"
NUMBERS, NAMES, VECTORS, COUNTS = (
    "## Number of Chapters",
    "## Chapter Names",
    "## Chapters Embedding Space",
    "## Chapters Word Count",
)
SCENES, MAIN, SIDE = "### Scene Breakdown", "### Main Characters", "### Side Characters"
FENCE = "```"
HEADERS = (
    *(HIGHLIGHT, TITLE, TAGS, ARCHETYPE, RULES, ARCHETYPES, STYLE, SHORT, MEDIUM, LONG, ARCS),
    *(NUMBERS, NAMES, VECTORS, COUNTS, SCENES, MAIN, SIDE),
)


def part_name(header: str) -> str:
    """The name of a section's part in parse trees: ``## World Rules`` -> ``world_rules``."""
    return header.strip("# ").lower().replace(" ", "_")


def section(header: str, *body: Grammar) -> Named:
    """A header line and its body; the part is named after the header's words."""
    return Named(part_name(header), seq(header, NL, *body))


preview = seq(
    section(HIGHLIGHT, e.highlight),
    NL,
    NL,
    section(TITLE, e.title),
    NL,
    NL,
    section(TAGS, e.tags),
    NL,
    section(ARCHETYPE, e.archetype),
)

# The same in strict mode for every script: the release has only Latin letters.
_EVERY = tuple(SCRIPTS)
_any_highlight = Named("highlight", words("word", e.TEXT_MARKS, e.HIGHLIGHT_WORDS, _EVERY, None))
_any_title = Named("title", words("word", e.TEXT_MARKS, e.TITLE_WORDS, _EVERY, None))
_any_tag = Named("tag", words("tag_word", e.TAG_MARKS, (1, 8), _EVERY, None))
_any_archetype = Named("archetype", words("word", e.TEXT_MARKS, e.ARCHETYPE_WORDS, _EVERY, None))
any_preview = seq(
    section(HIGHLIGHT, _any_highlight),
    NL,
    NL,
    section(TITLE, _any_title),
    NL,
    NL,
    section(TAGS, repeat(seq("- ", _any_tag, NL), e.TAGS, e.TAGS)),
    NL,
    section(ARCHETYPE, _any_archetype),
)

rules = seq(e.bullets(e.RULES), NL)
foundation = seq(
    section(RULES, rules),
    section(SHORT, e.short_arcs),
    maybe_nl,
    section(ARCHETYPES, e.archetypes),
    maybe_nl,
    section(STYLE, e.style),
)
# The plan in seven groups, as the released orchestrator asks for it.
plan_steps = (
    foundation,
    section(MEDIUM, e.medium_arcs),
    section(LONG, e.long_arcs),
    section(NUMBERS, e.chapter_counts),
    section(NAMES, e.chapter_names),
    section(VECTORS, e.chapter_vectors),
    section(COUNTS, e.chapter_word_counts),
)
book_plan = seq(plan_steps[0], *[part for step in plan_steps[1:] for part in (maybe_nl, step)])

first_chapter_plan = seq(e.card(), NL, NL, section(SCENES, e.scenes))
scene_breakdown = seq("### ", e.chapter_name, NL, e.scenes)
characters = seq(section(MAIN, e.characters), section(SIDE, e.characters))
chapter_text = seq("### ", e.chapter_name, NL, FENCE, NL, Named("prose", CharClass(ANY, 0, None)))

preview_24b = seq(preview, NL, NL, RULES, NL)
remainder_24b = seq(
    Named("world_rules", rules),
    section(ARCS, e.short_arcs),
    maybe_nl,
    section(ARCHETYPES, e.archetypes),
    maybe_nl,
    section(STYLE, e.style),
)
card_24b = seq(e.card(e.CHAPTER_24B), maybe_nl)
first_chapter_plan_24b = repeat(seq(card_24b, maybe_nl), 1, 2)


def later_cards(planned: list[dict]) -> Grammar:
    """Cards of all planned chapters but the first, with names, counts and vectors as literals."""
    cards = [e.card(planned=chapter) for chapter in planned[1:]]
    joined = [part for index, node in enumerate(cards) for part in ((NL, NL, node) if index else (node,))]
    return seq(*joined, maybe_nl)


free_later_cards = seq(repeat(e.card(), 1, None, "\n\n"), maybe_nl)

ELEMENTS: dict[str, Grammar | Callable[..., Grammar]] = {
    "bullet_line": e.bullet,
    "narrative_focus_name": e.focus,
    "narrative_focuses": e.focuses,
    "embedding_space": e.vector,
    "arc_header": e.arc_head,
    "arc_chapter_count": e.chapter_count,
    "preview_text_word": e.text_word,
    "preview_tag_word": e.tag_word,
    "preview_title_body": e.title,
    "preview_tags_body": e.tags,
    "preview_highlight_body": e.highlight,
    "preview_archetype_body": e.archetype,
    "short_story_arc_section": e.short_arcs,
    "medium_story_arc_section": e.medium_arcs,
    "long_story_arc_section": e.long_arcs,
    "character_archetype_section": e.archetypes,
    "writing_style_section": e.style,
    "number_of_chapters_section": e.chapter_counts,
    "chapter_names_section": e.chapter_names,
    "chapters_embedding_space_section": e.chapter_vectors,
    "chapters_word_count_section": e.chapter_word_counts,
    "planned_chapter_summary": e.open_bullets(e.CHAPTER),
    "scene_summary_bullets": e.scene_bullets,
    "character_bullets": e.character_bullets,
    "character_block": e.character,
    "scene_block": e.scene,
    "book_preview": preview,
    "book_plan_14b": book_plan,
    **{f"book_plan_step_{index}": step for index, step in enumerate(plan_steps)},
    "first_chapter_plan_14b": first_chapter_plan,
    "scene_breakdown": scene_breakdown,
    "book_characters_list": characters,
    "full_book_chapters_plan": lambda params=None: later_cards(params) if params else free_later_cards,
    "chapter_plan_continuation": seq(e.card_body(e.CHAPTER), maybe_nl),
    "chapter_plan_step_first": lambda params: seq(e.card(planned=params), maybe_nl),
    "chapter_plan_step_next": lambda params: seq(NL, NL, e.card(planned=params), maybe_nl),
    "non_header_text_line": e.short_line(800),
    "book_title_line": e.short_line(120),
    "b24_chapter_plan_block": card_24b,
    "b24_first_chapter_plan": first_chapter_plan_24b,
    "b24_book_plan_preview": preview_24b,
    "b24_book_plan_remainder": remainder_24b,
    "b24_book_plan": seq(preview_24b, remainder_24b),
    # Roles whose stage text has no pattern in the release, except for its prefilled head.
    "prompt": CharClass(ANY, 0, None),
    "first_chapter_text": chapter_text,
    "chapter_text": chapter_text,
    "first_chapter_scene_breakdown": scene_breakdown,
}

# Elements whose strict mode accepts letters that the release does not have.
ANY_SCRIPT: dict[str, Grammar] = {
    "book_preview": any_preview,
    "b24_book_plan": seq(any_preview, NL, NL, RULES, NL, remainder_24b),
}

# A role names different elements in the two families.
ROLE_ELEMENTS = {
    "full_book": {"book_plan": "book_plan_14b", "first_chapter_plan": "first_chapter_plan_14b"},
    "first_chapter": {"book_plan": "b24_book_plan", "first_chapter_plan": "b24_first_chapter_plan"},
}


def element_name(role_or_element: str, family: str = "full_book") -> str:
    """The element of a role in a family; the name of an element is returned unchanged.

    Raises:
      InputError: unknown name or family.
    """
    if family not in FAMILIES:
        raise InputError("family", family, f"use one of {', '.join(FAMILIES)}")
    name = ROLE_ELEMENTS[family].get(role_or_element, role_or_element)
    if name not in ELEMENTS:
        raise InputError("role_or_element", role_or_element, "use a stage role or a name in trajectory.ELEMENTS")
    return name


def element(role_or_element: str, params: dict | list | None = None, family: str = "full_book") -> Grammar:
    """The reference grammar of a role or element; ``params`` are planned chapters if the pattern needs them."""
    name = element_name(role_or_element, family)
    found = ELEMENTS[name]
    return found if isinstance(found, Grammar) else _built(name, _frozen(params))


@lru_cache(maxsize=256)
def _built(name: str, params: tuple | None) -> Grammar:
    build = ELEMENTS[name]
    assert not isinstance(build, Grammar)
    if params is None:
        try:
            return build()
        except TypeError:
            raise InputError("params", None, f"{name} needs the planned chapter it is built from") from None
    return build(_thawed(params))


def _frozen(params: dict | list | None) -> tuple | None:
    if isinstance(params, dict):
        return ("chapter", params["chapter_name"], str(params["chapter_word_count"]), params["chapter_embedding_space"])
    return None if params is None else tuple(_frozen(item) for item in params)


def _thawed(params: tuple) -> dict | list:
    if params and params[0] == "chapter":
        return dict(zip(("chapter_name", "chapter_word_count", "chapter_embedding_space"), params[1:], strict=True))
    return [_thawed(item) for item in params]

"""Grammars for a writer: canonical, bounded forms of the elements, for constrained generation.

Every phrase is a subset of its reference element, without the oddities: no edge spaces, one space between words, legal
counts, numbers without leading zero. The alphabet is that of the profile's scripts (``scripts``), without ``<``, so no
reserved string can be written. Phrases are cached: a profile compiles its grammars once.
"""

from collections.abc import Iterable
from functools import cache

from polaris_jax.trajectory import stages
from polaris_jax.trajectory.book import DIMENSIONS
from polaris_jax.trajectory.charset import CharSet
from polaris_jax.trajectory.elements import NONZERO, TAG_MARKS, TAGS, TEXT_MARKS
from polaris_jax.trajectory.grammar import CharClass, Grammar, Literal, Named, Token, alt, optional, repeat, seq
from polaris_jax.trajectory.outline import Person
from polaris_jax.trajectory.preview_words import words
from polaris_jax.trajectory.profile import Profile, Range
from polaris_jax.trajectory.scripts import Scripts, alphabet

DIGIT = CharSet.of(("0", "9"))
BLANK = CharSet.of(" ")


@cache
def line(name: str, longest: int, scripts: Scripts, without: str = "", not_first: str = "") -> Token:
    """1 to ``longest`` characters of one line, without edge spaces, characters ``without``, and ``not_first`` at the
    start."""
    barred = CharSet.of(without)
    inner = alphabet(scripts) - barred
    edge = inner - BLANK
    first = CharClass(edge - CharSet.of(not_first))
    if longest == 1:
        return Token(name, first)
    return Token(name, seq(first, optional(seq(CharClass(inner, 0, longest - 2), CharClass(edge)))))


@cache
def bullets(bounds: Range, profile: Profile) -> Grammar:
    """Bullets joined by newlines."""
    bullet = Named("bullet_line", seq("- ", line("bullet", profile.bullet_chars, profile.scripts)))
    return Named("bullets", repeat(bullet, *bounds, "\n"))


@cache
def bullets_from(given: tuple[str, ...], bounds: Range, profile: Profile) -> Grammar:
    """The ``given`` bullets, then the model's own as far as ``bounds`` allow."""
    if not given:
        return bullets(bounds, profile)
    low, high = (max(bound - len(given), 0) for bound in bounds)
    known = Literal("\n".join(f"- {text}" for text in given))
    if not high:
        return known
    own = Named("bullet_line", seq("\n- ", line("bullet", profile.bullet_chars, profile.scripts)))
    return seq(known, repeat(own, low, high))


@cache
def people(given: tuple[Person, ...], bounds: Range, bullet_bounds: Range, profile: Profile) -> Grammar:
    """Blocks of the ``given`` characters, then the model's own as far as ``bounds`` allow."""
    if not given:
        return described("####", bounds, bullet_bounds, profile)
    low, high = (max(bound - len(given), 0) for bound in bounds)
    known = [
        Named("described", seq(f"#### {person.name}\n", bullets_from(person.notes, bullet_bounds, profile)))
        for person in given
    ]
    spaced = [part for block in known for part in (block, Literal("\n\n"))][:-1]
    if not high:
        return seq(*spaced)
    own = described("####", (1, 1), bullet_bounds, profile)
    return seq(*spaced, repeat(seq("\n\n", own), low, high))


@cache
def described(marker: str, bounds: Range, bullet_bounds: Range, profile: Profile) -> Grammar:
    """Named blocks with bullets, one blank line between them."""
    name = line("name", profile.name_chars, profile.scripts, not_first="#")
    block = Named("described", seq(f"{marker} ", name, "\n", bullets(bullet_bounds, profile)))
    return repeat(block, *bounds, "\n\n")


def _words(name: str, marks: CharSet, bounds: Range, profile: Profile) -> Grammar:
    return Named(
        name, words("tag_word" if marks is TAG_MARKS else "word", marks, bounds, profile.scripts, profile.word_chars)
    )


@cache
def preview(profile: Profile) -> Grammar:
    """A preview after its first header line."""
    text = lambda name, bounds: _words(name, TEXT_MARKS, bounds, profile)  # noqa: E731
    tag = seq("- ", _words("tag", TAG_MARKS, profile.tag_words, profile))
    return seq(
        text("highlight", profile.highlight_words),
        f"\n\n{stages.TITLE}\n",
        Named("title", Literal(profile.outline.title)) if profile.outline.title else text("title", profile.title_words),
        f"\n\n{stages.TAGS}\n",
        repeat(tag, TAGS, TAGS, "\n"),
        f"\n\n{stages.ARCHETYPE}\n",
        text("archetype", profile.archetype_words),
    )


@cache
def short_arcs(profile: Profile) -> Grammar:
    """Arc blocks numbered from 1; nested options, because the number of the next arc depends on the arcs so far."""
    title = line("arc_title", profile.name_chars, profile.scripts)
    body = bullets(profile.short, profile)
    low, high = profile.arc_bounds
    grammar: Grammar = Literal("")
    for number in range(high, 0, -1):
        block = Named("arc", seq(f"### Arc {number}: ", title, "\n", body))
        rest = seq("\n\n" if number > 1 else "", block, grammar)
        grammar = rest if number <= low else optional(rest)
    return grammar


def number_up_to(name: str, values: Iterable[int]) -> Token:
    """One of the given integers."""
    return Token(name, alt(*[str(value) for value in values]))


@cache
def vector() -> Grammar:
    """The seven dimensions, 0-99 without leading zeros."""
    digits = alt("0", seq(CharClass(NONZERO), CharClass(DIGIT, 0, 1)))
    dimension = Token("dimension", digits)
    parts = [part for name in DIMENSIONS for part in (f"{', ' * (name != DIMENSIONS[0])}{name}: ", dimension)]
    return Named("vector", seq(*parts))


@cache
def chapter_names(first: int, how_many: int, profile: Profile) -> Grammar:
    """Exactly ``how_many`` chapter names from chapter ``first`` (from 0) on; the outline's names are literals."""
    free = line("chapter_name", profile.name_chars, profile.scripts, not_first="#")
    given = profile.outline.chapters[first : first + how_many]
    parts = [Named("chapter_name", Literal(chapter.name)) for chapter in given] + [free] * (how_many - len(given))
    return seq(*[part for index, name in enumerate(parts) for part in ("\n- " if index else "- ", name)])


@cache
def focuses(profile: Profile) -> Grammar:
    """Narrative focuses on one line."""
    focus = line("focus", profile.focus_chars, profile.scripts, without=";")
    return Named("focuses", repeat(focus, *profile.focuses, "; "))


@cache
def card_body(profile: Profile, beats: tuple[str, ...] = ()) -> Grammar:
    """A chapter card after ``**Narrative Focuses:** ``; its summary begins with the given ``beats``."""
    summary = bullets_from(beats, profile.chapter_summary, profile)
    return seq(focuses(profile), "\n**Chapter Summary:**\n", summary)


def scene_opening(counts: Iterable[int], profile: Profile) -> Grammar:
    """A scene's name and word count, after ``#### Scene k: ``."""
    return seq(
        line("scene_name", profile.name_chars, profile.scripts),
        "\n**Word Count:** ",
        number_up_to("count", counts),
        "\n",
    )


@cache
def scene_body(profile: Profile) -> Grammar:
    """A scene after ``**Embedding Space:** ``."""
    return seq(
        vector(),
        "\n**Narrative Focus:** ",
        focuses(profile),
        "\n**Narrative Perspective:** ",
        line("perspective", profile.perspective_chars, profile.scripts),
        "\n**Scene Summary:**\n",
        bullets(profile.scene_summary, profile),
    )


@cache
def prose(scripts: Scripts = ()) -> Grammar:
    """Paragraphs with one blank line between them, then the closing fence.

    No paragraph begins with ``#`` or a backtick, so none can look like a heading or a fence.
    """
    chars = alphabet(scripts)
    solid = chars - BLANK
    first = CharClass(solid - CharSet.of("#`"))
    paragraph = Token("paragraph", seq(first, optional(seq(CharClass(chars, 0, None), CharClass(solid)))))
    return seq(repeat(paragraph, 1, None, "\n\n"), f"\n{stages.FENCE}")

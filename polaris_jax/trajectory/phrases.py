"""What a writer may write: the canonical, bounded forms of the elements, for constrained generation.

Every phrase is a subset of the reference element it fills, without its quirks: no edge spaces, one space between
words, legal counts, numbers without leading zero. The alphabet keeps to precomposed letters, so whatever is sampled is
in normal form C, and leaves out ``<``, so no reserved string can be spelled. Phrases are cached: a profile compiles its
grammars once.
"""

from collections.abc import Iterable
from functools import cache

from polaris_jax.trajectory import stages
from polaris_jax.trajectory.book import DIMENSIONS
from polaris_jax.trajectory.charset import CharSet
from polaris_jax.trajectory.elements import LETTER, LONE_MARKS, NONZERO, TAG_MARKS, TAGS, TEXT_MARKS
from polaris_jax.trajectory.grammar import CharClass, Grammar, Literal, Named, Token, alt, optional, repeat, seq
from polaris_jax.trajectory.profile import Profile, Range

DIGIT = CharSet.of(("0", "9"))
# Latin, Greek and Cyrillic letters, punctuation, currency: none of them combines with a neighbour.
WRITING = CharSet.of(
    (" ", ";"), ("=", "~"), ("\xa1", "\xac"), ("\xae", "\u02ff"), ("\u0391", "\u03a1"), ("\u03a3", "\u03ce"),
    ("\u0400", "\u045f"), ("\u1e00", "\u1eff"), ("\u2010", "\u2027"), ("\u2030", "\u205e"), ("\u20a0", "\u20bf"),
    "\u2116\u2122",
)  # fmt: skip
SOLID = WRITING - CharSet.of(" ")


@cache
def line(name: str, longest: int, without: str = "", not_first: str = "") -> Token:
    """1 to ``longest`` characters of one line, no edge spaces; some characters barred everywhere or at the start."""
    barred = CharSet.of(without)
    inner, edge = WRITING - barred, SOLID - barred
    first = CharClass(edge - CharSet.of(not_first))
    if longest == 1:
        return Token(name, first)
    return Token(name, seq(first, optional(seq(CharClass(inner, 0, longest - 2), CharClass(edge)))))


@cache
def bullets(bounds: Range, profile: Profile) -> Grammar:
    """Bullets joined by newlines."""
    bullet = Named("bullet_line", seq("- ", line("bullet", profile.bullet_chars)))
    return Named("bullets", repeat(bullet, *bounds, "\n"))


@cache
def described(marker: str, bounds: Range, bullet_bounds: Range, profile: Profile) -> Grammar:
    """Named blocks with bullets, one blank line between them."""
    name = line("name", profile.name_chars, not_first="#")
    block = Named("described", seq(f"{marker} ", name, "\n", bullets(bullet_bounds, profile)))
    return repeat(block, *bounds, "\n\n")


def _words(name: str, marks: CharSet, bounds: Range, longest: int) -> Grammar:
    tail = LETTER | marks
    word = alt(
        seq(CharClass(LETTER), CharClass(tail, 0, longest - 1)),
        seq(CharClass(marks), CharClass(LETTER), CharClass(tail, 0, longest - 2)),
        CharClass(CharSet.of(LONE_MARKS)),
    )
    return Named(name, repeat(Token("tag_word" if marks is TAG_MARKS else "word", word), *bounds, " "))


@cache
def preview(profile: Profile) -> Grammar:
    """Everything of a preview after its first header line."""
    text = lambda name, bounds: _words(name, TEXT_MARKS, bounds, profile.word_chars)  # noqa: E731
    tag = seq("- ", _words("tag", TAG_MARKS, profile.tag_words, profile.word_chars))
    return seq(
        text("highlight", profile.highlight_words),
        f"\n\n{stages.TITLE}\n", text("title", profile.title_words),
        f"\n\n{stages.TAGS}\n", repeat(tag, TAGS, TAGS, "\n"),
        f"\n\n{stages.ARCHETYPE}\n", text("archetype", profile.archetype_words),
    )  # fmt: skip


@cache
def short_arcs(profile: Profile) -> Grammar:
    """Arc blocks numbered from 1; nested options, because the number of the next arc depends on the arcs so far."""
    title = line("arc_title", profile.name_chars)
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
def chapter_names(how_many: int, profile: Profile) -> Grammar:
    """Exactly ``how_many`` chapter names."""
    name = seq("- ", line("chapter_name", profile.name_chars, not_first="#"))
    return repeat(name, how_many, how_many, "\n")


@cache
def focuses(profile: Profile) -> Grammar:
    """Narrative focuses on one line."""
    return Named("focuses", repeat(line("focus", profile.focus_chars, without=";"), *profile.focuses, "; "))


@cache
def card_body(profile: Profile) -> Grammar:
    """A chapter card after ``**Narrative Focuses:** ``."""
    return seq(focuses(profile), "\n**Chapter Summary:**\n", bullets(profile.chapter_summary, profile))


def scene_opening(counts: Iterable[int], profile: Profile) -> Grammar:
    """A scene's name and word count, after ``#### Scene k: ``."""
    return seq(line("scene_name", profile.name_chars), "\n**Word Count:** ", number_up_to("count", counts), "\n")


@cache
def scene_body(profile: Profile) -> Grammar:
    """A scene after ``**Embedding Space:** ``."""
    return seq(
        vector(), "\n**Narrative Focus:** ", focuses(profile),
        "\n**Narrative Perspective:** ", line("perspective", profile.perspective_chars),
        "\n**Scene Summary:**\n", bullets(profile.scene_summary, profile),
    )  # fmt: skip


@cache
def prose() -> Grammar:
    """Paragraphs with one blank line between them, then the closing fence.

    No paragraph begins with ``#`` or a back-tick, so none can look like a heading or a fence.
    """
    first = CharClass(SOLID - CharSet.of("#`"))
    paragraph = Token("paragraph", seq(first, optional(seq(CharClass(WRITING, 0, None), CharClass(SOLID)))))
    return seq(repeat(paragraph, 1, None, "\n\n"), f"\n{stages.FENCE}")

"""The small parts of stages, as in the released grammar (trajectory specification 4.4).

All its oddities are kept on purpose: counts of any two to five digits, optional newlines, arbitrary arc and scene
numbers. Stricter rules stand elsewhere (``strict.py`` judges them, ``phrases.py`` writes by them).
"""

from polaris_jax.trajectory.book import DIMENSIONS
from polaris_jax.trajectory.charset import CharSet
from polaris_jax.trajectory.grammar import CharClass, Grammar, Literal, Named, Token, alt, optional, repeat, seq

LINE = ~CharSet.of("\n")
# Python's white space, as an explicit list, so that it is the same in every dialect.
SPACE = CharSet.of(
    ("\t", "\r"), ("\x1c", " "), "\x85\xa0\u1680", ("\u2000", "\u200a"), "\u2028\u2029\u202f\u205f\u3000"
)
DIGIT = CharSet.of(("0", "9"))
NONZERO = CharSet.of(("1", "9"))

LETTER = CharSet.of(
    ("A", "Z"), ("a", "z"), ("0", "9"), ("\u00c0", "\u00d6"), ("\u00d8", "\u00f6"), ("\u00f8", "\u017f")
)
LONE_MARKS = "&\u2014\u2013\u201c\u201d\u2018\u2019\u2026"
TAG_MARKS = CharSet.of("&'\"`\u00b4/().:+-\u2014\u2013\u201c\u201d\u2018\u2019\u2026")
TEXT_MARKS = TAG_MARKS | CharSet.of(",;!?")

NL = Literal("\n")
maybe_nl = optional(NL)

MAX_ARCS = 12
MAX_CHAPTERS_PER_ARC = 99
MAX_SCENES = 12
MAX_FOCUSES = 7
TAGS = 7
HIGHLIGHT_WORDS = (55, 140)
TITLE_WORDS = (1, 8)
ARCHETYPE_WORDS = (45, 190)
# Most bullets per unit.
RULES, SHORT, MEDIUM, LONG, STYLE = 90, 20, 40, 80, 40
ARCHETYPE, CHARACTER, SCENE, CHAPTER, CHAPTER_24B = 10, 20, 20, 80, 32
# Most units.
ARCHETYPES, CHARACTERS = 32, 20


def line(name: str, high: int) -> Token:
    """1 to ``high`` characters of one line."""
    return Token(name, CharClass(LINE, 1, high))


def integer(name: str, largest: int) -> Token:
    """1..``largest`` without leading zero, for ``largest`` = 12 or 99."""
    if largest == 99:
        return Token(name, seq(CharClass(NONZERO), CharClass(DIGIT, 0, 1)))
    return Token(name, alt(seq("1", CharClass(CharSet.of(("0", chr(ord("0") + largest - 10))))), CharClass(NONZERO)))


bullet = Named("bullet_line", seq("- ", line("bullet", 300)))
bullet_lines = seq(bullet, NL)


def bullets(high: int, low: int = 1) -> Grammar:
    """Bullets that all end with a newline."""
    return repeat(bullet_lines, low, high)


def open_bullets(high: int) -> Grammar:
    """Bullets of which the last has no newline."""
    return repeat(bullet, 1, high, NL)


dimension = Token("dimension", CharClass(DIGIT, 1, 2))
vector = Named(
    "vector", seq(*[part for name in DIMENSIONS for part in (f"{', ' * (name != DIMENSIONS[0])}{name}: ", dimension)])
)
count = Token("count", CharClass(DIGIT, 2, 5))

# A focus may end in a semicolon, which also begins the separator: the parse without it is tried first.
solid, solid_end = CharClass(~SPACE), CharClass(~(SPACE | CharSet.of(";")))
inside = CharClass(~CharSet.of("\n;"), 0, 63)
focus = Token("focus", alt(seq(solid, optional(seq(inside, solid_end))), seq(solid, inside, ";")))
focuses = Named("focuses", repeat(focus, 1, MAX_FOCUSES, "; "))


def word(marks: CharSet) -> Token:
    """One preview word: at most one leading mark, then letters and marks; or a lone typographic mark."""
    tail = CharClass(LETTER | marks, 0, None)
    return Token(
        "word",
        alt(
            seq(CharClass(LETTER), tail),
            seq(CharClass(marks), CharClass(LETTER), tail),
            CharClass(CharSet.of(LONE_MARKS)),
        ),
    )


text_word, tag_word = word(TEXT_MARKS), word(TAG_MARKS)
gap = CharClass(SPACE - CharSet.of("\n"), 1, None)


def words(item: Grammar, bounds: tuple[int, int]) -> Grammar:
    """Words joined by horizontal whitespace."""
    return repeat(item, *bounds, gap)


highlight = Named("highlight", words(text_word, HIGHLIGHT_WORDS))
title = Named("title", words(text_word, TITLE_WORDS))
tag = Named("tag", words(tag_word, (1, 8)))
tags = repeat(seq("- ", tag, NL), TAGS, TAGS)
archetype = Named("archetype", words(text_word, ARCHETYPE_WORDS))

arc_number = Token("arc_number", seq(CharClass(NONZERO), CharClass(DIGIT, 0, None)))
arc_head = Named("arc_head", seq("### Arc ", arc_number, ": ", line("arc_title", 120), NL))


def arcs(body: Grammar, after: Grammar = maybe_nl) -> Grammar:
    """1-12 arc blocks: head, body and ``after``, by default an optional newline."""
    return repeat(Named("arc", seq(arc_head, body, after)), 1, MAX_ARCS)


short_arcs, medium_arcs, long_arcs = arcs(bullets(SHORT)), arcs(bullets(MEDIUM)), arcs(bullets(LONG))
chapter_count = integer("chapter_count", 99)
chapter_counts = arcs(seq("* ", chapter_count, NL))
chapter_name = line("chapter_name", 120)
chapter_names = arcs(repeat(seq("- ", chapter_name, NL), 1, MAX_CHAPTERS_PER_ARC))
chapter_head = seq("#### ", chapter_name, NL)
chapter_vectors = arcs(repeat(seq(chapter_head, vector, NL), 1, MAX_CHAPTERS_PER_ARC))
chapter_word_counts = arcs(repeat(seq(chapter_head, count, maybe_nl), 1, MAX_CHAPTERS_PER_ARC))

archetypes = repeat(Named("described", seq("### ", line("name", 120), NL, bullets(ARCHETYPE), maybe_nl)), 1, ARCHETYPES)
style = seq(open_bullets(STYLE), maybe_nl)
character_bullets = seq(open_bullets(CHARACTER), maybe_nl)
character = Named("described", seq("#### ", line("name", 120), NL, character_bullets))
characters = repeat(seq(character, maybe_nl), 1, CHARACTERS)

perspective = line("perspective", 200)
scene_bullets = seq(open_bullets(SCENE), maybe_nl)
scene_number = integer("scene_number", MAX_SCENES)
scene = Named(
    "scene",
    seq(
        "#### Scene ",
        scene_number,
        ": ",
        line("scene_name", 120),
        NL,
        "**Word Count:** ",
        count,
        NL,
        "**Embedding Space:** ",
        vector,
        NL,
        "**Narrative Focus:** ",
        focuses,
        NL,
        "**Narrative Perspective:** ",
        perspective,
        NL,
        "**Scene Summary:**",
        NL,
        scene_bullets,
    ),
)
scenes = repeat(seq(scene, maybe_nl), 1, MAX_SCENES)


def card_head(planned: dict | None = None) -> Grammar:
    """Name, count and vector lines of a chapter card; literals if a plan has fixed them."""
    name: Named
    number: Named
    numbers: Named
    if planned is None:
        name, number, numbers = chapter_name, count, vector
    else:
        name = Named("chapter_name", Literal(planned["chapter_name"]))
        number = Named("count", Literal(str(planned["chapter_word_count"])))
        numbers = Named("vector", Literal(planned["chapter_embedding_space"]))
    return seq("### ", name, NL, "**Word Count:** ", number, NL, "**Embedding Space:** ", numbers)


def card_body(most_bullets: int) -> Grammar:
    """The rest of a chapter card after its head, from the newline on."""
    return seq(NL, "**Narrative Focuses:** ", focuses, NL, "**Chapter Summary:**", NL, open_bullets(most_bullets))


def card(most_bullets: int = CHAPTER, planned: dict | None = None) -> Named:
    """A chapter card without final newline."""
    return Named("card", seq(card_head(planned), card_body(most_bullets)))


def short_line(longest: int) -> Grammar:
    """Up to twelve spaces, then neither ``#`` nor whitespace, at most ``longest`` characters in all."""
    start = CharClass(~(SPACE | CharSet.of("#")))
    return alt(*[seq(" " * indent, start, CharClass(LINE, 0, longest - indent - 1)) for indent in range(13)])

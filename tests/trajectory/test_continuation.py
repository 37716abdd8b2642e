"""What may follow a half-written text is exactly what the grammar still allows."""

import random

import pytest

from polaris_jax.trajectory import MINI, phrases
from polaris_jax.trajectory.charset import CharSet
from polaris_jax.trajectory.continuation import continuation, fixed_start, fixed_text
from polaris_jax.trajectory.grammar import CharClass, Literal, Named, alt, optional, repeat, seq

GRAMMARS = {
    "preview": phrases.preview(MINI),
    "arcs": phrases.short_arcs(MINI),
    "card": phrases.card_body(MINI),
    "scene": phrases.scene_body(MINI),
    "opening": phrases.scene_opening([50, 100, 250], MINI),
    "people": seq(phrases.described("###", (1, 3), (1, 2), MINI), "\n\n## Writing Style\n"),
    "prose": phrases.prose(),
    "counted": repeat(CharClass(CharSet.of("ab"), 2, 3), 2, 4, ", "),
}


@pytest.mark.parametrize("name", GRAMMARS)
def test_a_member_cut_anywhere_can_go_on_to_itself_and_only_to_members(name):
    grammar, rng = GRAMMARS[name], random.Random(name)
    for _ in range(4):
        text = grammar.sample(rng)
        for cut in sorted({0, len(text), *(rng.randint(0, len(text)) for _ in range(6))}):
            rest = continuation(grammar, text[:cut])
            assert rest is not None
            assert rest.matches(text[cut:]), (name, cut)
            assert grammar.matches(text[:cut] + rest.sample(rng)), (name, cut)


def test_a_continuation_allows_no_ending_that_the_grammar_does_not():
    grammar = GRAMMARS["counted"]
    letters = "ab, "
    for text in ("", "a", "ab", "ab,", "ab, ba", "aba, bab, ", "ab, ab, ab, aba"):
        rest = continuation(grammar, text)
        for ending in ("", "a", "b", "ab", ", ab", ", abb", "b, ab", ", ", ", a", *(one * 2 for one in letters)):
            assert (rest is not None and rest.matches(ending)) == grammar.matches(text + ending), (text, ending)


def test_nothing_follows_what_is_no_beginning():
    assert continuation(GRAMMARS["counted"], "abc") is None
    assert continuation(GRAMMARS["counted"], "ab, ab, ab, ab, ") is None


def test_what_a_grammar_fixes_is_known_without_asking():
    fixed = Named("x", seq("- ", repeat("a", 2, 2, ", "), alt("b", "b")))
    assert fixed_text(fixed) == "- a, ab"
    assert fixed_text(seq("a", optional("b"))) is None
    assert fixed_start(seq("The ", Named("n", Literal("book")), CharClass(CharSet.of("ab")))) == "The book"
    assert fixed_start(phrases.bullets_from(("one", "two"), (1, 5), MINI)) == "- one\n- two"

"""However early a stage is cut off, the shortest continuation completes it."""

import random

import pytest

from polaris_jax.sampling.shortest_completion import shortest, shortest_completion
from polaris_jax.trajectory import stages
from polaris_jax.trajectory.charset import CharSet
from polaris_jax.trajectory.grammar import CharClass, Token, alt, optional, repeat, seq

LETTERS = CharClass(CharSet.of(("a", "z")), 1, 20)
ROLES = ("book_preview", "book_plan", "first_chapter_plan", "scene_breakdown", "book_characters_list")


@pytest.mark.parametrize("role", ROLES)
def test_every_prefix_of_a_stage_can_be_completed(role):
    node = stages.element(role)
    rng = random.Random(3)
    for _ in range(3):
        text = node.sample(rng)[:1500]
        for cut in {0, 1, len(text), *(rng.randrange(len(text)) for _ in range(12))}:
            rest = shortest_completion(node, text[:cut])
            assert rest is not None
            assert node.matches(text[:cut] + rest.sample(rng))


@pytest.mark.parametrize(
    ("node", "text", "continuation"),
    [
        (seq("- ", repeat("ab", 2, 5, ", "), "."), "- ab", ", ab."),
        (seq("- ", repeat("ab", 2, 5, ", "), "."), "- ab, ab, a", "b."),
        (seq("x", optional("yy"), alt("long end", "end")), "x", "end"),
        (seq("x", optional("yy"), alt("long end", "end")), "xl", "ong end"),
        (repeat(seq("- ", LETTERS, "\n"), 1, 9), "- abc\n", ""),
        (repeat(seq("- ", LETTERS, "\n"), 1, 9), "- abc", "\n"),
        (repeat(seq(LETTERS, ";"), 1, None), "a;b;cd", ";"),
    ],
)
def test_nothing_is_added_that_is_not_needed(node, text, continuation):
    rest = shortest_completion(node, text)
    assert shortest(rest) == len(continuation)
    assert rest.sample(random.Random(0)) == continuation


def test_open_places_stay_short_but_within_their_bounds():
    node = seq("- ", Token("line", CharClass(CharSet.of(("a", "z")), 5, None)), "\n")
    rest = shortest_completion(node, "- ab")
    assert shortest(rest) == 4
    assert rest.longest < 100


def test_a_text_that_went_wrong_has_no_completion():
    assert shortest_completion(seq("abc", LETTERS), "abd") is None

"""Regular expression, decoder grammar, parser and sampler of a node describe one language."""

import random
import unicodedata

import pytest
from decoding import decoder_accepts

from polaris_jax.trajectory import ELEMENTS
from polaris_jax.trajectory.charset import CharSet
from polaris_jax.trajectory.grammar import CharClass, Grammar, Named, Token, alt, optional, repeat, seq
from polaris_jax.trajectory.scripts import BASE as WRITING
from polaris_jax.trajectory.tree import Failure

LOWER = CharSet.of(("a", "z"))
ITEM = Named("item", seq("- ", Token("text", CharClass(LOWER, 1, 5))))
SHOPPING = seq("## List\n", repeat(ITEM, 1, 3, "\n"), optional("\n\n## End"))


@pytest.mark.parametrize(
    ("text", "member"),
    [
        ("## List\n- a", True),
        ("## List\n- abcde\n- b\n- c\n\n## End", True),
        ("## List\n- a\n- b\n- c\n- d", False),
        ("## List\n- abcdef", False),
        ("## List\n", False),
        ("## List\n- a\n", False),
        ("## List\n- a\n\n## En", False),
    ],
)
def test_regex_parser_and_decoder_give_one_verdict(text, member):
    assert SHOPPING.matches(text) is member
    assert (not isinstance(SHOPPING.parse(text), Failure)) is member
    assert decoder_accepts(SHOPPING.lark(), text) is member


def test_the_tree_names_its_parts():
    assert SHOPPING.parse("## List\n- a\n- bc").texts("text") == ("a", "bc")


def test_a_failure_says_where_and_in_which_part():
    failure = SHOPPING.parse("## List\n- a\n- 7")
    assert (failure.offset, failure.field) == (14, "text")


def test_longest_member():
    assert SHOPPING.longest == len("## List\n") + 3 * 7 + 2 + len("\n\n## End")


def test_an_ambiguous_split_is_still_found():
    # A greedy match would read "a;" as the first word and then miss the separator.
    word = Token("word", CharClass(CharSet.of("ab;"), 1, 9))
    listed = Named("listed", repeat(word, 1, 3, "; "))
    assert listed.parse("a; b;").texts("word") == ("a", "b;")


def test_charset_algebra_agrees_with_membership():
    vowels = CharSet.of("aeiou")
    for char in "abz\n\u00e9\U0001f600":
        assert (char in ~vowels) is (char not in vowels)
        assert (char in LOWER - vowels) is (char in LOWER and char not in vowels)
        assert bool(CharClass(~vowels).matches(char)) is (char in ~vowels)


@pytest.mark.parametrize("name", [name for name, node in ELEMENTS.items() if isinstance(node, Grammar)])
def test_every_element_accepts_and_parses_what_it_samples(name):
    rng = random.Random(name)
    for _ in range(3):
        text = ELEMENTS[name].sample(rng)
        assert ELEMENTS[name].matches(text)
        assert not isinstance(ELEMENTS[name].parse(text), Failure)


def test_whatever_is_written_in_the_writing_alphabet_is_in_normal_form_c():
    for low, high in WRITING.ranges:
        for code in range(low, high + 1):
            assert unicodedata.normalize("NFC", chr(code)) == chr(code)
            assert unicodedata.combining(chr(code)) == 0
            assert unicodedata.category(chr(code)) not in ("Cc", "Zl", "Zp")


def test_alternatives_share_no_lexeme_prefix_across_newlines():
    block = seq("\n\n", alt("## Next\n", "### Block\n"))
    for text in ("\n\n## Next\n", "\n\n### Block\n"):
        assert decoder_accepts(seq("x", block).lark(), "x" + text)

"""The stage grammars in llama.cpp's format describe the same language."""

import random
import re

import pytest

from polaris_jax.trajectory import ROLES
from polaris_jax.trajectory.charset import CharSet
from polaris_jax.trajectory.gbnf import gbnf
from polaris_jax.trajectory.grammar import CharClass
from polaris_jax.trajectory.stages import FAMILIES, element, element_name

# A quoted string, a class of characters, the name of a rule, anything else.
TOKENS = re.compile(r'("[^"]*")|(\[[^\]]*\])|([a-z][a-z0-9-]*)|(.)')


def as_regex(grammar):
    """A Python expression for GBNF text: rules inlined, quotes resolved; the two formats share all the rest."""
    rules = dict(line.split(" ::= ", 1) for line in grammar.strip().split("\n"))

    def inlined(body):
        parts = []
        for literal, chars, name, other in TOKENS.findall(body):
            if name:
                parts.append(f"(?:{inlined(rules[name])})")
            elif literal:
                parts.append(f"(?:{re.escape(literal[1:-1].encode('ascii').decode('unicode_escape'))})")
            else:
                parts.append(chars or {"(": "(?:", " ": ""}.get(other, other))
        return "".join(parts)

    return re.compile(inlined(rules["root"]))


@pytest.mark.parametrize(("low", "high"), [(0, 3), (2, 2), (1, None), (0, 600), (501, 733), (700, 700), (650, None)])
def test_wide_repeats_keep_their_bounds(low, high):
    pattern = as_regex(gbnf(CharClass(CharSet.of("x"), low, high)))
    for count in {0, low - 1, low, low + 1, 99, 100, 101, 499, 600, 650, 732, high or 900, (high or 900) + 1}:
        if count >= 0:
            assert bool(pattern.fullmatch("x" * count)) is (low <= count <= (high or 10**9)), count


@pytest.mark.parametrize("name", sorted({element_name(role, family) for role in ROLES[1:] for family in FAMILIES}))
def test_members_of_a_stage_are_members_of_its_gbnf(name):
    grammar, rng = element(name), random.Random(0)
    pattern = as_regex(grammar.gbnf())
    for _ in range(3):
        text = grammar.sample(rng)
        assert pattern.fullmatch(text)
        assert not pattern.fullmatch("\x00" + text) or grammar.matches("\x00" + text)

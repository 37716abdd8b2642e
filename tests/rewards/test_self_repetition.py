"""Self-repetition: the fast way agrees with the definition, and costs what a reader would call repetitive."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polaris_jax.errors import InputError
from polaris_jax.rewards import RepetitionSpec, self_repetition
from polaris_jax.rewards.repetition import self_repetition_plain

words = st.sampled_from(["a", "b", "A", "über", ".", "\n", "don't", "\u2028", "x y"])
texts = st.lists(words, max_size=60).map(" ".join)


@settings(max_examples=200, deadline=None)
@given(texts, st.integers(1, 5), st.integers(1, 20))
def test_fast_is_the_definition(text, n, window):
    spec = RepetitionSpec(n=n, window=window)
    assert self_repetition(text, spec) == self_repetition_plain(text, spec)


def test_fast_is_the_definition_beyond_sixteen_bits_of_vocabulary():
    text = " ".join(f"w{i % 70_001}" for i in range(70_020)) + " tail" * 3
    fast, plain = self_repetition(text), self_repetition_plain(text)
    assert fast == plain
    assert fast.ngrams > 0


def test_a_refrain_far_away_costs_less_than_one_close_by():
    filler = " ".join(f"w{i}" for i in range(200))
    line = "the lamp went out over the water"
    near, far = self_repetition(f"{line} {line} {filler}"), self_repetition(f"{line} {filler} {line}")
    assert near.ngrams == far.ngrams > 0
    assert near.near > far.near == 0


def test_repeated_lines_count_and_the_cap_holds():
    assert self_repetition("one\ntwo\none\n  one  ").lines == 0.5
    assert self_repetition("again and again\n" * 500, RepetitionSpec(cap=0.3)).penalty == 0.3


@pytest.mark.parametrize("text", ["", "one two three", "   \n "])
def test_too_short_to_repeat(text):
    assert self_repetition(text).penalty == 0


def test_impossible_settings_are_refused():
    with pytest.raises(InputError, match="window=0"):
        RepetitionSpec(window=0)

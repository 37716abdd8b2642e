"""The story is what comes after thinking, and thinking alone is no story."""

import pytest

from polaris_jax.rewards import count_thought_tokens, released, split_thinking


@pytest.mark.parametrize(
    ("text", "opened", "thoughts", "story"),
    [
        ("plan\n</think>\n\nOnce.", True, "plan", "Once."),
        ("<think>plan</think>Once.", False, "plan", "Once."),
        ("Once upon a time.", False, None, "Once upon a time."),
        ("still thinking", True, "still thinking", ""),
        ("<think>\nstill thinking", False, "still thinking", ""),
        ("<think></think>Once. </think> again", False, None, "Once. </think> again"),
    ],
)
def test_split(text, opened, thoughts, story):
    found = split_thinking(text, opened=opened)
    assert (found.thoughts, found.story) == (thoughts, story)


def test_as_released_an_unclosed_block_is_the_story():
    assert released.split_thinking("<think>hm").story == "<think>hm"


def test_tokens_of_the_thinking_part():
    text = "ab</THINK>cd"
    offsets = [(0, 2), (2, 10), (10, 12)]
    assert count_thought_tokens(text, offsets) == 2
    assert count_thought_tokens(text, offsets, length=1) == 1
    assert count_thought_tokens("abcd", [(0, 4)]) == 0

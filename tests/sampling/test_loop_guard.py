"""A loop is found as soon as its text repeats, and text is cut where a reader would cut it."""

import numpy as np
import pytest

from polaris_jax.sampling.guard import LoopGuard, last_clean_end, last_sentence_end, tokens_within

GUARD = LoopGuard()


def first_alarm(tokens):
    for n in range(1, len(tokens) + 1):
        start = GUARD.repeats_from(tokens[:n])
        if start is not None:
            return n, start
    return None


def test_the_third_copy_of_a_passage_raises_the_alarm_after_twelve_tokens():
    opening, passage = list(range(100, 130)), list(range(20))
    assert first_alarm(opening + passage * 4) == (30 + 40 + 12, 30 + 20)


def test_a_single_token_repeated_is_a_loop_too():
    assert first_alarm([1, 2, 3] + [7] * 40) == (3 + 14, 4)


def test_refrains_and_distant_repetition_are_not_loops():
    passage = list(range(12))
    assert first_alarm([*passage, 50, *passage, *range(60, 90)]) is None
    far = [token for i in range(4) for token in (*passage, *range(1000 * (i + 1), 1000 * (i + 1) + 200))]
    assert first_alarm(far) is None


@pytest.mark.parametrize(
    ("text", "clean", "sentence"),
    [
        ("One. Two", "One.", "One."),
        ("One.\n\nTwo. Thr", "One.\n\n", "One.\n\nTwo."),
        ("“One!” he said", "“One!”", "“One!”"),
        ("one two", "", ""),
        ("Pi is 3.14 and", "", ""),
        ("Wait… what", "Wait…", "Wait…"),
    ],
)
def test_cutting_places(text, clean, sentence):
    assert text[: last_clean_end(text)] == clean
    assert text[: last_sentence_end(text)] == sentence


def test_tokens_within_never_splits_a_character():
    pieces = [b"caf", "é".encode()[:1], "é".encode()[1:], b" au", b" lait"]
    text = b"".join(pieces).decode()
    assert [tokens_within(pieces, n) for n in (0, 3, 4, 6, 7, len(text))] == [0, 1, 3, 3, 4, 5]


def test_a_whole_text_is_searched_as_if_token_after_token():
    rng = np.random.default_rng(0)
    for _ in range(40):
        tokens = [int(token) for token in rng.integers(0, 2, 700)]
        passage = [int(token) for token in rng.integers(2, 9, 30)]
        for place in rng.integers(0, 600, int(rng.integers(0, 5))):
            tokens[place : place + 30] = passage
        guard = LoopGuard(window=300, span=int(rng.integers(8, 24)))
        alarms = (guard.repeats_from(tokens[:n]) for n in range(1, len(tokens) + 1))
        assert guard.first_loop(tokens) == next((start for start in alarms if start is not None), None)

"""Numbers as a person writes them."""

import pytest

from polaris_jax.report import formats


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (9999, "9,999"),
        (12_345, "12.3 k"),
        (135_264_000, "135 M"),
        (999_960, "1.00 M"),
        (999_400, "999 k"),
        (99_960, "100 k"),
        (7_615_616_512, "7.62 B"),
        (None, "–"),
        ("many", "–"),
    ],
)
def test_compact(value, text):
    assert formats.compact(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4242, "0.42 s"),
        (9.99, "9.99 s"),
        (37.4, "37 s"),
        (59.7, "1 min 00 s"),
        (372, "6 min 12 s"),
        (3599.8, "1 h 00 min"),
        (3725, "1 h 02 min"),
        (float("inf"), "–"),
        (True, "–"),
    ],
)
def test_duration(seconds, text):
    assert formats.duration(seconds) == text


def test_signs_and_shares():
    assert formats.signed(-0.25) == "−0.250"
    assert formats.signed(0.25, 1) in ("+0.2", "+0.3")
    assert formats.decimal(-1.5, 1) == "−1.5"
    assert formats.share(0.6043, 2) == "60.43 %"
    assert formats.share(float("nan")) == "–"


def test_plurals():
    assert formats.plural(1, "step") == "1 step"
    assert formats.plural(1200, "step") == "1,200 steps"
    assert formats.plural(2, "trajectory", "trajectories") == "2 trajectories"


def test_special_strings_are_set_apart_and_the_rest_is_escaped():
    assert formats.mark_specials("a<b<|eot_id|>") == 'a&lt;b<i class="special">&lt;|eot_id|&gt;</i>'


def test_paragraphs_are_what_blank_lines_separate():
    assert formats.paragraphs("One\nline.\n\n  \n\nTwo.\n") == ["One\nline.", "Two."]

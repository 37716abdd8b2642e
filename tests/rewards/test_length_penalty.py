"""Length: the request in a prompt is read and hidden from the judge, and missing it costs reward."""

import pytest

from polaris_jax.rewards import LengthSpec, Tolerance, judge_length, released, requested_words, without_length_request
from polaris_jax.rewards.length import count_words, find_target


def words(count):
    return "w " * count


def test_a_thousands_separator_is_part_of_the_number():
    assert requested_words("It should be 2,500 words long.") == 2500
    assert released.requested_words("It should be 2,500 words long.") == 500
    assert requested_words("Make it long.") is None


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        ("A bridge story. It should be 900 words long.", "A bridge story."),
        ("A bridge story. It should be 900 words long. No ghosts.", "A bridge story. No ghosts."),
        ("It should be 900 words long. No ghosts.", "No ghosts."),
        ("Write about Dr. Smith in 900 words long prose.", "Write about Dr. Smith in 900 words long prose."),
        ("Meet Mr. J. Fox. He lies, 900 words long.", "Meet Mr. J. Fox."),
        ('Say "stop!" It is 900 words long.', 'Say "stop!"'),
        ("A list\n900 words long\nNo ghosts", "A list\nNo ghosts"),
        ("No request.", "No request."),
    ],
)
def test_only_the_length_request_is_hidden_from_the_judge(prompt, shown):
    assert without_length_request(prompt) == shown


def test_the_row_goes_before_the_prompt_and_the_prompt_before_the_reference():
    spec = LengthSpec()
    assert find_target("900 words long", spec, given=400, human_reference_words=700).words == 400
    assert released.length_target("900 words long", spec, given=400) == 900
    assert find_target("900 words long", spec, human_reference_words=700).words == 900
    assert find_target("", spec, human_reference_words=700).words == 700
    assert find_target("", LengthSpec(target=300), human_reference_words=700).words == 300
    assert find_target("50 words long", spec).words == 150


@pytest.mark.parametrize(
    ("count", "penalty"), [(400, 1 - 400 / 650), (649, 1 / 650), (650, 0), (1600, 0), (2000, 0.25), (9000, 1)]
)
def test_penalty_outside_the_band(count, penalty):
    assert judge_length(words(count), 1000).length_penalty == pytest.approx(penalty)


def test_blank_is_too_few_words_or_too_much_white_space():
    assert judge_length(words(149), 1000).blank_penalty == 1
    assert judge_length(words(150), 1000).blank_penalty == 0
    assert judge_length("w".ljust(30) * 200, 200).blank_penalty == 1


def test_a_narrow_tolerance_rewards_the_target_itself():
    spec = LengthSpec(min_words=5, lower=Tolerance.of(0), upper=Tolerance(0.1, 2, 50))
    assert judge_length(words(100), 100, spec).length_reward == 1
    assert judge_length(words(105), 100, spec).length_reward == pytest.approx(0.5)
    assert judge_length(words(99), 100, spec).length_penalty > 0


def test_words_are_counted_after_html_entities():
    assert count_words("don&#39;t &amp; won't") == 4

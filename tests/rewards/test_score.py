"""The reward of a response: composed as the recipe says, and absent when judging failed."""

import pytest
from rubric_replies import PROMPT, STORY, reply

from polaris_jax.errors import InputError
from polaris_jax.rewards import RewardSpec, TokenCounts, read_replies, score


def test_components_and_weights():
    found = score("Again. " * 400, PROMPT, judgement=reply())
    parts = found.components
    assert parts["story_quality"] == pytest.approx(0.4)
    assert found.scalar == pytest.approx(
        max(-2, 0.4 - 1.5 * parts["self_rep"] - 0.8 * parts["length_pen"] - parts["blank_pen"])
    )
    assert parts["length_pen"] == pytest.approx(1 - 400 / 650)


def test_a_failed_judgement_has_no_score_whatever_the_rest_is_worth():
    found = score(STORY, PROMPT, judgement=reply(negative_predictability_cliche_score=99))
    assert (found.scalar, found.failed) == (None, "out_of_range")
    assert found.components["story_quality"] is None
    assert found.components["length_pen"] == 0
    as_released = score(STORY, PROMPT, judgement="no JSON", as_released=True)
    assert (as_released.scalar, as_released.failed) == (0.0, None)


def test_thinking_for_ever_is_never_better_than_a_bad_story():
    spec = RewardSpec(thinking_opened=True)
    bad = score("plan </think> bad.", PROMPT, judgement=reply(positive=0, negative=8), spec=spec)
    assert score("plan", PROMPT, spec=spec).scalar == score("plan</think>", PROMPT, spec=spec).scalar == -2
    assert bad.scalar >= -2
    assert score("plan</think>", PROMPT, as_released=True).scalar == 0


def test_nobody_judged():
    found = score(STORY, PROMPT)
    assert found.components["story_quality"] is None
    assert (found.scalar, found.failed) == (0.0, None)


def test_several_draws_are_averaged_with_their_variance():
    found = score(STORY, PROMPT, judgement=read_replies([reply(positive=10), reply(positive=12), "nonsense"]))
    quality = found.diagnostics["quality"]
    assert found.components["story_quality"] == pytest.approx(0.46)
    assert quality["variance"] == pytest.approx(0.0072)
    assert (quality["samples"], quality["unusable"]) == (2, 1)


def test_disagreement_of_the_judge_with_itself_is_in_the_diagnostics():
    found = score(STORY, PROMPT, judgement=reply(positive_total=90))
    assert found.components["story_quality"] == pytest.approx(0.4)
    assert found.diagnostics["quality"]["disagreements"] == [{"positive_total": [90, 60]}]
    assert score(STORY, PROMPT, judgement=reply(positive_total=90), as_released=True).scalar == pytest.approx(0.7)


def test_target_of_the_row_beats_the_prompt():
    assert score(STORY, PROMPT).components["length_pen"] == 0
    assert score(STORY, PROMPT, 4000).components["length_pen"] > 0


def test_token_penalties_count_in_full_when_asked_for():
    spec = RewardSpec(think_penalty=0.05, overlong_penalty=1.0, max_tokens=1000, overlong_buffer=200)
    cut = TokenCounts(900, 10, ended=False)
    assert score(STORY, PROMPT, spec=spec, tokens=cut).scalar == pytest.approx(-0.5)
    assert score(STORY, PROMPT, spec=spec, tokens=TokenCounts(900, 10)).scalar == 0
    assert score(STORY, PROMPT, spec=spec, tokens=TokenCounts(9000, 4000)).scalar == pytest.approx(-0.05)
    assert score(STORY, PROMPT, tokens=cut).scalar == 0


def test_a_reference_may_be_taken_as_the_best():
    found = score(STORY, PROMPT, is_human_reference=True, spec=RewardSpec(reference_best=True))
    assert found.scalar == 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"clipp": 1}, "rewards.clipp=1: no such field"),
        ({"length": {"min_words": "x"}}, "rewards.length.min_words='x'"),
        ({"length": 3}, "rewards.length=3"),
        ({"quality": {"dq": 1}}, "rewards.quality.dq=1"),
    ],
)
def test_settings_name_what_is_wrong(values, message):
    with pytest.raises(InputError, match=message):
        RewardSpec.of(values)


def test_settings_from_plain_values():
    spec = RewardSpec.of({"clip": 1, "length": {"lower": [0.1, 5, 50], "max_words": None}, "quality": {"dq": True}})
    assert (spec.clip, spec.length.lower.words(1000), spec.quality.dq) == (1, 50, True)
    assert spec.repetition == RewardSpec().repetition


@pytest.mark.parametrize("stored", [3, [], [1, 2], True])
def test_what_is_no_stored_reply_is_refused(stored):
    with pytest.raises(InputError, match="judge="):
        score(STORY, PROMPT, judgement=stored)

"""Story Quality: our totals, not the judge's; floor, cap, gate and clip as in the recipe."""

import json

import pytest
from rubric_replies import answer, brief, reply

from polaris_jax.errors import InputError
from polaris_jax.rewards import InvalidJudgeReply, QualitySpec, read_rubric_scores, story_quality


def quality(spec=QualitySpec(), story="", target=None, is_human_reference=False, **fields):
    return story_quality(read_rubric_scores(answer(**fields)), spec, story, target, is_human_reference)


def test_totals_are_added_up_and_wrong_ones_are_reported():
    read = read_rubric_scores(reply(positive_total=99, overall_score=70))
    assert (read.positive, read.negative) == (60, 20)
    assert read.disagreements == {"positive_total": (99, 60), "overall_score": (70, 40)}
    assert read_rubric_scores(reply()).disagreements == {}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("no JSON here", "invalid_json"),
        ("[1, 2]", "invalid_json"),
        (reply()[:200], "invalid_json"),
        (reply(negative_predictability_cliche_score="three"), "incomplete"),
        (reply(negative_predictability_cliche_score=True), "incomplete"),
        (reply(negative_predictability_cliche_score=9), "out_of_range"),
        (reply(positive_narrative_arc_pacing_score=-1), "out_of_range"),
        (reply(bonus_score=8.5), "out_of_range"),
        (json.dumps({"overall_score": 80}), "incomplete"),
    ],
)
def test_a_reply_without_all_scores_is_refused(text, kind):
    with pytest.raises(InvalidJudgeReply) as caught:
        read_rubric_scores(text)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    "text",
    [f"```json\n{reply()}\n```", f"Here:\n{reply()}\nDone.", json.dumps({"global_evaluation": answer()}), brief()],
)
def test_a_reply_may_be_fenced_nested_or_brief(text):
    assert read_rubric_scores(text).scores == read_rubric_scores(reply()).scores


def test_bonus_floor_and_penalty_cap_apply_strictly_beyond_their_bounds():
    assert quality(negative=3, bonus=5, penalty=2)[1].bonus_floored is False  # 30 = 60 / 2
    assert quality(negative=3, negative_mechanical_formatting_errors_score=4, bonus=5)[0] == pytest.approx(0.29)
    assert quality(negative=4, penalty=6)[1].penalty_capped is False  # 60 = 1.5 * 40
    assert quality(negative=2, penalty=6)[0] == pytest.approx(0.37)
    assert quality(QualitySpec(penalty_cap=None), negative=2, penalty=6)[0] == pytest.approx(0.34)


def test_scale_and_clip():
    assert quality(QualitySpec(scale=0.5, bias=3))[0] == pytest.approx(0.23)
    assert quality(QualitySpec(most=10))[0] == pytest.approx(0.10)
    assert quality(QualitySpec(positive_only=True), bonus=4)[0] == pytest.approx(0.64)


def test_disqualification_is_off_unless_asked_for_and_spares_references():
    gate, bad = QualitySpec(dq=True), {"negative_coherence_continuity_internal_consistency_pov_confusion_score": 7}
    assert quality(**bad)[0] > 0
    value, result = quality(gate, **bad)
    assert (value, result.disqualified) == (-1.59, ("n2",))
    assert quality(gate, is_human_reference=True, **bad)[0] > 0
    assert quality(gate, story="w " * 39, target=100)[1].disqualified == ("words",)
    assert quality(gate, story="w " * 40, target=100)[1].disqualified == ()


def test_impossible_settings_are_refused():
    with pytest.raises(InputError, match="divisor=0"):
        QualitySpec(divisor=0)

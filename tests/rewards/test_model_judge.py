"""Judges of language models: every fault is survived or named, no answer is paid twice, no score is invented."""

import json

import pytest
from rubric_replies import PROMPT, STORY, brief, reply
from servers import Proxy, completion

from polaris_jax.errors import InputError
from polaris_jax.llm import BudgetSpent, ClientSpec
from polaris_jax.rewards import JudgeSpec, judge_all, open_judge, read_rubric_scores, read_stored, score

GOOD = completion(brief())
PASSING = [
    "429",
    "500",
    "503 in HTML",
    "hang",
    "cut",
    "garbage",
    "not a completion",
    "empty",
    "prose",
    "half JSON",
    "cut JSON",
    "error in a 200",
]
LASTING = {
    "429": "rate_limit",
    "500": "server",
    "hang": "timeout",
    "cut": "connection",
    "garbage": "invalid_json",
    "empty": "empty",
    "prose": "invalid_json",
    "refusal": "refused",
}
OUT_OF_RANGE = completion(brief(positive=99))


@pytest.mark.parametrize("fault", [*PASSING, OUT_OF_RANGE], ids=[*PASSING, "score out of range"])
def test_a_passing_fault_costs_a_retry_and_nothing_else(proxy, connect, fault):
    proxy.faults = [fault, GOOD]
    judged = connect(proxy, timeout=1.0).judge(PROMPT, STORY)
    assert judged.failed is None
    assert judged.rubric_scores[0].scores == read_rubric_scores(brief()).scores
    assert proxy.calls == 2


@pytest.mark.parametrize("fault", LASTING)
def test_a_lasting_fault_is_a_named_failure_and_never_a_number(proxy, connect, fault):
    proxy.always = {"STORY": fault}
    judged = connect(proxy, timeout=0.5, attempts=2).judge(PROMPT, STORY)
    assert (judged.failed, judged.rubric_scores) == (LASTING[fault], ())
    assert proxy.calls == (1 if fault == "refusal" else 2)
    found = score(STORY, PROMPT, judgement=judged)
    assert (found.scalar, found.failed) == (None, LASTING[fault])
    assert found.components["story_quality"] is None


def test_one_failure_among_many_leaves_the_others_alone(proxy, connect):
    proxy.always = {"BAD": "500", "STORY": GOOD}
    seen = []
    found = judge_all(
        connect(proxy, attempts=2),
        [(PROMPT, "one"), (PROMPT, "BAD"), (PROMPT, "three")],
        lambda done, total: seen.append((done, total)),
    )
    assert [judged.failed for judged in found] == [None, "server", None]
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_draws_are_averaged_and_a_failed_draw_is_left_out(proxy, connect):
    proxy.faults = [completion(brief(positive=9)), "refusal", completion(brief(positive=11))]
    judged = connect(proxy, samples=3).judge(PROMPT, STORY)
    assert [answer.positive for answer in judged.rubric_scores] == [54, 66]
    found = score(STORY, PROMPT, judgement=judged)
    assert found.components["story_quality"] == pytest.approx((0.54 + 0.66) / 2 - 0.20)
    assert found.diagnostics["quality"]["variance"] == pytest.approx(0.0072)
    assert len({call["seed"] for call in proxy.requests}) == 3


def test_a_story_is_judged_once_ever(proxy, connect, tmp_path):
    proxy.always = {"STORY": GOOD}
    cache = str(tmp_path / "replies")
    first = connect(proxy, cache=cache).judge(PROMPT, STORY)
    again = connect(proxy, cache=cache).judge(PROMPT, STORY)
    assert (first.cached, again.cached, again.rubric_scores) == (False, True, first.rubric_scores)
    assert proxy.calls == 1
    replay = JudgeSpec("llm", ClientSpec("replay", "openai/smollm2", cache=cache), rubric="brief")
    judge = open_judge(replay)
    assert judge.judge(PROMPT, STORY).rubric_scores == first.rubric_scores
    assert judge.judge(PROMPT, "another").failed == "not_recorded"


def test_a_failure_is_not_remembered(proxy, connect, tmp_path):
    proxy.faults = ["refusal", GOOD]
    judge = connect(proxy, cache=str(tmp_path))
    assert judge.judge(PROMPT, STORY).failed == "refused"
    assert judge.judge(PROMPT, STORY).failed is None


def test_an_answer_that_breaks_the_schema_is_kept_for_the_record_and_gives_no_score(proxy, connect):
    proxy.always = {"STORY": completion(reply())}
    judged = connect(proxy, attempts=1).judge(PROMPT, STORY)
    assert (judged.failed, judged.unusable) == ("invalid_json", (reply(),)), "long keys break the brief schema"
    assert read_stored(json.loads(json.dumps(judged.to_json()))).failed == "invalid_json"


def test_a_judgement_survives_storage(proxy, connect):
    proxy.faults = [GOOD, "refusal"]
    judged = connect(proxy, samples=2).judge(PROMPT, STORY)
    stored = read_stored(json.loads(json.dumps(judged.to_json())))
    assert (stored.rubric_scores, stored.raw, stored.failed) == (judged.rubric_scores, judged.raw, None)


def test_the_judge_never_learns_the_requested_length(proxy, connect):
    proxy.always = {"STORY": GOOD}
    connect(proxy).judge(PROMPT, STORY)
    said = proxy.requests[0]["messages"][-1]["content"]
    assert "1000 words long" not in said
    assert "about a bridge" in said


def test_a_spent_budget_stops_and_is_not_a_failure_of_the_story(proxy, connect):
    proxy.always = {"STORY": GOOD}
    with pytest.raises(BudgetSpent):
        judge_all(connect(proxy, budget_tokens=100), [(PROMPT, STORY), (PROMPT, "b")])
    assert proxy.calls == 0


def test_nothing_to_judge_costs_nothing(proxy, connect):
    assert connect(proxy).judge(PROMPT, " \n").failed == "no_story"
    assert proxy.calls == 0


@pytest.mark.parametrize("fields", [{"kind": "oracle"}, {"kind": "llm"}, {"samples": 0}, {"rubric": "long"}])
def test_impossible_judges_are_refused(fields):
    with pytest.raises(InputError, match="judge"):
        JudgeSpec(**fields)


def test_a_real_model_answers_the_rubric(model_server, connect):
    """SmolLM2's scores mean nothing, but the schema holds: after faults on the way, each is present and in range."""
    with Proxy(model_server) as proxy:
        proxy.faults = ["429", "cut"]
        judged = connect(proxy, timeout=60.0).judge(PROMPT, "Mara crossed the bridge. The river was loud.")
        assert proxy.calls == 3
    assert judged.failed is None
    assert len(judged.rubric_scores) == 1
    assert -2 <= score("Mara crossed the bridge. " * 60, PROMPT, judgement=judged).scalar <= 2

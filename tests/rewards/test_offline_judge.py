"""The offline judge: deterministic, in the judge's format, and declared not to measure quality."""

from rubric_replies import PROMPT

from polaris_jax.rewards import OfflineJudge, read_rubric_scores, read_stored, score

VARIED = (
    'Mara came down to the bridge before the light did. The rope was wet. "You are late," said the ferryman, and '
    "spat. She gave him the coin anyway, because her brother had been counting on it, and because the river was loud "
    "enough to hide a lie. Behind them a dog began to bark; nobody in that village owned a dog."
)


def test_same_story_same_scores_and_they_survive_storage():
    judge = OfflineJudge()
    one, two = judge.judge(PROMPT, VARIED), judge.judge(PROMPT, VARIED)
    assert one == two
    assert read_stored(one.to_json()).rubric_scores == one.rubric_scores
    assert read_rubric_scores(one.raw[0]).disagreements == {}


def test_a_loop_scores_below_varied_prose():
    judge = OfflineJudge()
    loop = "The bridge was there. " * 60
    best, worst = (score(t, PROMPT, judgement=judge.judge(PROMPT, t)) for t in (VARIED, loop))
    assert best.components["story_quality"] > worst.components["story_quality"]


def test_nothing_to_judge_is_a_failure_not_a_zero():
    found = OfflineJudge().judge(PROMPT, "  \n")
    assert (found.failed, found.rubric_scores) == ("no_story", ())


def test_it_says_what_it_is_not():
    import polaris_jax.rewards.offline_judge as module

    assert "does NOT measure literary quality" in module.__doc__

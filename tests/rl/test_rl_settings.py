"""Why a run is refused before weights are loaded, what it prints at its start, and when it gives up."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from judged_runs import on_passages, on_prompts
from toys import groups

from polaris_jax.errors import InputError, RunError
from polaris_jax.rl import post_train, rl_config
from polaris_jax.rl.collapse import CollapseWatch
from polaris_jax.rl.config import judge_spec
from polaris_jax.rl.groups import reference_corrections
from polaris_jax.rl.preflight import judge_forecast, length_report
from polaris_jax.rl.sections import CollapseOptions
from polaris_jax.rl.tasks import RlTask

STORY = "the lamp on the hill was lit"


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("validation.every", 0, "validation.every=0: must be positive"),
        ("rl.kl_estimator", "k9", "rl.kl_estimator='k9': choose one of"),
        ("rl.dual_clip", 0.5, "rl.dual_clip=0.5: must be above 1"),
        ("rl.dual_clip", 1.0, "rl.dual_clip=1.0: must be above 1"),
        ("rl.clip_low", 1.5, "rl.clip_low=1.5: must be below 1"),
        ("rl.std_floor", -0.1, "rl.std_floor=-0.1: must not be negative"),
        ("rl.human_reference_floor", -1.0, "rl.human_reference_floor=-1.0: 0 or more"),
        ("rl.quorum", 1.5, "rl.quorum=1.5"),
        ("judge.provider", "oracle", "judge.provider='oracle': choose one of openai, gemini, replay"),
        ("judge.base_url", "localhost", "base_url='localhost'"),
        ("judge.budget_usd", 5.0, "budget_usd=5.0: needs prices"),
        ("judge.safety", "high", "only gemini has safety settings"),
        ("judge.api_key_env", "NO_SUCH_VARIABLE", "NO_SUCH_VARIABLE.*is not set"),
    ],
    ids=str,
)
def test_it_is_refused_in_one_line_and_nothing_is_written(make_config, tmp_path, monkeypatch, field, value, match):
    monkeypatch.setattr("polaris_jax.rl.loop.starting_state", None)  # weights would be loaded there
    config = on_passages(make_config(), "http://127.0.0.1:9/v1")
    *parents, name = field.split(".")
    part = config
    for parent in parents:
        part = part[parent]
    with part.ignore_type():
        part[name] = value
    with pytest.raises(InputError, match=match) as refused:
        post_train(config, tmp_path / "run", devices=jax.devices()[:1])
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def task(request, *, given=None, human=""):
    return RlTask(request, np.zeros(3, np.int32), request, 0, given, np.zeros(9, np.int32) if human else None, human)


def test_the_start_says_which_lengths_are_asked_for_and_who_says_so(make_config):
    config = rl_config(on_passages(make_config()))
    asked = [task("A tale of 2,000 words."), task("A tale.", given=4000), task("A poem.", human="word " * 1000)]
    assert str(length_report(asked, config)).startswith(
        "targets 1k-4k words (1 from the prompt, 1 from the row, 1 from"
    )
    assert length_report(asked, config).guessed == 0
    guessed = [*asked, task("Tell me of a keeper.")]
    assert str(length_report(guessed, config)).endswith("1 guessed")
    strict = replace(config, data=replace(config.data, guessed_lengths="refuse"))
    with pytest.raises(InputError, match="1 of 4 prompts name no length"):
        length_report(guessed, strict)


def test_the_price_is_told_before_the_start(make_config):
    config = on_passages(make_config(), "http://127.0.0.1:9/v1")
    config.judge.prices = (1.0, 10.0)
    config = rl_config(config)
    tasks = [task("A tale of 2,000 words.")] * 4
    found = judge_forecast(judge_spec(config, "replies"), config, tasks, [])
    assert found.calls == 3 * 2 * 4  # steps, prompts of a step, rows of a group
    assert found.usd == pytest.approx(found.prompt_tokens * 1e-6 + found.completion_tokens * 1e-5)
    known = [task(f"A tale of 2,000 words, number {n}.", human="word " * 2000) for n in range(4)]
    found = judge_forecast(judge_spec(config, "replies"), config, known, [])
    assert found.calls == 3 * 2 * 4 - 2  # six references, of which two are judged already
    half = judge_forecast(judge_spec(config, "replies"), config, tasks, [], done=1)
    assert half.calls == 2 * 2 * 4


def test_facts_of_the_start_are_on_disk(make_config, tmp_path):
    config = on_prompts(make_config(), tmp_path, {"prompt": "the river", "story": STORY, "uid": "a"})
    config.train.steps = 1
    facts = []
    post_train(config, tmp_path / "run", on_start=facts.append, devices=jax.devices()[:1])
    assert facts[0]["lengths"] == "targets 7 words (1 from the human reference), 0 guessed"
    assert json.loads((tmp_path / "run" / "start.json").read_text())["lengths"] == facts[0]["lengths"]


def test_orpo_without_a_single_human_text_is_refused(make_config, tmp_path):
    config = on_prompts(make_config(), tmp_path, {"prompt": "the hill", "story": 9 * STORY, "uid": "b"})
    config.rl.objective = "orpo"
    with pytest.raises(InputError, match="no human text that ORPO could prefer"):
        post_train(config, tmp_path / "run", devices=jax.devices()[:1])


def test_a_reference_weighs_what_it_should_beside_filtered_rollouts():
    """Its tokens were not sampled; they get the mean importance weight of the tokens beside them."""
    members = groups([[0.1, 0.5], [0.2, 0.9]], human_reference_scalar=1.0)

    def with_ratio(member, ratio):
        """The member, each of its tokens ``ratio`` times as likely under the model as where it was sampled."""
        if member.rollout is None:
            return member
        found = (member.rollout.logprobs + np.log(ratio)).astype(np.float32)
        return replace(member, rollout=replace(member.rollout, model_logprobs=found))

    ratios = [0.5 if member.request.group.startswith("0") else 0.077 for member in members]
    found = reference_corrections([with_ratio(*both) for both in zip(members, ratios, strict=True)], limit=2.0)
    for member, share in zip(members, found, strict=True):
        first = member.request.group == members[0].request.group
        expected = (0.5 if first else 0.077) if member.is_human_reference else 1.0
        assert share == pytest.approx(expected, rel=1e-5)
    # A weight above the limit counts as the limit.
    assert max(reference_corrections([with_ratio(member, 9.0) for member in members], limit=2.0)) == pytest.approx(2.0)


HEALTHY = {"update/empty": 0.0, "rollout/cut_off": 0.5, "sampler/surprise": 2.0, "length/error": 0.3}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"update/empty": 1.0}, "no row to learn from"),
        ({"rollout/cut_off": 1.0}, "every response cut off"),
        ({"sampler/surprise": 0.001}, "entropy below"),
        ({"sampler/surprise": 4.5}, "entropy over"),
        ({"length/error": 2.0}, "times as long or short as asked"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_collapse_that_lasts_is_named_and_ends_the_run(change, match):
    start = [HEALTHY | {"step": step} for step in range(1, 6)]
    bad = [HEALTHY | change | {"step": step} for step in range(6, 9)]
    watch = CollapseWatch(CollapseOptions(steps=3), start)
    watch.look(bad[0])
    watch.look(bad[1])
    resumed = CollapseWatch(CollapseOptions(steps=3), [*start, *bad[:2]])  # its state is in the records
    for one in (watch, resumed):
        with pytest.raises(RunError, match=match) as given_up:
            one.look(bad[2])
        assert "\n" not in str(given_up.value)


def test_a_collapse_that_passes_is_none():
    watch = CollapseWatch(CollapseOptions(steps=3), [])
    for step in range(20):
        watch.look(HEALTHY | {"step": step, "update/empty": float(step % 3 > 0)})
    never = CollapseWatch(CollapseOptions(steps=0), [])
    for step in range(20):
        never.look(HEALTHY | {"step": step, "update/empty": 1.0})

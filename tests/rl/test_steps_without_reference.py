"""Edge cases: steps whose task has no human text, prompts that name no length, intervals of zero."""

import contextlib

import jax
import pytest
from judged_runs import on_prompts

from polaris_jax.errors import InputError
from polaris_jax.rl import post_train
from polaris_jax.rl.journal import Journal
from polaris_jax.training import read_metrics

STORY = "the lamp on the hill was lit and the doctor came down to read the letter by the river"
ROW = {"prompt": "the river", "story": "the lamp was lit", "uid": "a"}


def run(config, workdir):
    return post_train(config, workdir, devices=jax.devices()[:1], say=lambda line: None)


def test_preference_learning_ends_or_is_refused_before_it_begins(make_config, tmp_path):
    too_long = {"prompt": "the hill", "story": 3 * STORY, "uid": "b"}  # for rollout.max_tokens: left out
    config = on_prompts(make_config(), tmp_path, ROW, too_long)
    config.rl.objective = "orpo"
    config.train.steps = 4
    with contextlib.suppress(InputError):
        run(config, tmp_path / "run")
    assert len(read_metrics(tmp_path / "run")) in (0, 4)


def test_a_prompt_that_names_no_length_asks_for_that_of_its_reference(make_config, tmp_path):
    config = on_prompts(make_config(), tmp_path, ROW)
    config.train.steps = 1
    run(config, tmp_path / "run")
    rewards = Journal(tmp_path / "run", 1).rewards.values()
    assert {reward.breakdown["diagnostics"]["target_words"] for reward in rewards} == {4}


@pytest.mark.parametrize(
    "field",
    [
        "train.checkpoint_every",
        "validation.every",
    ],
)
def test_an_interval_of_zero_is_never_or_is_refused(make_config, tmp_path, field):
    config = on_prompts(make_config(), tmp_path, ROW)
    config.data.validation = config.data.train
    config.train.steps = 1
    section, name = field.split(".")
    config[section][name] = 0
    with contextlib.suppress(InputError):
        run(config, tmp_path / "run")
    assert len(read_metrics(tmp_path / "run")) in (0, 1)

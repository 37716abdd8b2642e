"""A judge that does not answer: a run stops or waits, and no weight moves without judgements."""

import contextlib

import jax
import pytest
from judged_runs import JUDGED, ROWS, on_passages
from servers import Proxy

from polaris_jax.errors import InputError, RunError
from polaris_jax.rl import post_train
from polaris_jax.training import read_metrics


@pytest.fixture
def judge():
    with Proxy() as proxy:
        yield proxy


def run(config, workdir, **options):
    return post_train(config, workdir, devices=jax.devices()[:1], say=lambda line: None, **options)


@pytest.fixture
def config(make_config, judge):
    config = on_passages(make_config(), judge.base_url)
    config.judge.attempts = 2
    config.optim.weight_decay = 0.1
    return config


def test_a_judge_that_knows_no_such_model_stops_the_run(config, judge, tmp_path):
    judge.always = {"STORY": "unknown model"}
    config.train.steps = 1
    with pytest.raises((RunError, InputError)):
        run(config, tmp_path)


def test_a_step_without_a_single_reward_moves_no_weight(config, judge, tmp_path):
    judge.always = {"STORY": "unknown model"}
    config.train.steps = 1
    with contextlib.suppress(RunError, InputError):
        run(config, tmp_path)
    assert [line["update_norm"] for line in read_metrics(tmp_path) if line["reward/failed"] == ROWS] in ([], [0.0])


def test_a_judge_that_comes_back_before_the_update_is_asked_again(config, judge, tmp_path):
    judge.faults = ["503 in HTML"] * ROWS * config.judge.attempts + [JUDGED] * 4 * ROWS
    config.train.steps = 1
    run(config, tmp_path)
    assert read_metrics(tmp_path)[0]["reward/failed"] == 0


class Killed(Exception):
    """As a kill would end the run, at a known step."""


def test_judgements_that_failed_are_asked_again_when_the_run_resumes(config, judge, tmp_path):
    judge.always = {"STORY": "unknown model"}
    config.train.update({"steps": 3, "checkpoint_every": 5})

    def kill(record):
        if record["step"] == 2:  # before the first checkpoint: the journal alone remembers
            raise Killed

    with contextlib.suppress(Killed, RunError, InputError):
        run(config, tmp_path, on_step=kill)
    judge.always = {"STORY": JUDGED}
    assert run(config, tmp_path).finished
    assert [line["reward/failed"] for line in read_metrics(tmp_path)] == [0, 0, 0]

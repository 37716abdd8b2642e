"""The fault matrix: after any fault of the judge, a run ends with the weights of a run without faults.

No weight moves until the judge is back, and no answer is paid twice. ``benchmarks/judge_faults.py`` kills runs and has
an outage of five minutes.
"""

import json

import jax
import numpy as np
import pytest
from benchmark_scripts import load
from faulty_judge import FAULTS, PASSING, FaultyJudge
from judged_runs import on_passages

from polaris_jax.errors import RunError
from polaris_jax.rl import post_train
from polaris_jax.rl.outage import STATUS
from polaris_jax.training import load_weights, read_metrics


def run(config, judge, workdir):
    config.judge.base_url = judge.base_url
    return post_train(config, workdir, devices=jax.devices()[:1], say=lambda line: None)


@pytest.fixture(scope="module")
def settings(make_config):
    """``settings()``: a run of two steps that asks its judge twice and waits for it in short pauses."""

    def make():
        config = on_passages(make_config())
        config.judge.update({"attempts": 2, "backoff": 0.05})
        config.judge.pause.update({"shortest": 0.1, "longest": 0.2})
        config.optim.weight_decay = 0.1
        config.train.steps = 2
        return config

    return make


@pytest.fixture(scope="module")
def undisturbed(settings, tmp_path_factory):
    """Weights and questions of a run without faults."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with FaultyJudge() as judge:
        run(settings(), judge, folder)
    assert judge.paid_twice == 0
    return weights(folder), set(judge.paid)


def weights(workdir):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(load_weights(workdir)[1])]


@pytest.mark.parametrize("fault", FAULTS)
def test_the_weights_are_those_of_a_run_without_the_fault(settings, undisturbed, tmp_path, fault):
    with FaultyJudge(fault) as judge:
        if fault not in PASSING:
            with pytest.raises(RunError) as stopped:
                run(settings(), judge, tmp_path)
            assert "\n" not in str(stopped.value)
            assert read_metrics(tmp_path) == []  # nothing was learned from what nobody judged
            judge.mend()
        assert run(settings(), judge, tmp_path).finished
        assert judge.faulty > 0
        assert judge.paid_twice == 0
        assert set(judge.paid) == undisturbed[1]
    for found, expected in zip(weights(tmp_path), undisturbed[0], strict=True):
        np.testing.assert_array_equal(found, expected)
    records = read_metrics(tmp_path)
    assert [record["judge/groups"] for record in records] == [1, 1]
    assert [record["reward/failed"] for record in records] == [0, 0]
    if fault == "503":
        assert json.loads((tmp_path / STATUS).read_text())["state"] == "answering"
        assert records[-1]["judge/paused_s"] > 0


def test_a_judge_that_stays_away_ends_the_run_after_its_patience(settings, tmp_path):
    config = settings()
    config.judge.pause.patience = 0.3
    with FaultyJudge("503", lasts=60) as judge, pytest.raises(RunError, match="has been away for"):
        run(config, judge, tmp_path)
    assert json.loads((tmp_path / STATUS).read_text())["state"] == "away"
    assert read_metrics(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_that_is_killed_while_the_judge_fails(fault, tmp_path):
    row = load("judge_faults").killed(fault, tmp_path, outage=3.0)
    assert row["equal"]
    assert row["paid_twice"] <= row["in_flight"]
    assert row["updates_below_quorum"] == 0

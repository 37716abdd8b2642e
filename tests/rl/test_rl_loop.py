"""A run from start to end: killed in the middle of a step it goes on to the same losses, and no judge is paid twice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from buckets import environment as bucket_environment
from journals import read_journals
from judged_runs import JUDGED, NOVEL, on_passages

from polaris_jax.errors import InputError
from polaris_jax.rl import post_train
from polaris_jax.rl.journal import Journal
from polaris_jax.training import load_weights, read_metrics
from polaris_jax.training.events import read_events


@pytest.fixture
def config(make_config):
    """Passages of the bundled novel, a judge behind HTTP, three steps."""
    return on_passages(make_config())


def start(config, workdir: Path | str, folder: Path, **variables) -> subprocess.Popen:
    file = folder / "config.json"
    file.write_text(config.to_json())
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir} | variables
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "post_train_process.py"), str(file), str(workdir)], env=environment
    )


def losses(workdir):
    return [(line["step"], line["loss"], line["grad_norm"]) for line in read_metrics(workdir)]


@pytest.mark.slow
def test_a_killed_step_goes_on_to_the_same_losses_and_pays_no_judge_twice(config, judge, tmp_path):
    config.judge.base_url = judge.base_url
    config.train.checkpoint_every = 3  # nothing but the journal remembers the first two steps
    whole = start(config, tmp_path / "whole", tmp_path)
    assert whole.wait() == 0
    paid = judge.calls
    asked = [json.dumps(call["messages"]) for call in judge.requests]
    assert len(set(asked)) == paid
    judge.delay = 0.2
    process, second = start(config, tmp_path / "killed", tmp_path), tmp_path / "killed" / "steps" / "000002.jsonl"
    while not second.exists() or second.read_text().count('"kind": "reward"') < 2:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    judge.delay = 0.0
    assert not (tmp_path / "killed" / "checkpoints" / "3").exists()
    assert start(config, tmp_path / "killed", tmp_path).wait() == 0
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    # Those in flight when the kill came were asked but their answers were lost; all others were asked once.
    assert judge.calls - paid <= paid + config.judge.concurrency
    resumed = read_metrics(tmp_path / "killed")
    assert resumed[0]["rollout/resumed"] == 7 or resumed[0]["rollout/resumed"] == 6
    assert resumed[2]["rollout/resumed"] == 0


READ_BACK = """
import json, sys
from journals import read_journals
from polaris_jax.report.sample_view import recorded_steps
from polaris_jax.training import read_metrics
lines = [[line["step"], line["loss"], line["grad_norm"]] for line in read_metrics(sys.argv[1])]
rewards = {step: sum(line["kind"] == "reward" for line in found) for step, found in read_journals(sys.argv[1])}
print(json.dumps({"losses": lines, "rewards": rewards, "steps": recorded_steps(sys.argv[1])}))
"""


@pytest.mark.slow
def test_a_run_in_a_bucket_is_killed_and_goes_on(config, judge, tmp_path, bucket, bucket_client):
    """The folder is gs://; after a kill the step's lost work is redone with the same tokens, and paid once."""
    config.judge.base_url = judge.base_url
    config.train.checkpoint_every = 3
    variables = bucket_environment(bucket)
    assert start(config, tmp_path / "whole", tmp_path).wait() == 0
    paid, run = judge.calls, "gs://library/run"
    judge.delay = 0.2
    process = start(config, run, tmp_path, **variables)
    while judge.calls < paid + 11:  # of the second step
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    judge.delay = 0.0
    assert start(config, run, tmp_path, **variables).wait() == 0
    found = json.loads(bucket_client(READ_BACK, run))
    assert found["losses"] == [list(line) for line in losses(tmp_path / "whole")]
    assert found["steps"] == [1, 2, 3]
    assert list(found["rewards"].values()) == [
        sum(line["kind"] == "reward" for line in lines) for _, lines in read_journals(tmp_path / "whole")
    ]
    assert judge.calls - paid <= paid + config.judge.concurrency


def test_a_run_learns_validates_and_leaves_everything_behind(config, judge, tmp_path):
    config.judge.base_url = judge.base_url
    good = JUDGED
    judge.always, judge.faults = {}, [*[good] * 4, "500", "empty", "garbage", *[good] * 100]
    config.judge.update({"attempts": 1, "concurrency": 1})
    config.judge.pause.shortest = 0.1
    config.data.update({"validation": NOVEL, "validation_limit": 3})
    config.validation.update({"every": 2, "distributions": True})
    config.rl.auto_weights.update(
        {
            "components": ("self_rep", "length_pen"),
            "update_every": 1,
            "min_points": 2,
            "penalty_keys": ("self_rep", "length_pen"),
        }
    )
    # What supervised runs have too.
    config.optim.qk_clip = 1e-3
    config.train.update({"rounding_statistics": True, "tensorboard": True, "profile_first": 2, "profile_steps": 1})
    facts, records = [], []
    result = post_train(config, tmp_path, on_start=facts.append, on_step=records.append, devices=jax.devices()[:1])
    assert result.finished
    assert [record["step"] for record in read_metrics(tmp_path)] == [1, 2, 3]
    for record in records:
        assert np.isfinite(record["loss"])
        assert record["sampler/gap"] < 1e-3  # nothing is truncated or penalised: only rounding is between them
        assert 0 <= record["time/idle_fraction"] <= 1
        assert record["reference/weight"] == 0.4
        assert record["qk_clipped_heads"] > 0
        assert 0 <= record["changed_share"] <= 1
    assert [record["reward/failed"] for record in records] == [2, 0, 0]  # lost judgements, no invented scores
    assert (records[0]["judge/failed/empty"], records[0]["judge/failed/invalid_json"]) == (1, 1)
    assert records[0]["judge/paused_s"] > 0  # a server's error is no judgement: it was asked again
    assert {"weight/self_rep", "weight/length_pen"} <= records[1].keys()
    journals = dict(read_journals(tmp_path))
    assert sorted(journals) == [1, 2, 3]
    rewards = [line for line in journals[1] if line["kind"] == "reward"]
    assert len(rewards) == 8
    assert any(line["member"] == -1 for line in rewards)  # a passage too long for this vocabulary is no reference
    assert sorted(line["reward"]["failed"] or "" for line in rewards)[-2:] == ["empty", "invalid_json"]
    assert all((line["reward"]["scalar"] is None) == (line["reward"]["failed"] is not None) for line in rewards)
    assert all(line["judgement"]["raw"] for line in rewards if line["reward"]["failed"] is None)
    held_out = json.loads((tmp_path / "validation" / "000002.json").read_text())
    assert held_out["distributions"]["reward"]["n"] == 3 - held_out["failed"]
    assert (tmp_path / "ledger.json").exists()
    assert list((tmp_path / "tensorboard").iterdir())
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    events = [line["event"] for line in read_events(tmp_path)]
    assert [events.count(kind) for kind in ("start", "step", "profile", "evaluation")] == [1, 3, 1, 3]
    assert records[-1]["goodput"] > 0
    load_weights(tmp_path)
    config.rl.group_size = 3
    with pytest.raises(InputError, match="holds another run"):
        post_train(config, tmp_path, devices=jax.devices()[:1])


def test_a_request_to_stop_saves_and_the_next_call_goes_on(config, tmp_path):
    config.judge.kind = "none"
    config.train.update({"steps": 2, "checkpoint_every": 2})

    def stop(record):
        os.kill(os.getpid(), signal.SIGTERM)

    one = jax.devices()[:1]
    assert post_train(config, tmp_path / "whole", devices=one).finished
    result = post_train(config, tmp_path / "run", on_step=stop, devices=one)
    assert (result.steps, result.finished, result.stopped_by) == (1, False, signal.SIGTERM)
    assert post_train(config, tmp_path / "run", devices=one).finished
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_a_request_to_stop_in_the_middle_of_a_step_loses_no_rollout(config, tmp_path, monkeypatch):
    config.judge.kind = "none"
    config.train.update({"steps": 2, "checkpoint_every": 2})
    add, one = Journal.add, jax.devices()[:1]

    def asked_after_the_third(journal, line):
        add(journal, line)
        if journal.stem.endswith("/000002") and len(journal.rollouts) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    assert post_train(config, tmp_path / "whole", devices=one).finished
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", asked_after_the_third)
        result = post_train(config, tmp_path / "run", devices=one)
    assert (result.steps, result.finished, result.stopped_by) == (1, False, signal.SIGTERM)
    assert (tmp_path / "run" / "checkpoints" / "1").exists()
    assert post_train(config, tmp_path / "run", devices=one).finished
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    assert [line["rollout/resumed"] for line in read_metrics(tmp_path / "run")] == [0, 3]


def test_several_passes_and_a_reference_policy(config, tmp_path):
    config.judge.kind = "none"
    config.rl.update({"epochs": 2, "minibatches": 2, "kl_coef": 0.05})
    config.train.steps = 2
    records = []
    post_train(config, tmp_path, on_step=records.append, devices=jax.devices()[:1])
    assert records[0]["loss/divergence"] >= 0
    assert records[1]["policy/kl_old"] != 0.0  # by the second pass the policy has moved since the rollouts
    assert records[1]["loss/divergence"] > 0


def test_orpo_prefers_the_human_text(config, tmp_path):
    config.rl.objective = "orpo"
    config.judge.kind = "offline"  # of the held-out stories; the update asks none
    config.train.steps = 6
    config.data.limit = 2
    records = []
    post_train(config, tmp_path, on_step=records.append, devices=jax.devices()[:1])
    assert records[-1]["orpo/log_odds_ratio"] > records[0]["orpo/log_odds_ratio"]
    assert records[-1]["orpo/likelihood"] < records[0]["orpo/likelihood"]


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("rl.group_size", 1, "at least 2"),
        ("rl.window", 8, "a row may have"),
        ("rl.aggregation", "mean", "choose one"),
        ("rl.think_prefix", 4, "free rollout"),
        ("train.microbatches", 2, "rl.micro_windows"),
        ("loss.z_loss", 0.1, "no such term"),
        ("mesh.slices", 2, "one host"),
        ("rewards.max_tokens", 77, "rollout.max_tokens"),
        ("data.train", "", "must name"),
        ("rewards.length.lower", 3, "group"),
    ],
    ids=str,
)
def test_impossible_configs_are_refused_before_anything_is_loaded(config, tmp_path, field, value, match):
    *parents, name = field.split(".")
    part = config
    for parent in parents:
        part = part[parent]
    with part.ignore_type():
        part[name] = value
    with pytest.raises(InputError, match=match):
        post_train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_step_on_a_mesh_is_the_step_on_one_device(config, tmp_path):
    config.judge.kind = "none"
    config.train.steps = 1
    lines = {}
    for devices, mesh in ((1, {"fsdp": 1, "context": 1}), (4, {"fsdp": 2, "context": 2})):
        config.mesh.update(mesh)
        post_train(
            config,
            tmp_path / str(devices),
            on_step=lambda record, n=devices: lines.update({n: record}),
            devices=jax.devices()[:devices],
        )
    for name in ("loss", "grad_norm", "reward/policy", "rollout/tokens"):
        assert lines[4][name] == pytest.approx(lines[1][name], rel=1e-3, abs=1e-5), name

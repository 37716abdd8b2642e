"""The loss of a run falls, a killed run resumes exactly, and a folder of another run is refused."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from polaris_jax.errors import InputError
from polaris_jax.training import (
    apply_overrides,
    cluster,
    default_config,
    load_weights,
    quarter_means,
    read_metrics,
    train,
)

# A run in a process of its own, so that it can be killed for real.
PROGRAM = """
import json, sys, jax
jax.config.update("jax_num_cpu_devices", 8)
from ml_collections import ConfigDict
from polaris_jax.training import train
train(ConfigDict(json.loads(sys.argv[1])), sys.argv[2])
"""


def losses(workdir):
    return [(line["step"], line["loss"], line["grad_norm"]) for line in read_metrics(workdir)]


@pytest.fixture(scope="module")
def finished(make_config, tmp_path_factory):
    """The config and folder of an uninterrupted run of eight steps."""
    config = make_config()
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    result = train(config, workdir)
    assert result.finished
    return config, workdir


def test_the_loss_falls_for_scaffold_and_prose_and_is_told_apart_by_role(finished):
    _, workdir = finished
    records = read_metrics(workdir)
    assert [line["step"] for line in records] == list(range(1, 9))
    means = quarter_means(records)
    for name in ("loss/prose", "loss/scaffold", "loss/role/book_plan", "loss/role/chapter_text"):
        assert means[name][1] < means[name][0] - 0.1, name
    assert not any("prompt" in name for line in records for name in line)


def test_killed_at_a_random_moment_it_resumes_to_the_same_losses_and_weights(finished, tmp_path):
    config, whole = finished
    seconds = np.random.default_rng(0)
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", PROGRAM, config.to_json(), str(tmp_path / "run")]
    for kill_at_step in (1, 5):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        while process.poll() is None and len(read_metrics(tmp_path / "run")) < kill_at_step:
            time.sleep(0.05)
        time.sleep(seconds.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, process.stderr.read()[-1500:]
    subprocess.run(command, env=environment, check=True)
    assert losses(tmp_path / "run") == losses(whole)
    for ours, theirs in zip(*(np_leaves(folder) for folder in (tmp_path / "run", whole)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def np_leaves(workdir):
    import jax

    return [np.asarray(leaf) for leaf in jax.tree.leaves(load_weights(workdir)[1])]


def test_a_request_to_stop_saves_and_the_next_call_goes_on(finished, tmp_path):
    config, whole = finished

    def stop_at_three(record):
        if record["step"] == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    result = train(config, tmp_path / "run", on_step=stop_at_three)
    assert (result.steps, result.finished) == (3, False)
    starts = []
    assert train(config, tmp_path / "run", on_start=starts.append).finished
    assert starts[0]["resumed_at"] == 3
    assert losses(tmp_path / "run") == losses(whole)


def test_a_request_to_stop_during_compilation_is_not_followed_by_a_step(finished, tmp_path, monkeypatch):
    config, whole = finished

    def asked_meanwhile(name):
        if name.startswith("compiled"):
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(cluster, "barrier", asked_meanwhile)
        result = train(config, tmp_path / "run")
    assert (result.steps, result.finished, result.stopped_by) == (0, False, signal.SIGTERM)
    assert train(config, tmp_path / "run").finished
    assert losses(tmp_path / "run") == losses(whole)


def test_a_folder_of_another_run_is_refused_untouched(finished):
    config, workdir = finished
    before = (workdir / "run.json").read_bytes()
    other = config.copy_and_resolve_references()
    other.optim.learning_rate = 1e-3
    with pytest.raises(InputError, match=r"optim.learning_rate is 0.02"):
        train(other, workdir)
    assert (workdir / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.learning_rat=1", "did you mean config.optim.learning_rate"),
        ("train.steps=many", "must be int"),
        ("nonsense", "reads --config.field=value"),
    ],
)
def test_a_bad_override_names_the_field(override, message):
    with pytest.raises(InputError, match=message):
        apply_overrides(default_config(), [override])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data.window": 512}, "too long"),
        ({"data.window": 2050}, "2056"),
        ({"mesh.context": 3}, "devices"),
        ({"model.path": "nowhere"}, "no such folder"),
        ({"model.path": "somewhere/config.json"}, "folder of the model"),
        ({"data.store": "nowhere"}, "manifest"),
        ({"optim.precision": "fp8"}, "fp32_master"),
        ({"train.microbatches": 3}, "divide"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(make_config, tmp_path, change, message):
    config = apply_overrides(make_config(), [f"{name}={value}" for name, value in change.items()])
    with pytest.raises(InputError, match=message):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("precision", ["stochastic_downcast", pytest.param("bf16_stochastic", marks=pytest.mark.slow)])
def test_the_other_precision_recipes_learn_too(make_config, tmp_path, precision):
    config = make_config()
    config.optim.precision = precision
    config.optim.state_dtype = "bfloat16"
    config.train.steps = 4
    train(config, tmp_path / "run")
    records = read_metrics(tmp_path / "run")
    assert records[-1]["loss"] < records[0]["loss"] - 0.1
    assert json.loads((tmp_path / "run" / "run.json").read_text())["stored_dtype"] == (
        "bfloat16" if precision == "bf16_stochastic" else "float32"
    )


def test_only_the_split_that_was_asked_for_is_trained_on(make_config, tmp_path):
    config = make_config()
    config.data.split = "validation"
    with pytest.raises(InputError, match="it has train"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()

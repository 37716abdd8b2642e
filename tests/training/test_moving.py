"""A run that moves to fewer devices and another precision recipe goes on where it was."""

import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest
from processes import command_of, environment

from polaris_jax.errors import RESUMABLE
from polaris_jax.training import read_metrics, train


def run_on(config, workdir, folder, devices, until=None):
    """``polaris train`` on so many devices, stopped by SIGTERM once it has done ``until`` steps; the exit code."""
    with subprocess.Popen(
        [*command_of(config, workdir, folder), f"--devices={devices}"],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while until and process.poll() is None:
            if len(read_metrics(workdir)) >= until:
                process.send_signal(signal.SIGTERM)
                break
            time.sleep(0.05)
        return process.wait(300)


@pytest.mark.slow
def test_from_eight_devices_to_four_to_two(make_config, tmp_path):
    config = make_config()
    whole = make_config()
    train(whole, tmp_path / "whole")
    assert run_on(config, tmp_path / "run", tmp_path, 8, until=2) == RESUMABLE
    config.mesh.update({"fsdp": 2, "context": 2})
    assert run_on(config, tmp_path / "run", tmp_path, 4, until=4) == RESUMABLE
    config.mesh.update({"fsdp": 1, "context": 2})
    assert run_on(config, tmp_path / "run", tmp_path, 2) == 0
    found, want = read_metrics(tmp_path / "run"), read_metrics(tmp_path / "whole")
    assert [line["step"] for line in found] == list(range(1, 9))
    np.testing.assert_allclose([line["loss"] for line in found], [line["loss"] for line in want], rtol=2e-3)
    assert [line["supervised"] for line in found] == [line["supervised"] for line in want]


def test_across_the_three_recipes(make_config, tmp_path):
    config = make_config()
    config.train.update({"steps": 6, "checkpoint_every": 6})
    starts = []
    for recipe, stop_at in (("fp32_master", 2), ("stochastic_downcast", 4), ("bf16_stochastic", None)):
        config.optim.precision = recipe
        config.optim.state_dtype = "bfloat16" if recipe == "bf16_stochastic" else "float32"

        def stop(record, at=stop_at):
            if record["step"] == at:
                os.kill(os.getpid(), signal.SIGTERM)

        train(config, tmp_path / "run", on_step=stop, on_start=starts.append)
        stored = json.loads((tmp_path / "run" / "run.json").read_text())["stored_dtype"]
        assert stored == ("bfloat16" if recipe == "bf16_stochastic" else "float32")
    assert [start["resumed_at"] for start in starts] == [0, 2, 4]
    losses = [line["loss"] for line in read_metrics(tmp_path / "run")]
    assert len(losses) == 6
    assert losses[2] < losses[1] < losses[0]
    assert losses[4] < losses[2] - 0.1

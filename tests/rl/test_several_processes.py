"""Post-training in several processes: bit for bit what one computes on as many devices, and one judge for all."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest
from journals import read_journals
from judged_runs import on_passages

from polaris_jax.training import read_metrics
from tests.training.processes import assert_same_weights, pid_of

ROOT = Path(__file__).parents[2]
# Fields of a step that must not depend on how its devices are spread over processes.
NUMBERS = ("step", "loss", "grad_norm", "update_norm", "reward/policy", "rollout/tokens", "length/words")


@pytest.fixture
def config(make_config):
    """Two steps of passages on 2 x 2 devices, every rollout judged over HTTP.

    No sum over devices has more than two terms, whose order does not matter: gloo adds four in another order than a
    single process does.
    """
    config = on_passages(make_config())
    config.mesh.update({"fsdp": 2, "context": 2})
    config.train.update({"steps": 2, "checkpoint_every": 2})
    return config


class Run:
    """A run of ``processes`` with so many devices each."""

    def __init__(self, config, folder: Path, processes: int, devices: int):
        folder.mkdir(exist_ok=True)
        self.workdir, self.logs = folder / "run", folder / "logs"
        (folder / "config.json").write_text(config.to_json())
        launcher = [ROOT / "launch" / "local_multiprocess.sh", f"--processes={processes}", f"--devices={devices}"]
        program = [
            sys.executable,
            Path(__file__).parent / "post_train_process.py",
            folder / "config.json",
            self.workdir,
        ]
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        }
        command = [*launcher, f"--logs={self.logs}", "--grace=60", "--", *program]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.running = subprocess.Popen(command, env=environment, start_new_session=True, **quiet)

    def ends(self) -> int:
        return self.running.wait(600)

    def said(self) -> str:
        return "\n".join(log.read_text()[-3000:] for log in sorted(self.logs.glob("*.log")))

    def pid(self, number: int) -> int:
        """Of the process with this number."""
        found = pid_of(self.running, number)
        assert found is not None, f"process {number} does not run: {self.said()}"
        return found


def numbers(workdir):
    return [[line[name] for name in NUMBERS] for line in read_metrics(workdir)]


def responses(workdir):
    """Every line of the journals without the judge's times, sorted."""
    return [
        (
            step,
            sorted(
                (line["task"], line["member"], line.get("tokens"), line.get("logprobs"))
                for line in lines
                if line["kind"] == "rollout"
            ),
        )
        for step, lines in read_journals(workdir)
    ]


def assert_same(one: Path, other: Path) -> None:
    assert numbers(one) == numbers(other)
    assert responses(one) == responses(other)
    assert_same_weights(one, other)


@pytest.mark.slow
def test_two_processes_are_one_bit_for_bit_also_after_one_is_killed(config, judge, tmp_path):
    config.judge.base_url = judge.base_url
    whole = Run(config, tmp_path / "whole", 1, 4)
    assert whole.ends() == 0, whole.said()
    asked = judge.calls
    assert asked == len({json.dumps(call["messages"]) for call in judge.requests})
    halves = Run(config, tmp_path / "halves", 2, 2)
    second = halves.workdir / "steps" / "000002.jsonl"
    while not second.exists() or '"kind": "rollout"' not in second.read_text():
        assert halves.running.poll() is None, halves.said()
        time.sleep(0.02)
    os.kill(halves.pid(1), signal.SIGKILL)
    assert halves.ends() != 0
    again = Run(config, tmp_path / "halves", 2, 2)
    assert again.ends() == 0, again.said()
    assert_same(whole.workdir, again.workdir)

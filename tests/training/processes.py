"""Runs in processes of their own, one or several, with signals sent to any of them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np

from polaris_jax.training import load_weights, read_metrics
from polaris_jax.training.config import flatten

ROOT = Path(__file__).resolve().parents[2]
TIMES = (
    "step_time_s",
    "tokens_per_s",
    "tokens_per_s_per_device",
    "goodput",
    "mfu",
    "slowest_process",
    "slowest_process_s",
)
CONFIG = """from polaris_jax.training import apply_overrides, default_config


def get_config():
    return apply_overrides(default_config(), {overrides!r})
"""


def command_of(config, workdir, folder):
    """``polaris train`` of a config, which is written to ``folder``."""
    file = Path(folder) / "config.py"
    file.write_text(CONFIG.format(overrides=[f"{name}={value!r}" for name, value in flatten(config).items()]))
    return [sys.executable, "-m", "polaris_jax.cli", "train", f"--config={file}", f"--workdir={workdir}"]


def environment(**more):
    return (
        os.environ
        | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
        | {"JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir}
        | more
    )


def pid_of(launcher: subprocess.Popen, number: int) -> int | None:
    """Of the process with this number that ``launch/local_multiprocess.sh`` has started, or None."""
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            variables = (entry / "environ").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        if parent == launcher.pid and f"JAX_PROCESS_ID={number}".encode() in variables:
            return int(entry.name)
    return None


class Processes:
    """A run of several processes by ``launch/local_multiprocess.sh``.

    Args:
      options: of the script. more: arguments of ``polaris train``.

    Attributes:
      logs: folder of the processes' output.
    """

    def __init__(self, config, workdir, folder, *, processes=2, devices=4, grace=90, options=(), more=()):
        self.workdir, self.logs = workdir, Path(folder) / "logs"
        self.running = subprocess.Popen(
            [
                ROOT / "launch" / "local_multiprocess.sh",
                f"--processes={processes}",
                f"--devices={devices}",
                f"--logs={self.logs}",
                f"--grace={grace}",
                *options,
                "--",
                *command_of(config, workdir, folder),
                *more,
            ],
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def pid(self, number: int) -> int:
        """Of the process with this number."""
        found = pid_of(self.running, number)
        assert found is not None, f"process {number} does not run: {self.said(number)}"
        return found

    def signal_at(self, step: int, number: int, name: signal.Signals) -> float:
        """Waits for the step's line, then signals one process; returns the time."""
        while len(read_metrics(self.workdir)) < step:
            assert self.running.poll() is None, self.said(0)
            time.sleep(0.05)
        os.kill(self.pid(number), name)
        return time.monotonic()

    def said(self, number: int) -> str:
        return (self.logs / f"process-{number}.log").read_text()[-4000:]

    def wait(self, seconds: float = 300) -> int:
        return self.running.wait(seconds)


def lines(workdir):
    """What a run has computed: its metrics without times."""
    return [{name: value for name, value in line.items() if name not in TIMES} for line in read_metrics(workdir)]


def assert_same_weights(one, other):
    leaves = [jax.tree.leaves(load_weights(workdir)[1]) for workdir in (one, other)]
    for mine, theirs in zip(*leaves, strict=True):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))

"""SIGTERM at any moment ends a training run with the exit code that launchers take as "start again"."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from polaris_jax.commands.training_run import exit_code
from polaris_jax.errors import RESUMABLE
from polaris_jax.rl.loop import RlResult
from polaris_jax.training.loop import TrainResult

CATCHES = 1 << (signal.SIGTERM - 1)


def catches_sigterm(process: subprocess.Popen) -> bool:
    mask = next(line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "SigCgt" in line)
    return bool(int(mask.split()[1], 16) & CATCHES)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("verb", ["train", "rl"])
def test_before_the_loop_nothing_is_lost_and_the_run_may_start_again(tmp_path, verb):
    config = tmp_path / "slow_start.py"
    config.write_text("import time\ntime.sleep(120)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "polaris_jax.cli", verb, f"--config={config}", f"--workdir={tmp_path / 'run'}"],
        stderr=subprocess.PIPE,
        text=True,
    )
    while not catches_sigterm(process):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == RESUMABLE, said
    assert said.strip().splitlines()[-1] == "stopped by SIGTERM outside the loop; run the same command again"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", [lambda *a: TrainResult(a[0], a[1], [], a[2]), RlResult])
def test_a_result_becomes_an_exit_code(kind, capsys):
    assert exit_code(kind(7, True, 0)) == 0
    assert exit_code(kind(3, False, signal.SIGTERM)) == RESUMABLE
    assert "after step 3" in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        exit_code(kind(3, False, signal.SIGINT))


LONG_STEP = """
import os, signal, sys, threading, time
import jax, jax.numpy as jnp
from polaris_jax.training.stopping import stop_on_signal
spin = jax.jit(lambda n: jax.lax.fori_loop(0, n, lambda i, x: x * 0.999 + 1.0, jnp.float32(0)))
spin(10).block_until_ready()
with stop_on_signal(float(sys.argv[1])) as stop:
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    begun = time.monotonic()
    while time.monotonic() - begun < float(sys.argv[2]) or not stop.number:
        spin(int(sys.argv[3])).block_until_ready()
print("ended by itself", stop.number)
"""


def run_long_step(grace, seconds, turns):
    begun = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-c", LONG_STEP, str(grace), str(seconds), str(turns)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    return ran, time.monotonic() - begun


def test_a_step_longer_than_the_grace_ends_with_the_process():
    """Python's own handler would wait for the device."""
    ran, seconds = run_long_step(1, 0, 2**31 - 1000)
    assert ran.returncode == RESUMABLE, ran.stderr
    assert "1 s were not enough" in ran.stderr
    assert "ended by itself" not in ran.stdout
    assert seconds < 100


def test_a_step_that_ends_in_time_ends_by_itself():
    ran, _ = run_long_step(60, 2, 1000)
    assert (ran.returncode, ran.stdout) == (0, f"ended by itself {int(signal.SIGTERM)}\n"), ran.stderr

"""``polaris demo``: one command ends with a book; killed and run again, it ends with the same book."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from polaris_jax.data import TokenStore
from polaris_jax.training import quarter_means, read_metrics
from polaris_jax.trajectory import check

ENVIRONMENT = os.environ | {"JAX_PLATFORMS": "cpu"}
STEPS = 8


def command(workdir: Path) -> list[str]:
    return [sys.executable, "-m", "polaris_jax.cli", "demo", "--tiny", f"--steps={STEPS}", f"--workdir={workdir}"]


def losses(workdir: Path) -> list[tuple]:
    return [(line["step"], line["loss"], line["grad_norm"]) for line in read_metrics(workdir / "run")]


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("demo") / "work"
    subprocess.run(command(workdir), env=ENVIRONMENT, check=True, capture_output=True)
    return workdir


def test_it_ends_with_trajectories_a_falling_loss_a_valid_book_and_a_report(demo):
    transcripts = sorted((demo / "transcripts").glob("*.txt"))
    assert transcripts
    for file in transcripts:
        assert check(file.read_text(encoding="utf-8"), "corpus"), file
    assert len(TokenStore.open(demo / "store")) == len(transcripts)
    records = read_metrics(demo / "run")
    assert len(records) == STEPS
    means = quarter_means(records)
    for kind in ("loss/prose", "loss/scaffold"):
        assert means[kind][1] < means[kind][0], kind
    assert check((demo / "book" / "artifact.txt").read_text(encoding="utf-8"), "strict")
    clean = [file for file in (demo / "book").glob("*.txt") if file.name != "artifact.txt"]
    assert len(clean) == 1
    assert not any(line.startswith("```") for line in clean[0].read_text(encoding="utf-8").splitlines())  # no fence
    page = (demo / "report.html").read_text(encoding="utf-8")
    assert "://" not in page.replace("http://www.w3.org", "")  # nothing is loaded from anywhere
    assert json.loads((demo / "demo.json").read_text())["timings"].keys() == {"books", "training", "writing"}


def test_run_again_it_reuses_everything(demo):
    before = {
        file: file.stat().st_mtime_ns
        for folder in ("store", "run", "book")
        for file in (demo / folder).rglob("*")
        if file.is_file() and file.name not in ("metrics.jsonl", "run.json")
    }
    subprocess.run(command(demo), env=ENVIRONMENT, check=True, capture_output=True)
    assert len(read_metrics(demo / "run")) == STEPS
    kept = [file for file, stamp in before.items() if file.exists() and file.stat().st_mtime_ns == stamp]
    assert [file for file in before if "store" in file.parts or "checkpoints" in file.parts] == [
        file for file in kept if "store" in file.parts or "checkpoints" in file.parts
    ]


def test_killed_in_training_and_in_writing_it_ends_with_the_same_losses_and_the_same_book(demo, tmp_path):
    workdir = tmp_path / "work"

    def kill_when(condition):
        process = subprocess.Popen(
            command(workdir), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and not condition():
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL

    artifact = workdir / "book" / "artifact.txt"
    kill_when(lambda: (workdir / "store" / "manifest.json").exists())
    for step in (1, 3, 6):
        kill_when(lambda step=step: len(read_metrics(workdir / "run")) >= step)
    for size in (400, 3000):
        kill_when(lambda size=size: artifact.exists() and artifact.stat().st_size > size)
    subprocess.run(command(workdir), env=ENVIRONMENT, check=True, capture_output=True)
    assert losses(workdir) == losses(demo)
    assert artifact.read_bytes() == (demo / "book" / "artifact.txt").read_bytes()

"""Kills ``polaris write`` with SIGKILL at random moments and sees whether the book comes out the same.

    python benchmarks/kill_writer.py CHECKPOINT --out=DIR [--kills=10] [--profile=demo] [--window=2048]

A reference book is written without interruption. Then, for every kill, a new folder: the writer is started, killed a
random moment after a random share of the book, started again and left alone. Transcript, text and EPUB must have the
reference's bytes, and what was on disk after the kill must be a beginning of them. Exit code 1 if any differs.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

PROMPT = "A short novel about a lighthouse keeper who hears somebody knock from inside the lamp."


def command(arguments, folder: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "polaris_jax.cli",
        "write",
        "--checkpoint",
        arguments.checkpoint,
        "--prompt",
        PROMPT,
        "--out",
        str(folder),
        "--profile",
        arguments.profile,
        "--window",
        str(arguments.window),
        "--seed",
        "7",
        "--repetition-penalty",
        "1.15",
    ]


def books(folder: Path) -> dict[str, bytes]:
    """Every file that must be the same (``run.json`` holds wall times)."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "run.json"}


def kill_once(arguments, folder: Path, size: int, delay: float) -> int:
    """Starts the writer and kills it ``delay`` seconds after the transcript has ``size`` bytes; its exit status."""
    process = subprocess.Popen(command(arguments, folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    artifact = folder / "artifact.txt"
    while process.poll() is None and not (artifact.exists() and artifact.stat().st_size >= size):
        time.sleep(0.002)
    try:
        return process.wait(delay)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        return process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--window", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    reference = arguments.out / "reference"
    subprocess.run(command(arguments, reference), check=True, stdout=subprocess.DEVNULL)
    expected = books(reference)
    rng, killed, same = random.Random(arguments.seed), 0, 0
    for number in range(arguments.kills):
        folder = arguments.out / f"kill-{number:02d}"
        share = rng.random()
        status = kill_once(arguments, folder, int(share * len(expected["artifact.txt"])), rng.uniform(0, 0.5))
        left = (folder / "artifact.txt").read_bytes() if (folder / "artifact.txt").exists() else b""
        subprocess.run(command(arguments, folder), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        killed += status == -signal.SIGKILL
        fine = expected["artifact.txt"].startswith(left) and books(folder) == expected
        same += fine
        print(
            f"kill {number}: status {status}, {len(left) / len(expected['artifact.txt']):.0%} written, "
            f"{'same bytes' if fine else 'DIFFERENT'}",
            flush=True,
        )
    print(json.dumps({"runs": arguments.kills, "killed": killed, "same": same}))
    return 0 if same == arguments.kills else 1


if __name__ == "__main__":
    sys.exit(main())

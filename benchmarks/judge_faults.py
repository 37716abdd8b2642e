"""Post-training whose judge fails in the middle, run through or killed and resumed: what is lost, what is paid twice.

    python benchmarks/judge_faults.py [--faults=401,404,503,...] [--manners=run,kill] [--outage=300] [--work=FOLDER]

Every row is ``polaris rl`` as a process, three steps of a tiny policy, against a real HTTP server on this machine whose
scores depend on the story alone. The fault begins at its sixth question. An outage (503) ends after ``--outage``
seconds, slow answers take a second each for ten; the other faults last until the run has stopped and the server is
repaired, then the same command is run again. ``kill`` kills the process at the first answer that meets the fault, and
goes on with the fault still there. Prints one JSON object a row: whether the final weights are bitwise those of a run
without faults, usable answers sent more than once (``in_flight``: those that a killed process could not have stored),
updates with fewer judged groups than ``rl.quorum``, and seconds beyond those of the run without faults. Exit code 1
unless all rows are as they should be.
"""

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "rl")]

from faulty_judge import FAULTS, PASSING, FaultyJudge  # noqa: E402

STEPS = 3
_CONFIG = """
import json
from ml_collections import ConfigDict
def get_config():
    return ConfigDict(json.loads({text!r}))
"""


def prepare(folder: Path, judge: FaultyJudge) -> Path:
    """A config file in ``folder`` whose judge is that server."""
    from judged_runs import on_passages
    from tiny_policy import make_policy, tiny_config

    policy = folder.parent / "policy"
    if not policy.exists():
        make_policy(policy)
    config = on_passages(tiny_config(policy), judge.base_url)
    config.judge.update({"attempts": 2, "backoff": 0.1, "timeout": 20.0})
    config.judge.pause.update({"shortest": 0.5, "longest": 5.0})
    config.optim.weight_decay = 0.1
    config.train.update({"steps": STEPS, "checkpoint_every": STEPS})
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "config.py"
    file.write_text(_CONFIG.format(text=config.to_json()))
    return file


def start(config: Path, workdir: Path) -> subprocess.Popen:
    """The run as a process; its output goes to ``workdir.log``."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    environment.setdefault("JAX_COMPILATION_CACHE_DIR", str(workdir.parent.parent / "compiled"))
    log = open(f"{workdir}.log", "ab")  # noqa: SIM115  the process holds it
    command = [sys.executable, "-m", "polaris_jax.cli", "rl", f"--config={config}", f"--workdir={workdir}"]
    return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


def finish(config: Path, workdir: Path, judge: FaultyJudge) -> list[int]:
    """Runs until the run is finished, mending the judge whenever it has stopped a run; returns the exit codes."""
    codes = []
    while len(codes) < 4:
        codes.append(start(config, workdir).wait())
        if codes[-1] == 0:
            break
        judge.mend()
    return codes


def weights(workdir: Path) -> list:
    """The arrays of the newest checkpoint."""
    import jax
    import numpy as np

    from polaris_jax.training import load_weights

    return [np.asarray(leaf) for leaf in jax.tree.leaves(load_weights(workdir)[1])]


@cache
def undisturbed(folder: Path) -> tuple[list, float]:
    """Weights and seconds of the run without a fault; a run before it fills the compilation cache."""
    seconds = 0.0
    for name in ("first", "undisturbed"):
        with FaultyJudge() as judge:
            config = prepare(folder / name, judge)
            begun = time.monotonic()
            codes = finish(config, folder / name / "run", judge)
            seconds = time.monotonic() - begun
            assert codes == [0], (folder / name / "run.log").read_text()[-2000:]
            assert judge.paid_twice == 0
    return weights(folder / "undisturbed" / "run"), seconds


def row(fault: str, manner: str, folder: Path, outage: float) -> dict:
    """One cell of the matrix."""
    import numpy as np

    expected, usual = undisturbed(folder)
    place = folder / f"{list(FAULTS).index(fault)}-{manner}"
    with FaultyJudge(fault, lasts=outage if fault == "503" else 10.0, delay=1.0) as judge:
        config, workdir = prepare(place, judge), place / "run"
        begun, in_flight = time.monotonic(), 0
        if manner == "kill":
            process = start(config, workdir)
            while not judge.faulty and process.poll() is None:
                time.sleep(0.01)
            in_flight = 4  # judge.concurrency
            process.send_signal(signal.SIGKILL)
            process.wait()
        codes = finish(config, workdir, judge)
        seconds = time.monotonic() - begun
        found = weights(workdir) if codes[-1] == 0 else []
        twice, faulty, calls = judge.paid_twice, judge.faulty, judge.calls
    equal = len(found) == len(expected) and all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {
        "fault": fault,
        "manner": manner,
        "equal": equal,
        "paid_twice": twice,
        "in_flight": in_flight,
        "updates_below_quorum": sum(record["judge/groups"] < 0.5 for record in records),
        "exit_codes": codes,
        "faulty_answers": faulty,
        "calls": calls,
        "paused_s": round(max(record.get("judge/paused_s", 0.0) for record in records), 1),
        "extra_s": round(seconds - usual, 1),
    }


def killed(fault: str, folder: Path, outage: float) -> dict:
    """The row of ``fault`` in which the run is killed."""
    return row(fault, "kill", folder, outage)


def is_right(found: dict) -> bool:
    """Whether a row shows what it should."""
    codes = [0] if found["fault"] in PASSING else [1, 0]
    return (
        found["equal"]
        and found["paid_twice"] <= found["in_flight"]
        and found["updates_below_quorum"] == 0
        and found["exit_codes"] == codes
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", default=",".join(FAULTS))
    parser.add_argument("--manners", default="run,kill")
    parser.add_argument("--outage", type=float, default=300.0)
    parser.add_argument("--work")
    arguments = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.work or temporary).resolve()
        for fault in arguments.faults.split(","):
            for manner in arguments.manners.split(","):
                found = row(fault, manner, folder, arguments.outage)
                wrong += not is_right(found)
                print(json.dumps(found), flush=True)
        usual = undisturbed(folder)[1]
    print(json.dumps({"rows_wrong": wrong, "undisturbed_s": round(usual, 1), "outage_s": arguments.outage}))
    return 1 if wrong or math.isnan(usual) else 0


if __name__ == "__main__":
    sys.exit(main())

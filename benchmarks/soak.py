"""Kills a run of several processes again and again at random instants and compares it with an undisturbed one.

    python benchmarks/soak.py --out runs/soak                      # 100 kills; the same command again goes on
    python benchmarks/soak.py --out runs/soak --kills 1000 --minutes 600

The run trains a small model from a token store in a bucket, with its folder in the same bucket. The bucket is an
emulated Cloud Storage server behind a proxy that answers a share of the calls with 503 or 429, cuts answers off, sends
them in drops, loses them, or never answers. ``launch/local_multiprocess.sh`` starts all processes again whenever one of
them was killed. Whenever the run reaches its last step, every number of its metrics except times, and
every bit of its final weights, is compared with the undisturbed run's; then the next round begins in a new folder.

Every kill is a line of ``OUT/kills.jsonl``. Prints one JSON line; exit code 1 when anything differed.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

WINDOW = 2048
TIMES = ("step_time_s", "tokens_per_s", "tokens_per_s_per_device", "goodput", "mfu", "hbm_bytes", "hbm_peak_bytes")
CONFIG = """
from polaris_jax.training import default_config
def get_config():
    config = default_config()
    config.model.update({{"path": {model!r}, "compute_dtype": "float32", "attention_block": 128}})
    config.mesh.update({{"fsdp": {processes}, "context": {devices}}})
    config.data.update({{"window": {window}, "batch_size": {processes}, "threads": 1}})
    config.optim.update({{"learning_rate": 2e-2, "warmup": 1, "newton_schulz_dtype": "float32"}})
    config.train.update({{"steps": {steps}, "checkpoint_every": 2}})
    return config
"""
# JAX keeps only what the first process compiled, and on CPU every process compiles a program of its own: without this
# most of a soak would be compilation, and most kills would fall into it.
SITE = """
from jax._src import compiler, distributed

write = compiler._cache_write

def write_as_the_first(*arguments):
    state = distributed.global_state
    own, state.process_id = state.process_id, 0
    try:
        write(*arguments)
    finally:
        state.process_id = own

compiler._cache_write = write_as_the_first
"""
COPY = """
import sys
from polaris_jax.data import TokenStore, load_tokenizer
store = TokenStore.open(sys.argv[1])
writer = TokenStore.create(sys.argv[2], load_tokenizer(sys.argv[3]))
for index in range(len(store)):
    writer.append(store.read(index), store.meta(index))
assert writer.commit().content_hash == store.content_hash
"""
EXPORT = """
import hashlib, jax, json, sys, numpy as np
from polaris_jax.training import load_weights, read_metrics
leaves = jax.tree_util.tree_leaves_with_path(load_weights(sys.argv[1])[1])
weights = {jax.tree_util.keystr(path): hashlib.sha256(np.asarray(leaf).tobytes()).hexdigest() for path, leaf in leaves}
print(json.dumps({"weights": weights, "lines": read_metrics(sys.argv[1])}))
"""


class Soak:
    """The processes of a soak, and its folder."""

    def __init__(self, arguments: argparse.Namespace, out: Path, bucket):
        from buckets import environment

        self.a, self.out, self.bucket = arguments, out, bucket
        self.log = out / "kills.jsonl"
        self.environment = (
            os.environ
            | environment(bucket.address)
            | {
                "JAX_PLATFORMS": "cpu",
                "PYTHONPATH": f"{out / 'site'}:{ROOT}",
                "JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR", str(out / "compiled")),
            }
        )
        self.config = out / "config.py"
        (out / "site").mkdir(exist_ok=True)
        (out / "site" / "sitecustomize.py").write_text(SITE)

    def python(self, program: str, *arguments: str) -> str:
        """The output of a program that uses the bucket without faults."""
        rate, self.bucket.rate = self.bucket.rate, 0.0
        ran = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env=self.environment,
            text=True,
            check=True,
            stdout=subprocess.PIPE,
        )
        self.bucket.rate = rate
        return ran.stdout.strip().splitlines()[-1] if ran.stdout else ""

    def prepare(self) -> None:
        """Makes model, store, config, and the undisturbed run."""
        material = self.out / "material"
        if not (self.out / "reference.json").exists():
            if not (material / "store" / "manifest.json").exists():
                from material import make_material

                make_material(material, WINDOW)
            self.python(COPY, str(material / "store"), "gs://library/store", str(material / "model"))
            self.config.write_text(
                CONFIG.format(
                    model=str(material / "model"),
                    processes=self.a.processes,
                    devices=self.a.devices,
                    window=WINDOW,
                    steps=self.a.steps,
                )
            )
            self.launch(str(self.out / "whole"), str(material / "store"), restarts=0).wait()
            found = json.loads(self.python(EXPORT, str(self.out / "whole")))
            assert len(found["lines"]) == self.a.steps, "the undisturbed run did not finish; see OUT/processes"
            (self.out / "reference.json").write_text(json.dumps(found))

    def launch(self, workdir: str, store: str, restarts: int = 1_000_000) -> subprocess.Popen:
        """All processes of the run, which are started again when one is killed."""
        command = [
            ROOT / "launch" / "local_multiprocess.sh",
            f"--processes={self.a.processes}",
            f"--devices={self.a.devices}",
            f"--logs={self.out / 'processes'}",
            f"--restarts={restarts}",
            "--grace=10",
            "--",
            sys.executable,
            "-m",
            "polaris_jax.cli",
            "train",
            f"--config={self.config}",
            f"--workdir={workdir}",
            f"--config.data.store={store}",
        ]
        with open(self.out / "launcher.log", "a", encoding="utf-8") as said:
            return subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL, stderr=said)

    def round(self, number: int, kills: list[dict], until: float) -> None:
        """One run with kills, to its last step. A launcher that gives up is started again.

        Raises:
          RuntimeError: the launcher refuses to start.
        """
        while code := self.attempt(number, kills, until):
            if code == 2:
                raise RuntimeError(f"the launcher refuses; see {self.out / 'launcher.log'}")

    def attempt(self, number: int, kills: list[dict], until: float) -> int:
        """One launch with kills; the launcher's exit code. Its processes end with this one."""
        running = self.launch(f"gs://library/runs/{number}", "gs://library/store")
        try:
            self.kill_at_random(running, number, kills, until)
            return running.wait()
        finally:
            if running.poll() is None:
                running.terminate()  # it ends its processes, by force after the grace
                running.wait()

    def kill_at_random(self, running: subprocess.Popen, number: int, kills: list[dict], until: float) -> None:
        """Kills processes until there were enough kills, the time is over, or the run has ended."""
        draws = random.Random(f"{self.a.seed} {len(kills)}")
        while running.poll() is None and len(kills) < self.a.kills and time.time() < until:
            victims = _children(running.pid)
            if len(victims) < self.a.processes:  # those that are left are still ending, or all are being started
                time.sleep(0.05)
                continue
            delay = draws.uniform(0, self.a.longest)
            _wait(delay, running, victims)
            if running.poll() is not None:
                break
            if not all(map(_alive, victims)):
                continue
            some = draws.sample(victims, draws.choice([1, 1, len(victims)]))
            killed = time.time()
            for pid in some:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            while any(map(_alive, victims)):
                time.sleep(0.05)
            kills.append(
                {
                    "round": number,
                    "time": killed,
                    "after_s": round(delay, 2),
                    "killed": len(some),
                    "others_ended_after_s": round(time.time() - killed, 2),
                }
            )
            with open(self.log, "a", encoding="utf-8") as file:
                file.write(json.dumps(kills[-1]) + "\n")

    def differences(self, number: int) -> list[str]:
        """What differs from the undisturbed run."""
        want = json.loads((self.out / "reference.json").read_text())
        have = json.loads(self.python(EXPORT, f"gs://library/runs/{number}"))
        found = [f"weights {name}" for name, digest in want["weights"].items() if have["weights"].get(name) != digest]
        for mine, theirs in zip(have["lines"], want["lines"], strict=False):
            found += [
                f"step {theirs['step']}: {name}"
                for name in theirs
                if name not in TIMES and mine.get(name) != theirs[name]
            ]
        return found + ([f"{len(have['lines'])} lines"] if len(have["lines"]) != len(want["lines"]) else [])


def _children(parent: int) -> list[int]:
    """The processes of the run that the launcher has started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                ours = int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent
                if ours and b"polaris_jax.cli" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _wait(seconds: float, running: subprocess.Popen, victims: list[int]) -> None:
    """Sleeps, but not past the end of the run."""
    end = time.time() + seconds
    while time.time() < end and running.poll() is None and all(map(_alive, victims)):
        time.sleep(min(0.05, max(0.0, end - time.time())))


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    import fcntl

    with open(out / "lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the soak; the same again goes on")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=600, help="no kills after so many; the round is finished")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--devices", type=int, default=1, help="per process")
    parser.add_argument("--steps", type=int, default=60, help="of one round")
    parser.add_argument("--longest", type=float, default=60.0, help="seconds from a start to its kill, at most")
    parser.add_argument("--faults", type=float, default=0.02, help="share of the bucket's calls that meet a fault")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that processes of the soak are ended
    from buckets import FaultyBucket, run_bucket

    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    began = time.time()
    with (
        _locked(out),
        run_bucket(out / "bucket") as address,
        FaultyBucket(address, rate=arguments.faults, seed=int(began)) as bucket,
    ):
        soak = Soak(arguments, out, bucket)
        soak.prepare()
        kills = [json.loads(line) for line in soak.log.read_text().splitlines()] if soak.log.exists() else []
        rounds, differences = [], []
        number = max((kill["round"] for kill in kills), default=1)
        until = began + 60 * arguments.minutes
        while not rounds or (len(kills) < arguments.kills and time.time() < until):
            soak.round(number, kills, until)
            differences += [f"round {number}, {what}" for what in soak.differences(number)]
            rounds.append(number)
            number += 1
        ended = [kill["others_ended_after_s"] for kill in kills if kill["killed"] < arguments.processes]
        print(
            json.dumps(
                {
                    "kills": len(kills),
                    "rounds": number - 1,
                    "steps": arguments.steps,
                    "processes": arguments.processes,
                    "devices": arguments.processes * arguments.devices,
                    "calls": bucket.calls_passed,
                    "faults": dict(bucket.met),
                    "others_ended_after_s": {"most": max(ended, default=None)},
                    "identical": not differences,
                    "differences": differences[:20],
                    "minutes": round((time.time() - began) / 60),
                }
            )
        )
    return int(bool(differences))


if __name__ == "__main__":
    sys.exit(main())

"""What post-training changed: held-out lengths and repetition before and after, and where the time of a step went.

    polaris rl --config=configs/smollm2_polaris_demo.py --workdir=RUN --config.model.path=MODEL
    python benchmarks/rl_demo.py RUN

Reads the run's validation records (the same prompts and seeds before and after) and prints one JSON object. Length
error is the mean of |log(words / target)|; intervals are 95 % percentile bootstraps over prompts, of the paired
difference for the changes. A change is significant when its interval does not hold 0.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

import numpy as np

from polaris_jax import storage
from polaris_jax.evals.intervals import bootstrap
from polaris_jax.rl.groups import length_error
from polaris_jax.rl.journal import Reward
from polaris_jax.training import read_metrics

TIMES = (
    "step_time_s",
    "time/rollout_s",
    "time/judge_wait_s",
    "time/judge_threads_s",
    "time/update_s",
    "time/idle_fraction",
    "rollout/occupancy",
    "rollout/tokens_per_s",
)


def held_out(file: Path) -> dict[str, dict[str, float]]:
    """Per prompt: length error, words over target, self-repetition, reward."""
    found = {}
    for line in storage.read_lines(str(file)):
        if line["kind"] == "reward" and line["reward"]["scalar"] is not None:
            reward, said = Reward.from_json(line), line["reward"]["diagnostics"]
            found[reward.task] = {
                "length_error": length_error(reward),
                "words_over_target": said["words"] / said["target_words"],
                "self_repetition": line["reward"]["components"]["self_rep"],
                "reward": reward.scalar,
            }
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workdir", type=Path)
    a = parser.parse_args()
    files = sorted((a.workdir / "validation").glob("*.jsonl"))
    if len(files) < 2:
        print(f"{a.workdir} has no validation before and after training", file=sys.stderr)
        return 2
    before, after = held_out(files[0]), held_out(files[-1])
    both = sorted(before.keys() & after.keys())
    records = read_metrics(a.workdir)
    result: dict = {"prompts": len(both), "steps": [int(files[0].stem), int(files[-1].stem)]}
    for name in ("length_error", "words_over_target", "self_repetition", "reward"):
        values = np.array([[before[key][name], after[key][name]] for key in both])
        result[name] = {
            "before": bootstrap(values[:, 0]).to_json(),
            "after": bootstrap(values[:, 1]).to_json(),
            "change": bootstrap(values[:, 1] - values[:, 0]).to_json(),
        }
    result["time"] = {name: statistics.median(record[name] for record in records) for name in TIMES}
    result["hours"] = sum(record["step_time_s"] for record in records) / 3600
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

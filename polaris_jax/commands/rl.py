"""``polaris rl``: POLARIS post-training (GRPO with human references, ORPO), and preference pairs (ORPO, DPO).

In a run of several processes (a pod, or ``launch/local_multiprocess.sh``) every process runs this command.
"""

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from polaris_jax import storage
from polaris_jax.commands.training_run import add_run_flags, exit_code, prepare, resumable

if TYPE_CHECKING:
    from polaris_jax.training.config import ConfigDict


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    add_run_flags(parser)
    parser.add_argument(
        "--estimate",
        action="store_true",
        help="print the cost of judging (calls, tokens, dollars, hours) and stop; asks and writes nothing",
    )
    parser.add_argument("--json", action="store_true", help="with --estimate: as JSON")


@resumable()
def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns 0, or 75 when SIGTERM ended the run with a checkpoint."""
    workdir = arguments.workdir
    config = prepare(arguments)
    if arguments.estimate:
        return _estimate(config, workdir, arguments.json)
    from rich.console import Console

    from polaris_jax.commands.rl_benches import check_names, run_bench
    from polaris_jax.errors import InputError
    from polaris_jax.llm import BudgetSpent
    from polaris_jax.rl import post_train
    from polaris_jax.training import cluster

    cluster.join()
    console = Console(stderr=True)

    def on_start(facts):
        shown = {name: value for name, value in facts.items() if name not in ("forecast_usd", "forecast_calls")}
        console.print("  ".join(f"{name} {value}" for name, value in shown.items()), highlight=False)

    def on_step(record):
        shown = {
            "reward": "reward/policy",
            "reference": "reward/reference",
            "words": "length/words",
            "length error": "length/error",
            "failed": "reward/failed",
            "USD": "judge/usd",
            "loss": "loss",
            "margin": "dpo/margin" if "dpo/margin" in record else "orpo/margin",
            "held-out margin": "validation/margin",
            "rollout s": "time/rollout_s",
            "judge s": "time/judge_wait_s",
            "update s": "time/update_s",
        }
        console.print(
            f"step {record['step']}  "
            + "  ".join(f"{label} {record[name]:.3f}" for label, name in shown.items() if name in record),
            highlight=False,
        )

    try:
        check_names(config.validation.benches)
        result = post_train(config, workdir, on_step=on_step, on_start=on_start, benches=run_bench)
        if cluster.is_first():
            console.print(_write_pages(workdir))
    except BudgetSpent as spent:
        advice = "raise it or judge.budget_tokens; the run then goes on where it stopped"
        raise InputError("config.judge.budget_usd", str(spent), advice) from None
    return exit_code(result)


def _estimate(config: "ConfigDict", workdir: str, as_json: bool) -> int:
    """Prints the cost of judging the whole run; returns the exit code."""
    from polaris_jax.rl.config import judge_spec, rl_config
    from polaris_jax.rl.loop import JUDGE
    from polaris_jax.rl.preflight import judge_forecast, length_report
    from polaris_jax.rl.run_factory import read_tasks

    typed = rl_config(config)
    _, tasks, validation, _ = read_tasks(typed)
    spec = judge_spec(typed, storage.join(workdir, JUDGE))
    found = judge_forecast(spec, typed, tasks, validation)
    facts = {"steps": typed.train.steps, "tasks": len(tasks), "lengths": str(length_report(tasks, typed))}
    if as_json:
        print(json.dumps(facts | {"judge": None if found is None else dataclasses.asdict(found)}))
        return 0
    print("  ".join(f"{name} {value}" for name, value in facts.items()))
    print("no model judges: nothing to pay for" if found is None else f"judge: {found}")
    if found is not None:
        print("Responses are taken to be as long as asked; the mesh's own time comes on top.")
    return 0


def _write_pages(workdir: str) -> str:
    """Writes ``report.html`` and, if there are samples, ``samples.html`` into the folder; returns the first."""
    from polaris_jax.report import read_state, write_run_report, write_samples
    from polaris_jax.report.sample_view import recorded_steps

    samples = storage.join(workdir, "samples.html") if recorded_steps(workdir) else None
    if samples is not None:
        write_samples(workdir, samples)
    return write_run_report(read_state(workdir), storage.join(workdir, "report.html"), samples)

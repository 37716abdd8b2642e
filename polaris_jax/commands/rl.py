"""``polaris rl``: POLARIS post-training (GRPO with human references, ORPO)."""

import argparse

from polaris_jax import storage
from polaris_jax.commands.devices import compilation_cache, host_devices
from polaris_jax.commands.ending import exit_code, resumable


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    parser.add_argument("--config", required=True, metavar="FILE",
                        help="a configs/*_polaris*.py; --config.a.b=c overrides")
    parser.add_argument("--workdir", required=True, help="of the run, a local folder; the same again resumes it")
    parser.add_argument("--devices", type=int, help="host devices, when running on CPU")
    parser.set_defaults(takes_config=True)


@resumable()
def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns 0, or 75 when SIGTERM ended the run with a checkpoint."""
    a = arguments
    workdir = storage.local("--workdir", a.workdir)
    host_devices(a.devices)
    compilation_cache()
    from rich.console import Console

    from polaris_jax.errors import InputError
    from polaris_jax.llm import BudgetSpent
    from polaris_jax.rl import post_train
    from polaris_jax.training import load_config

    console = Console(stderr=True)

    def on_start(facts):
        console.print("  ".join(f"{name} {value}" for name, value in facts.items()), highlight=False)

    def on_step(record):
        shown = {"reward": "reward/policy", "reference": "reward/reference", "length error": "length/error",
                 "loss": "loss", "rollout s": "time/rollout_s", "judge s": "time/judge_wait_s",
                 "update s": "time/update_s"}
        console.print(f"step {record['step']}  " + "  ".join(
            f"{label} {record[name]:.3f}" for label, name in shown.items() if name in record), highlight=False)

    try:
        result = post_train(load_config(a.config, a.overrides), workdir, on_step=on_step, on_start=on_start)
    except BudgetSpent as spent:
        raise InputError("config.judge.budget", str(spent), "raise it; the run then goes on where it stopped") from None
    return exit_code(result)

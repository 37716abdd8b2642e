"""``polaris train``: supervised fine-tuning.

In a run of several processes (a pod, or ``launch/local_multiprocess.sh``) every process runs this command.
"""

import argparse
from typing import Any

from polaris_jax.commands.training_run import add_run_flags, exit_code, prepare, resumable


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    add_run_flags(parser)


@resumable()
def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns 0, or 75 when SIGTERM ended the run with a checkpoint."""
    written = prepare(arguments)
    import jax
    from rich.console import Console

    from polaris_jax.commands.parameter_table import parameter_table
    from polaris_jax.planner import choose_context_method
    from polaris_jax.sharding import group_by_slice
    from polaris_jax.training import cluster, train, train_config

    config = train_config(written)
    cluster.join()
    console = Console(stderr=True)
    devices = jax.devices()
    config, choice = choose_context_method(config, devices[0].device_kind, len(devices), len(group_by_slice(devices)))
    if choice:
        console.print(choice, highlight=False)

    def on_step(record: dict[str, Any]) -> None:
        losses = "  ".join(
            f"{name} {record[key]:.4f}"
            for name, key in (("prose", "loss/prose"), ("scaffold", "loss/scaffold"), ("held out", "eval/loss"))
            if key in record
        )
        skipped = f"  skipped {record['skipped_steps']}" if record["skipped_steps"] else ""
        console.print(
            f"step {record['step']}  loss {record['loss']:.4f}  {losses}  {record['step_time_s']:.2f} s  "
            f"{record['tokens_per_s']:.0f} tokens/s{skipped}",
            highlight=False,
        )

    result = train(
        config,
        arguments.workdir,
        on_step=on_step,
        on_start=lambda facts: console.print(parameter_table(facts)),
        say=lambda line: console.print(line, style="yellow", highlight=False),
    )
    return exit_code(result)

"""``polaris train``: supervised fine-tuning.

In a run of several processes (a pod, or ``launch/local_multiprocess.sh``) every process runs this command.
"""

import argparse

from polaris_jax.commands.devices import compilation_cache, host_devices
from polaris_jax.commands.ending import exit_code, resumable


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    parser.add_argument("--config", required=True, metavar="FILE", help="a configs/*.py; --config.a.b=c overrides")
    parser.add_argument("--workdir", required=True, help="of the run, local or gs://; the same again resumes it")
    parser.add_argument("--devices", type=int, help="host devices, when running on CPU")
    parser.set_defaults(takes_config=True)


@resumable()
def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns 0, or 75 when SIGTERM ended the run with a checkpoint."""
    a = arguments
    host_devices(a.devices)
    compilation_cache()
    import jax
    from rich.console import Console

    from polaris_jax.demo import facts_table
    from polaris_jax.planner import choose_context_method
    from polaris_jax.training import check_config, cluster, load_config, train

    config = check_config(load_config(a.config, a.overrides))
    cluster.join()
    console = Console(stderr=True)
    devices = jax.devices()
    if choice := choose_context_method(config, devices[0].device_kind, len(devices)):
        console.print(choice, highlight=False)

    def on_step(record):
        losses = "  ".join(f"{name} {record[key]:.4f}" for name, key in (
            ("prose", "loss/prose"), ("scaffold", "loss/scaffold"), ("held out", "eval/loss")) if key in record)
        skipped = f"  skipped {record['skipped_steps']}" if record["skipped_steps"] else ""
        console.print(f"step {record['step']}  loss {record['loss']:.4f}  {losses}  {record['step_time_s']:.2f} s  "
                      f"{record['tokens_per_s']:.0f} tokens/s{skipped}", highlight=False)

    result = train(config, a.workdir, on_step=on_step, on_start=lambda facts: console.print(facts_table(facts)),
                   say=lambda line: console.print(line, style="yellow", highlight=False))
    return exit_code(result)

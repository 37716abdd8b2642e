"""``polaris train``: supervised fine-tuning."""

import argparse

from polaris_jax.commands.devices import compilation_cache, host_devices


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    parser.add_argument("--config", required=True, metavar="FILE", help="a configs/*.py; --config.a.b=c overrides")
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--devices", type=int, help="host devices, when running on CPU")
    parser.set_defaults(takes_config=True)


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    a = arguments
    host_devices(a.devices)
    compilation_cache()
    from rich.console import Console

    from polaris_jax.demo import facts_table
    from polaris_jax.training import load_config, train

    console = Console(stderr=True)

    def on_step(record):
        losses = "  ".join(f"{name[5:]} {record[name]:.4f}" for name in ("loss/prose", "loss/scaffold")
                           if name in record)
        console.print(f"step {record['step']}  loss {record['loss']:.4f}  {losses}  {record['step_time_s']:.2f} s  "
                      f"{record['tokens_per_s']:.0f} tokens/s", highlight=False)

    result = train(load_config(a.config, a.overrides), a.workdir, on_step=on_step,
                   on_start=lambda facts: console.print(facts_table(facts)))
    if not result.finished:
        raise KeyboardInterrupt
    return 0

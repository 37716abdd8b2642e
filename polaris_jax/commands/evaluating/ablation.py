"""``polaris evaluate ablation``: trains runs that differ in one setting, and compares them on held-out authors."""

import argparse

from polaris_jax import storage
from polaris_jax.commands.devices import compilation_cache, host_devices
from polaris_jax.commands.evaluating.story_flags import write_report
from polaris_jax.commands.flag_types import folder_to_write
from polaris_jax.errors import InputError

HELP = {
    "ablation": "a sweep of training runs (forms of the scaffold, epochs, config overrides) with one table at the end"
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of the sweep."""
    parser.add_argument(
        "--config",
        required=True,
        metavar="FILE",
        help="the training config of all arms; --config.a.b=c overrides",
    )
    parser.add_argument(
        "--out", type=folder_to_write, required=True, metavar="DIR", help="local; the same command continues there"
    )
    parser.add_argument("--arms", metavar="FILE", help="JSON list of arms (default: the sweep of the paper's claims)")
    parser.add_argument("--only", metavar="NAMES", help="only these arms, with commas between")
    parser.add_argument(
        "--tokens",
        type=int,
        default=0,
        help="training tokens of arms without epochs (default: one epoch of the trajectories)",
    )
    parser.add_argument("--held-out", default="validation", help="split of the store to measure on")
    parser.add_argument(
        "--most-held-out", type=int, default=0, help="most trajectories of it, evenly spaced (default: all)"
    )
    parser.add_argument("--free-runs", type=int, default=8, help="greedy continuations per arm")
    parser.add_argument("--free-tokens", type=int, default=320, help="tokens of each")
    parser.add_argument("--devices", type=int, help="host devices, when running on CPU")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    parser.set_defaults(takes_config=True)


def run(arguments: argparse.Namespace) -> int:
    """Trains and measures the missing runs; returns 0.

    Raises:
      InputError: an unknown arm, or a config, store or model that cannot be used.
    """
    host_devices(arguments.devices)
    compilation_cache()
    from rich.console import Console

    from polaris_jax.evals import jsonl
    from polaris_jax.studies.ablation import (
        AblationSpec,
        ablation_document,
        default_sweep,
        read_sweep_runs,
        run_ablation,
    )
    from polaris_jax.training import load_config

    out, console = storage.local("--out", arguments.out.rstrip("/")), Console(stderr=True)
    runs = list(read_sweep_runs(arguments.arms) if arguments.arms else default_sweep())
    if arguments.only:
        names = arguments.only.split(",")
        for name in names:
            if name not in {run.name for run in runs}:
                raise InputError("--only", name, f"the arms are {', '.join(run.name for run in runs)}")
        runs = [run for run in runs if run.name in names]
    spec = AblationSpec(
        arguments.tokens, arguments.held_out, arguments.most_held_out, arguments.free_runs, arguments.free_tokens
    )
    config = load_config(arguments.config, arguments.overrides)
    results = run_ablation(
        config,
        runs,
        out,
        spec,
        on_run=lambda run, result: console.print(f"{run.name}: {result['steps']} steps, {result['tokens']:,} tokens"),
        on_step=lambda run, record: console.print(
            f"{run.name}  step {record['step']}  loss {record['loss']:.4f}  {record['step_time_s']:.2f} s",
            highlight=False,
        ),
    )
    jsonl.write(storage.join(out, "arms.jsonl"), results)
    facts = {
        "config": arguments.config,
        "overrides": ", ".join(arguments.overrides) or "none",
        "store": str(config.data.store),
        "measured on": arguments.held_out,
    }
    return write_report(arguments, ablation_document(results, facts, arguments.seed), out)

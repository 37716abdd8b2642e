"""``polaris plan``: does it fit, what moves, how long: the real programs of a run compiled for a TPU slice."""

import argparse
import json
import os
from typing import TYPE_CHECKING

from polaris_jax.commands.flag_types import file_to_write, folder_to_write
from polaris_jax.errors import InputError

if TYPE_CHECKING:
    from polaris_jax.training.config import ConfigDict


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    parser.add_argument(
        "--config", required=True, metavar="NAME_OR_FILE", help="see polaris configs; --config.a.b=c overrides"
    )
    parser.add_argument("--topology", required=True, help="a slice's name: v5p-16, v6e-256, tpu7x-128, ...")
    parser.add_argument(
        "--slices", type=int, metavar="N", help="number of such slices, joined by DCN (default: mesh.slices, or one)"
    )
    parser.add_argument(
        "--full", action="store_true", help="compile to machine code: checks kernels too; minutes to hours"
    )
    parser.add_argument(
        "--estimate", action="store_true", help="estimate by arithmetic, at once, even if libtpu is installed"
    )
    parser.add_argument("--largest-context", action="store_true", help="search the longest data.window that fits")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--html", type=file_to_write, metavar="FILE", help="write the picture of memory over the step")
    parser.add_argument("--fresh", action="store_true", help="ignore verdicts that are kept on disk")
    parser.add_argument("--keep", type=folder_to_write, metavar="DIR", help="keep the compiler's files")
    parser.set_defaults(takes_config=True)


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    a = arguments
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # this process only counts; the compiler runs in its own process
    from rich.console import Console

    from polaris_jax.planner import largest_context, plan, with_suggestion
    from polaris_jax.planner.picture import write_picture
    from polaris_jax.planner.table import show
    from polaris_jax.training import load_config

    config, how = load_config(a.config, a.overrides), {"estimate": a.estimate, "cached": not a.fresh}
    if "rl" in config:
        return _post_training(a, config)
    notes = Console(stderr=True)
    if a.largest_context:
        verdict = largest_context(
            config, a.topology, slices=a.slices, say=lambda line: notes.print(line, highlight=False), full=a.full, **how
        )
    else:
        verdict = plan(config, a.topology, slices=a.slices, full=a.full, keep=a.keep, **how)
        verdict = with_suggestion(config, verdict, **how)  # only memory matters, so the tries make no machine code
    if a.html:
        write_picture(verdict, a.html)
    if a.json:
        print(json.dumps(verdict.to_json()))
    else:
        show(verdict, Console())
    return 0 if verdict.fits else 1


def _post_training(a: argparse.Namespace, config: "ConfigDict") -> int:
    """The same for a config of ``polaris rl``: phases instead of one step."""
    from rich.console import Console

    from polaris_jax.commands.post_training_table import show_phases
    from polaris_jax.post_training_plan import plan_post_training

    given = {"--slices": a.slices, "--full": a.full, "--largest-context": a.largest_context, "--html": a.html}
    for flag, value in (given | {"--keep": a.keep}).items():
        if value:
            raise InputError(flag, value, "is for configs of polaris train; leave it out for a post-training run")
    verdict = plan_post_training(config, a.topology, estimate=a.estimate, cached=not a.fresh)
    if a.json:
        print(json.dumps(verdict.to_json()))
    else:
        show_phases(verdict, Console())
    return 0 if verdict.fits else 1

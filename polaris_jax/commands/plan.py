"""``polaris plan``: does it fit, what moves, how long: the real train step compiled for a TPU slice."""

import argparse
import json
import os


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    parser.add_argument("--config", required=True, metavar="FILE", help="a configs/*.py; --config.a.b=c overrides")
    parser.add_argument("--topology", required=True, help="a slice's name: v5p-16, v6e-256, tpu7x-128, ...")
    parser.add_argument("--full", action="store_true",
                        help="compile to machine code: checks kernels too; minutes to hours")
    parser.add_argument("--estimate", action="store_true",
                        help="by arithmetic, at once, even where libtpu is installed")
    parser.add_argument("--largest-context", action="store_true", help="search the longest data.window that fits")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--html", metavar="FILE", help="write the picture of memory over the step")
    parser.add_argument("--fresh", action="store_true", help="do not read verdicts kept on disk")
    parser.add_argument("--keep", metavar="DIR", help="keep the compiler's files")
    parser.set_defaults(takes_config=True)


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    a = arguments
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # this process only counts; the compiler runs in one of its own
    from rich.console import Console

    from polaris_jax.planner import largest_context, plan, with_suggestion
    from polaris_jax.planner.picture import write_picture
    from polaris_jax.planner.table import show
    from polaris_jax.training import load_config

    config, how = load_config(a.config, a.overrides), {"estimate": a.estimate, "cached": not a.fresh}
    notes = Console(stderr=True)
    if a.largest_context:
        verdict = largest_context(config, a.topology, say=lambda line: notes.print(line, highlight=False),
                                  full=a.full, **how)
    else:
        verdict = plan(config, a.topology, full=a.full, keep=a.keep, **how)
        verdict = with_suggestion(config, verdict, **how)  # memory decides: no machine code is made of what is tried
    if a.html:
        write_picture(verdict, a.html)
    if a.json:
        print(json.dumps(verdict.to_json()))
    else:
        show(verdict, Console())
    return 0 if verdict.fits else 1

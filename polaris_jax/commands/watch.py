"""``polaris watch``: a running or finished training run in the terminal, as JSON, or as a page.

It reads only the run's folder, local or gs://, so it can run anywhere. The exit code is 1 if the run is stale or gave
up.
"""

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING

from polaris_jax.commands.flag_types import file_to_write, real, whole
from polaris_jax.options import AT_LEAST_1, POSITIVE

if TYPE_CHECKING:
    from rich.console import Console

    from polaris_jax.report import RunState


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    parser.add_argument("workdir", metavar="WORKDIR", help="folder of polaris train, rl or demo, local or gs://")
    parser.add_argument("--once", action="store_true", help="one frame, then end")
    parser.add_argument(
        "--every", type=real(POSITIVE), default=2.0, metavar="SECONDS", help="seconds between frames (default 2)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, then end")
    parser.add_argument(
        "--html", type=file_to_write, metavar="FILE", help="write the curves of all metrics as a page, then end"
    )
    parser.add_argument(
        "--samples",
        type=file_to_write,
        metavar="FILE",
        help="for polaris rl: write prompts, completions, references, scores and advantages as a page, then end",
    )
    parser.add_argument(
        "--steps", metavar="N[,N...]", help="with --samples: the steps to show (default: the last three recorded)"
    )
    parser.add_argument("--groups", type=whole(AT_LEAST_1), default=6, help="with --samples: most groups of a step")


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    a = arguments
    from rich.console import Console

    from polaris_jax.report.dashboard import dashboard
    from polaris_jax.report.run_report import write_run_report
    from polaris_jax.report.run_state import read_state
    from polaris_jax.report.sample_view import write_samples

    state = read_state(a.workdir)
    if a.samples:
        page = write_samples(a.workdir, a.samples, steps=_steps(a.steps), groups=a.groups)
        print(page, file=sys.stderr if a.json else sys.stdout)
    if a.html:
        print(write_run_report(state, a.html, a.samples), file=sys.stderr if a.json else sys.stdout)
    if a.json:
        print(json.dumps(state.to_json()))
    console = Console()
    if not (a.html or a.json or a.samples):
        if a.once or not console.is_terminal:
            console.print(dashboard(state, console.width))
        else:
            state = _live(a, console, state)
    return 1 if state.health in ("stale", "failed") else 0


def _steps(text: str | None) -> list[int]:
    from polaris_jax.errors import InputError

    try:
        return [int(part) for part in text.split(",")] if text else []
    except ValueError:
        raise InputError("--steps", text, "whole numbers such as 10,20") from None


def _live(arguments: argparse.Namespace, console: "Console", state: "RunState") -> "RunState":
    """Draws frames until the run has ended or Ctrl-C."""
    from rich.live import Live

    from polaris_jax.report.dashboard import dashboard
    from polaris_jax.report.run_state import read_state

    try:
        with Live(dashboard(state, console.width), console=console, auto_refresh=False) as live:
            while state.health not in ("finished", "failed"):
                time.sleep(arguments.every)
                state = read_state(arguments.workdir)
                live.update(dashboard(state, console.width), refresh=True)
    except KeyboardInterrupt:  # Ctrl-C is how the user stops watching
        pass
    return state

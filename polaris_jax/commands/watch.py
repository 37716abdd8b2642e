"""``polaris watch``: a running or finished training run in the terminal, as JSON, or as a page.

It reads the run's folder, local or gs://, and nothing else, so it can run anywhere. Exit code 1: the run is stale, or
gave up.
"""

import argparse
import json
import time


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    parser.add_argument("workdir", metavar="WORKDIR", help="of polaris train or demo, local or gs://")
    parser.add_argument("--once", action="store_true", help="one frame, then end")
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="between frames (default 2)")
    parser.add_argument("--json", action="store_true", help="one JSON object, then end")
    parser.add_argument("--html", metavar="FILE", help="write the curves of all metrics as a page, then end")


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    a = arguments
    from rich.console import Console

    from polaris_jax.errors import InputError
    from polaris_jax.report.dashboard import dashboard
    from polaris_jax.report.run_report import write_run_report
    from polaris_jax.report.run_state import read_state

    if a.every <= 0:
        raise InputError("--every", a.every, "must be positive")
    state = read_state(a.workdir)
    if a.html:
        print(write_run_report(state, a.html))
    if a.json:
        print(json.dumps(state.to_json()))
    console = Console()
    if not (a.html or a.json):
        if a.once or not console.is_terminal:
            console.print(dashboard(state, console.width))
        else:
            state = _live(a, console, state)
    return 1 if state.health in ("stale", "failed") else 0


def _live(arguments: argparse.Namespace, console, state):
    """Draws frames until the run is finished or the watcher has seen enough."""
    from rich.live import Live

    from polaris_jax.report.dashboard import dashboard
    from polaris_jax.report.run_state import read_state

    try:
        with Live(dashboard(state, console.width), console=console, auto_refresh=False) as live:
            while state.health not in ("finished", "failed"):
                time.sleep(arguments.every)
                state = read_state(arguments.workdir)
                live.update(dashboard(state, console.width), refresh=True)
    except KeyboardInterrupt:  # how one stops watching
        pass
    return state

"""The page of one training run: where it stands, its losses by kind and role, and the curve of everything it logged."""

import os
from pathlib import Path

from polaris_jax import storage
from polaris_jax.report.metric_charts import all_charts
from polaris_jax.report.page import render, write_page
from polaris_jax.report.run_state import RunState
from polaris_jax.report.sections import training_of


def write_run_report(state: RunState, target: str | os.PathLike) -> str:
    """Writes the page to ``target``, a file, local or gs://; returns its address."""
    page = run_page(state)
    if storage.is_remote(target):
        storage.write(os.fspath(target), page.encode())
    else:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        write_page(Path(target), page)
    return os.fspath(target)


def run_page(state: RunState) -> str:
    """The page as a string."""
    facts = {"steps": state.steps, "config": state.config}
    lost = {name.removeprefix("lost/"): seconds for name, seconds in state.goodput.items() if name.startswith("lost/")}
    return render("run.html", state=state, training=training_of(state.records, facts, all_charts), lost=lost)

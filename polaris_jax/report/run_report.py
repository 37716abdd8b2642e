"""The page of one run, training or post-training: progress, and the curve of every logged metric."""

import os

from polaris_jax import storage
from polaris_jax.report.metric_charts import all_charts
from polaris_jax.report.page import render
from polaris_jax.report.rl_report import is_post_training, rl_page
from polaris_jax.report.run_state import RunState
from polaris_jax.report.sections import training_of


def write_run_report(state: RunState, target: str | os.PathLike, samples: str | None = None) -> str:
    """Writes the page to ``target``, a file, local or gs://; returns its address."""
    storage.write(os.fspath(target), run_page(state, samples).encode())
    return os.fspath(target)


def run_page(state: RunState, samples: str | None = None) -> str:
    """The page as a string, with a link to ``samples``, the page of samples of a post-training run."""
    if is_post_training(state):
        return rl_page(state, samples)
    facts = {"steps": state.steps, "config": state.config}
    lost = {name.removeprefix("lost/"): seconds for name, seconds in state.goodput.items() if name.startswith("lost/")}
    return render("run.html", state=state, training=training_of(state.records, facts, all_charts), lost=lost)

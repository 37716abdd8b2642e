"""Reports of runs: self-contained HTML pages, without scripts and without a network.

``write_report(workdir)`` turns the files of ``polaris demo`` (books, transcripts, training record, written book) into
``report.html``. ``transcript_html(transcript, title)`` shows any transcript coloured by stage role and by kind.
``read_state(workdir)`` gives the state of a training run; ``dashboard(state)`` shows it in the terminal and
``write_run_report(state, file)`` as a page. ``write_samples(workdir, file)`` shows the samples of a post-training run,
and ``write_evaluation(folder)`` makes the page of ``polaris evaluate``. Every number on a page comes from the files of
the run; for a missing part the page says so in a sentence.
"""

from polaris_jax.report.dashboard import dashboard
from polaris_jax.report.demo_report import write_report
from polaris_jax.report.evaluation_report import write_evaluation
from polaris_jax.report.run_report import write_run_report
from polaris_jax.report.run_state import RunState, read_state
from polaris_jax.report.sample_view import write_samples
from polaris_jax.report.transcript_view import transcript_html

__all__ = [
    "RunState",
    "dashboard",
    "read_state",
    "transcript_html",
    "write_evaluation",
    "write_report",
    "write_run_report",
    "write_samples",
]

"""``report.html``: a whole demo run on one page."""

from pathlib import Path

from polaris_jax import storage
from polaris_jax.data import load_tokenizer
from polaris_jax.errors import InputError
from polaris_jax.report import sections
from polaris_jax.report.page import render
from polaris_jax.report.transcript_view import TokenCounter, TranscriptView, view_transcript
from polaris_jax.report.workdir import MODEL, DemoRun, read_run

REPORT = "report.html"


def write_report(workdir: str | Path) -> Path:
    """Writes ``workdir/report.html`` from the files of the run so far, and returns its path.

    Raises:
      InputError: ``workdir`` is not a folder.
    """
    run = read_run(workdir)
    count_tokens = _token_counter(run)
    artifact = view_transcript(run.artifact, count_tokens) if run.artifact is not None else None
    example, example_view = _example(run, count_tokens)
    written = sections.written(run, artifact)
    page = render(
        "report.html",
        run=run,
        corpus=sections.corpus(run),
        training=sections.training(run),
        mesh=sections.mesh(run),
        written=written,
        example=example,
        example_view=example_view,
        times=sections.time_parts(run),
        published=sections.PUBLISHED_SHARES,
        commands=sections.commands(run, written.prompt if written else ""),
    )
    target = run.path / REPORT
    storage.write(str(target), page.encode())
    return target


def _example(run: DemoRun, count_tokens: TokenCounter | None) -> tuple[dict, TranscriptView | None]:
    """The first trajectory of the training data (or of all data), and its view."""
    corpus = sections.corpus(run)
    rows = corpus.trajectories if corpus else []
    wanted = [index for index in run.books.get("trained_on") or () if isinstance(index, int) and 0 <= index < len(rows)]
    for index in (*wanted, *range(len(rows))):
        text = run.text(rows[index].get("file"))
        if text is not None:
            return rows[index], view_transcript(text, count_tokens)
    return {}, None


def _token_counter(run: DemoRun) -> TokenCounter | None:
    """A counter with the tokenizer of the trained model; None before the run has one."""
    folder = run.path / MODEL
    if not folder.is_dir():
        return None
    try:
        tokenizer = load_tokenizer(folder)
    except InputError:
        return None
    return lambda text: len(tokenizer.encode(text))

"""``build_library``: builds a token store from a list of novels, on this machine or on Apache Beam."""

import importlib.util
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from polaris_jax import storage
from polaris_jax.corpus import work_area
from polaris_jax.corpus.assemble import RUN
from polaris_jax.corpus.options import BuildOptions
from polaris_jax.corpus.runners import run_local
from polaris_jax.corpus.steps import Job, close_models, keep_tokenizer, spent_so_far
from polaris_jax.data import Tokenizer, layout
from polaris_jax.errors import InputError
from polaris_jax.scaffold import AnnotatorSpec, EntailmentSpec

Progress = Callable[[str, int, int], None]  # (stage, number done, total or 0 if not known yet)
_POLL = 0.5, 10.0  # seconds between checks of a local and of a remote work area


@dataclass(frozen=True)
class Build:
    """A finished build.

    Attributes:
      report: what the store holds, row by row; also ``OUT/build_report.json``.
      run: what this run did and what it found done, and seconds by stage and in total.
    """

    report: dict
    run: dict


def build_library(
    novels: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    tokenizer: Tokenizer,
    options: BuildOptions,
    annotator: AnnotatorSpec = AnnotatorSpec(),
    *,
    judge: EntailmentSpec = EntailmentSpec(),
    work: str | os.PathLike[str] | None = None,
    runner: str = "local",
    beam_options: Sequence[str] = (),
    workers: int | None = None,
    transcripts: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Build:
    """Builds a token store from novels. Finished books are kept, so a killed build resumes.

    The store's bytes depend only on the novels, the options, the tokenizer and this code, not on the runner, the
    machine or the order of the novels. A novel that is rejected or fails becomes a row of the report, and the build
    continues.

    Args:
      novels: addresses, local or ``gs://``.
      annotator: who writes the plans. A model's budget is per worker process; the local runner then uses one process.
      judge: a model that judges, besides the comparison of words, whether the prose supports the plans.
      out: the store, local or ``gs://``. work: where finished books are kept; default ``OUT.work``.
      runner: ``local`` (processes on this machine, no Beam needed) or a Beam runner (see ``pipeline``).
      beam_options: command-line options for the Beam runner.
      workers: processes of the local runner.
      transcripts: a folder that gets every trajectory as text when a store is written.
      progress: called about every second (every ten seconds for a remote work area).

    Raises:
      InputError: no novel gave a trajectory, an address cannot be used, or Beam is missing.
    """
    job, addresses = new_job(
        novels, out, tokenizer, options, annotator, judge=judge, work=work, transcripts=transcripts
    )
    started = time.perf_counter()
    layout.read_manifest(storage.check(job.out))  # fail on an unusable address before the build, not after
    run = _runner(job, addresses, runner, beam_options, workers)
    keep_tokenizer(job.work, tokenizer)
    storage.delete(job.work, ["plan.json", RUN])
    try:
        with _watch(job, len(addresses), progress):
            run()
    finally:
        close_models(job.run)
    found = storage.read_json(storage.join(job.work, RUN))
    if found is None:
        raise RuntimeError(f"{storage.join(job.work, RUN)} is missing: the work area was changed during the build")
    seconds = time.perf_counter() - started
    build = Build(found["report"], found["run"] | {"seconds": seconds, "runner": runner})
    if not build.report["trajectories"]:
        first = build.report["books"][0]
        raise InputError(
            "--books",
            first["file"],
            f"{first['reason']}"
            if len(addresses) == 1
            else f"none of the {len(addresses)} novels gave a trajectory; this one: {first['reason']}",
        )
    return build


def new_job(
    novels: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    tokenizer: Tokenizer,
    options: BuildOptions,
    annotator: AnnotatorSpec,
    *,
    judge: EntailmentSpec = EntailmentSpec(),
    work: str | os.PathLike[str] | None = None,
    transcripts: str | os.PathLike[str] | None = None,
) -> tuple[Job, list[str]]:
    """The job of a build and the addresses of its novels, from the arguments of ``build_library``.

    Raises:
      InputError: there is no novel, a rule for reading fits no novel, or the judge's folder is no classifier.
    """
    addresses = [os.fspath(novel) for novel in novels]
    if not addresses:
        raise InputError("--books", "", "no novel to build from")
    options.rules.check(addresses)
    judge.identity()  # a wrong folder is an error of the command, not of every book
    out = os.fspath(out).rstrip("/")
    job = Job(
        options.resolved(),
        out,
        os.fspath(work or f"{out}.work").rstrip("/"),
        tokenizer.fingerprint,
        annotator,
        judge,
        work_area.code_version(),
        uuid.uuid4().hex,
        None if transcripts is None else os.fspath(transcripts).rstrip("/"),
    )
    return job, addresses


def _runner(
    job: Job, addresses: list[str], runner: str, beam_options: Sequence[str], workers: int | None
) -> Callable[[], None]:
    if runner == "local":
        if beam_options:
            raise InputError("option", beam_options[0], "is no option of polaris build, and --runner=local has none")
        return lambda: run_local(job, addresses, workers)
    if importlib.util.find_spec("apache_beam") is None:
        raise InputError("--runner", runner, "needs Apache Beam: pip install 'polaris-jax[beam]', or --runner=local")
    from polaris_jax.corpus.pipeline import open_pipeline

    pipeline = open_pipeline(job, addresses, runner, beam_options)
    return lambda: pipeline.run().wait_until_finish()


@contextmanager
def _watch(job: Job, novels: int, progress: Progress | None) -> Iterator[None]:
    """Reports progress by checking the work area, because the runners share no other channel."""
    if progress is None:
        yield
        return
    work, done = job.work, threading.Event()
    surveys = storage.names(storage.join(work, "surveys"))

    def tell() -> None:
        plan = storage.read_json(storage.join(work, "plan.json"))
        if plan is None:
            read = len(storage.names(storage.join(work, "surveys")) - surveys)
            progress("reading", min(read, novels), novels)
        else:
            books = set(plan["books"])
            finished = {name.removesuffix(".json") for name in storage.names(storage.join(work, "books"))}
            progress(f"planning{spent_so_far(job)}", len(books & finished), len(books))

    def look() -> None:
        while not done.wait(_POLL[storage.is_remote(work)]):
            with suppress(InputError):  # the bucket may be unreachable for a moment
                tell()

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()

"""``build_library``: from a list of novels to a token store, whoever does the work."""

import importlib.util
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from polaris_jax import storage
from polaris_jax.corpus import shard
from polaris_jax.corpus.assemble import RUN
from polaris_jax.corpus.options import BuildOptions
from polaris_jax.corpus.runners import run_local
from polaris_jax.corpus.steps import Job, close_annotator, keep_tokenizer
from polaris_jax.data import Tokenizer, layout
from polaris_jax.errors import InputError
from polaris_jax.scaffold import AnnotatorSpec

Progress = Callable[[str, int, int], None]  # what is being done, how many are done, of how many (0: not known yet)
_POLL = 0.5, 10.0  # seconds between looks at a local and a remote work area


@dataclass(frozen=True)
class Build:
    """A finished build.

    Attributes:
      report: what the store holds, row by row; also ``OUT/build_report.json``.
      run: what was done now and what was found done, seconds by stage and in all.
    """

    report: dict
    run: dict


def build_library(
    novels: Iterable[str | os.PathLike], out: str | os.PathLike, tokenizer: Tokenizer, options: BuildOptions,
    annotator: AnnotatorSpec = AnnotatorSpec(), *, work: str | os.PathLike | None = None, runner: str = "local",
    beam_options: Sequence[str] = (), workers: int | None = None, transcripts: str | os.PathLike | None = None,
    progress: Progress | None = None,
) -> Build:  # fmt: skip
    """Builds a token store from novels; every finished book is kept, so a build that was killed goes on where it was.

    The store's bytes depend on the novels, the options, the tokenizer and this code alone, not on the runner, the
    machine or the order of the novels. A novel that cannot be used, or in which something breaks, becomes a row of
    the report and stops nothing.

    Args:
      novels: addresses, local or ``gs://``.
      annotator: who plans. A model's budget holds per worker process; the local runner has one such process then.
      out: the store, local or ``gs://``. work: where finished books are kept; default ``OUT.work``.
      runner: ``local`` (processes on this machine, no Beam needed) or a Beam runner (see ``pipeline``).
      beam_options: command-line options for the Beam runner.
      workers: processes of the local runner.
      transcripts: a folder for every trajectory as text, when a store is written.
      progress: called now and then.

    Raises:
      InputError: no novel gave a trajectory, an address cannot be used, or Beam is missing.
    """
    addresses = [os.fspath(novel) for novel in novels]
    if not addresses:
        raise InputError("--books", "", "no novel to build from")
    out = os.fspath(out).rstrip("/")
    job = Job(
        options.resolved(), out, os.fspath(work or f"{out}.work").rstrip("/"), tokenizer.fingerprint, annotator,
        shard.code_version(), uuid.uuid4().hex, None if transcripts is None else os.fspath(transcripts).rstrip("/"),
    )  # fmt: skip
    started = time.perf_counter()
    layout.read_manifest(storage.check(out))  # an address that cannot be used shall not cost a build
    run = _runner(job, addresses, runner, beam_options, workers)
    keep_tokenizer(job.work, tokenizer)
    storage.delete(job.work, ["plan.json", RUN])
    try:
        with _watch(job.work, len(addresses), progress):
            run()
    finally:
        close_annotator(job.run)
    found = storage.read_json(storage.join(job.work, RUN))
    seconds = time.perf_counter() - started
    build = Build(found["report"], found["run"] | {"seconds": seconds, "runner": runner})
    if not build.report["trajectories"]:
        first = build.report["books"][0]
        raise InputError("--books", first["file"], f"{first['reason']}" if len(addresses) == 1 else
                         f"none of the {len(addresses)} novels gave a trajectory; this one: {first['reason']}")
    return build


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
def _watch(work: str, novels: int, progress: Progress | None) -> Iterator[None]:
    """Reports progress while the work area fills, whoever fills it: there is no other channel to a cluster."""
    if progress is None:
        yield
        return
    done = threading.Event()
    surveys = storage.names(storage.join(work, "surveys"))

    def tell() -> None:
        plan = storage.read_json(storage.join(work, "plan.json"))
        if plan is None:
            read = len(storage.names(storage.join(work, "surveys")) - surveys)
            progress("reading", min(read, novels), novels)
        else:
            books = set(plan["books"])
            finished = {name.removesuffix(".json") for name in storage.names(storage.join(work, "books"))}
            progress("planning", len(books & finished), len(books))

    def look() -> None:
        while not done.wait(_POLL[storage.is_remote(work)]):
            with suppress(InputError):  # a bucket that is out of reach for a moment
                tell()

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()

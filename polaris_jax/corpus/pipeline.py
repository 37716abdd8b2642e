"""The library build as an Apache Beam pipeline.

    addresses ─ survey ─┐ (all) choose ─ make ─┐ (all) assemble

Every step works on small records. Novels, books and the store are files that the steps read and write themselves, so
the next worker finds what a killed one had finished. ``--runner=DirectRunner`` is Beam's Python runner on this machine,
with a process per core; Beam's own ``DirectRunner`` would first try to download Prism, a separate program.
``PortableRunner`` with ``--job_endpoint=embed`` uses Beam's portable job service in this process. Its workers are
threads here (``--environment_type=LOOPBACK``), unless the options ask for another environment (a container). Flink,
Spark and Dataflow take their own options; their workers need this package and addresses they can reach.
"""

import os
from collections.abc import Sequence
from functools import partial

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from polaris_jax import storage
from polaris_jax.corpus.assemble import assemble
from polaris_jax.corpus.steps import Job, choose, make, survey
from polaris_jax.errors import InputError

_DIRECT = ("DirectRunner", "FnApiRunner")
_FAR = ("DataflowRunner",)


def open_pipeline(job: Job, addresses: Sequence[str], runner: str, options: Sequence[str]) -> beam.Pipeline:
    """The pipeline, ready to ``run()``; nothing is read or written yet.

    Args:
      runner: a runner's name in Beam.
      options: the runner's own command-line options.

    Raises:
      InputError: an option or runner that Beam does not know, or addresses that the workers cannot reach.
    """
    pipeline_options = _options(job, runner, options, len(addresses))
    if runner in _FAR:
        for name, address in (("--books", addresses[0]), ("--out", job.out), ("--work", job.work)):
            if not storage.is_remote(address):
                raise InputError(name, address, f"the workers of {runner} cannot reach it; use gs://bucket/...")
    try:
        pipeline = beam.Pipeline(FnApiRunner() if runner in _DIRECT else None, pipeline_options)
    except ValueError as error:
        raise InputError("--runner", runner, str(error)) from None
    _ = (
        pipeline
        | "novels" >> beam.Create(list(addresses))
        | "spread novels" >> beam.Reshuffle()
        | "survey" >> beam.Map(partial(survey, job))
        | "all surveys" >> beam.combiners.ToList()
        | "choose" >> beam.FlatMap(partial(choose, job))
        | "spread books" >> beam.Reshuffle()
        | "make" >> beam.Map(partial(make, job))
        | "all books" >> beam.combiners.ToList()
        | "assemble" >> beam.Map(partial(assemble, job))
    )
    return pipeline


def _options(job: Job, runner: str, given: Sequence[str], novels: int) -> PipelineOptions:
    """Beam's options, plus defaults with which the local runners work out of the box."""
    defaults = []
    named = {option.split("=", 1)[0] for option in given}
    if runner in _DIRECT and "--direct_num_workers" not in named and "--direct_running_mode" not in named:
        # With a model, workers mostly wait and share one budget: threads of one process. Offline planning needs cores.
        offline = job.annotator.client is None
        workers = min(os.cpu_count() or 1 if offline else 4, novels)
        mode = "in_memory" if workers == 1 else "multi_processing" if offline else "multi_threading"
        defaults = [f"--direct_num_workers={workers}", f"--direct_running_mode={mode}"]
    if runner not in _DIRECT:
        defaults.append(f"--runner={runner}")
    if runner == "PortableRunner" and "--job_endpoint" not in named:
        defaults.append("--job_endpoint=embed")
    try:
        options = PipelineOptions([*defaults, *given])
        known = options.get_all_options()
        portable = options.view_as(PortableOptions)
    except SystemExit:  # argparse refuses a value like this
        raise InputError("--runner", " ".join(given), "Beam does not understand these pipeline options") from None
    unknown = sorted(option for option in named if option.lstrip("-").split("=")[0] not in known)
    if unknown:
        raise InputError("option", unknown[0], f"is an option neither of polaris build nor of Beam with {runner}")
    if portable.job_endpoint == "embed" and portable.environment_type is None:
        portable.environment_type = "LOOPBACK"
    return options

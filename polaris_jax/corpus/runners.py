"""The library build without Beam: the same steps in a loop, in threads, or in a process per core."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.connection import wait

from polaris_jax.corpus.assemble import assemble
from polaris_jax.corpus.steps import Job, choose, make, survey

_ATTEMPTS = 3


class WorkerDied(RuntimeError):
    """Worker processes were killed from outside in every attempt."""


def run_local(job: Job, addresses: Sequence[str], workers: int | None = None) -> None:
    """Builds the library on this machine; returns when the store is complete.

    Args:
      workers: books at once; 1 works in this process, None uses a process per core. With a model that plans or judges
        they are threads, four by default: they mostly wait for the model, and share one budget or one classifier.

    Raises:
      WorkerDied: worker processes were killed in each of three attempts.
    """
    threads = job.annotator.client is not None or bool(job.judge)
    workers = min(workers or (4 if threads else os.cpu_count() or 1), len(addresses))
    if workers == 1:
        _steps(job, addresses, map)
        return
    if threads:
        with ThreadPoolExecutor(workers, thread_name_prefix="book") as pool:
            _steps(job, addresses, pool.map)
        return
    for attempt in range(_ATTEMPTS):
        try:
            _in_processes(job, addresses, workers)
            return
        except BrokenProcessPool:  # finished work is on disk, so the next attempt continues there
            if attempt + 1 == _ATTEMPTS:
                raise WorkerDied(
                    f"worker processes were killed in {_ATTEMPTS} attempts, perhaps for lack of memory; finished books "
                    "are kept: try again with --workers=1"
                ) from None


def _in_processes(job: Job, addresses: Sequence[str], workers: int) -> None:
    # Spawned, not forked: a forked child would inherit the locks of TensorStore's threads.
    context, others = multiprocessing.get_context("spawn"), set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker)
    try:
        _steps(job, addresses, pool.map)
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:  # without this, it would finish its book first
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _steps(job: Job, addresses: Sequence[str], each: Callable[..., Iterable]) -> None:
    rows = choose(job, list(each(partial(survey, job), addresses)))
    assemble(job, each(partial(make, job), rows))


def _start_worker() -> None:
    """Ignores Ctrl-C, which the parent handles, and ends when the parent ends, even by ``kill -9``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()

"""Several processes as one run: joining them, and what one of them does for all.

A pod is joined by JAX's own detection; on one machine (``launch/local_multiprocess.sh``) the environment names the
coordinator: ``JAX_COORDINATOR_ADDRESS``, ``JAX_NUM_PROCESSES``, ``JAX_PROCESS_ID``. When a process dies the others
learn it from the coordination service within ``HEARTBEAT_TIMEOUT`` seconds and end too: a collective can never be
completed without it.
"""

import os
from collections.abc import Callable
from typing import TypeVar

import jax
from jax.experimental import multihost_utils

from polaris_jax.errors import InputError

HEARTBEAT_TIMEOUT = 30  # seconds
T = TypeVar("T")


def join() -> None:
    """Joins the processes of the run, if there are several; to be called before anything else asks JAX for devices.

    Raises:
      InputError: the environment names a coordinator but not who this process is.
    """
    if jax.distributed.is_initialized():
        return
    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
    if address:
        count, number = (_whole(name) for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"))
        jax.distributed.initialize(address, count, number, heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT)
    elif len(os.environ.get("TPU_WORKER_HOSTNAMES", "").split(",")) > 1 and os.environ.get("JAX_PLATFORMS") != "cpu":
        jax.distributed.initialize(heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT)


def _whole(name: str) -> int:
    value = os.environ.get(name, "")
    if not value.isdigit():
        raise InputError(name, value, "must be a whole number where JAX_COORDINATOR_ADDRESS is set")
    return int(value)


def is_first() -> bool:
    """Whether this process does what is done once for all of them: files, tables, progress."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Returns when every process has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def agreed(value: int) -> int:
    """The largest of the processes' values (a signal reaches them at different steps)."""
    if jax.process_count() == 1:
        return value
    import numpy as np

    return int(np.max(multihost_utils.process_allgather(np.int32(value))))


def first_says(do: Callable[[], None], what: str) -> None:
    """Runs ``do`` in the first process; the others wait. A failure there is everybody's.

    Raises:
      InputError: in every other process, when ``do`` failed in the first, which raises what it met.
    """
    failure: Exception | None = None
    if is_first():
        try:
            do()
        except Exception as error:
            failure = error
    if agreed(int(failure is not None)):
        raise failure or InputError(what, "first process", "was refused there; see its output")

"""Several processes as one run: joining them, and what one of them does for all.

On a pod, JAX finds the other processes itself. On one machine (``launch/local_multiprocess.sh``) the environment names
the coordinator: ``JAX_COORDINATOR_ADDRESS``, ``JAX_NUM_PROCESSES``, ``JAX_PROCESS_ID``. When a process dies, the
coordination service tells the others within ``HEARTBEAT_TIMEOUT`` seconds. They end too, because no collective can
complete without it.
"""

import json
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from polaris_jax.errors import InputError

HEARTBEAT_TIMEOUT = 30  # seconds
T = TypeVar("T")


def join() -> None:
    """Joins the processes of the run, if there are several. Call it before anything asks JAX for devices.

    Raises:
      InputError: the environment names a coordinator but not who this process is.
    """
    if jax.distributed.is_initialized():
        return
    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
    if address:
        count, number = (_whole(name) for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"))
        jax.distributed.initialize(address, count, number, heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT)
    elif os.environ.get("JAX_PLATFORMS") != "cpu" and (
        len(os.environ.get("TPU_WORKER_HOSTNAMES", "").split(",")) > 1
        or os.environ.get("MEGASCALE_NUM_SLICES", "1") not in ("", "1")
    ):
        jax.distributed.initialize(heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT)


def _whole(name: str) -> int:
    value = os.environ.get(name, "")
    if not value.isdigit():
        raise InputError(name, value, "must be a whole number where JAX_COORDINATOR_ADDRESS is set")
    return int(value)


def is_first() -> bool:
    """Whether this process does what is done once for all of them: files, tables, progress."""
    return jax.process_index() == 0


def said_once(say: Callable[[str], None]) -> Callable[[str], None]:
    """``say`` in the first process, and a function that does nothing in the others."""
    return say if is_first() else lambda line: None


def barrier(name: str) -> None:
    """Waits until every process has called this."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def all_max(value: int) -> int:
    """The largest of the processes' values (a signal reaches them at different steps)."""
    if jax.process_count() == 1:
        return value
    return int(np.max(multihost_utils.process_allgather(np.int32(value))))


def all_rows(values: Sequence[float]) -> np.ndarray:
    """Gathers the values of every process: ``[processes, n] float32``."""
    return np.asarray(multihost_utils.process_allgather(np.asarray(values, np.float32))).reshape(-1, len(values))


def host_names() -> list[str]:
    """The host name of every process, in process order. Names longer than 63 bytes are cut."""
    name = np.frombuffer(socket.gethostname().encode()[:63].ljust(64, b"\0"), np.uint8)
    if jax.process_count() == 1:
        return [socket.gethostname()]
    names = np.asarray(multihost_utils.process_allgather(name)).reshape(-1, 64)
    return [row.tobytes().rstrip(b"\0").decode(errors="replace") for row in names]


def from_first(value: Any) -> Any:
    """``value`` of the first process, which must be plain JSON, in all of them; every process must call this."""
    if jax.process_count() == 1:
        return value
    data = np.frombuffer(json.dumps(value).encode(), np.uint8) if is_first() else np.zeros(0, np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    data = np.zeros(size, np.uint8) if not is_first() else data
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(data)).tobytes())


def wait_for_all(name: str, seconds: float) -> None:
    """Returns when every process has come here. Unlike at a ``barrier``, the devices do not wait, and it may take long.

    Args:
      name: never used before in this run of the processes. seconds: after which waiting ends with an error.
    """
    if jax.process_count() > 1:
        ocp.multihost.sync_global_processes(name, timeout=int(seconds), processes=set(range(jax.process_count())))


def raise_together(problem: Exception | None, what: str) -> None:
    """Raises ``problem`` where there is one, and in the other processes what it is for them; all must call this.

    Raises:
      InputError: in a process without a problem, when another has one.
    """
    if not all_max(int(problem is not None)):
        return
    raise problem or InputError(what, "another process", "has stopped; see its output")


def run_on_first_process(do: Callable[[], None], what: str) -> None:
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
    raise_together(failure, what)

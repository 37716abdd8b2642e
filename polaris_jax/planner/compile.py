"""Runs the TPU compiler in its own process (``compiler_process``), which is ended once its verdict is on disk.

libtpu compiles for chips that are not attached. Long before code generation it writes its verdict to a dump folder:
the scheduled program, the assignment of buffers, and a memory report. Unless a full compile is asked for,
``compile_step`` ends the process once these files are complete: after a tenth of the time. Only a full compile checks
the limits of kernels (VMEM, SMEM).
"""

import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from polaris_jax.errors import InputError, RunError
from polaris_jax.planner.topology import Slice

# Settings that libtpu needs where there is no TPU.
ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5p-16",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "true",
}
_POLL = 0.25  # seconds between looks at the dump folder
_QUIET = 1.0  # seconds without growth after which the files are complete
_ENDINGS = ("after_optimizations.txt", "buffer-assignment.txt", "live-range.txt", "memory-usage-report.txt")


@dataclass(frozen=True)
class Compiled:
    """Where the compiler's files lie, and what a full compile said.

    Attributes:
      program: name of the compiled function.
      peak: bytes of HBM at the peak, from a full compile; None where it was ended early or failed.
      error: the compiler's own words, when it refused.
    """

    folder: Path
    seconds: float
    program: str
    peak: int | None = None
    error: str | None = None

    def text(self, ending: str) -> str | None:
        """The dump file of the program with this ending, None if the compiler did not get that far."""
        files = list(self.folder.glob(f"*jit_{self.program}*{ending}"))
        return files[0].read_text(encoding="utf-8", errors="replace") if files else None


def compiler_version() -> str | None:
    """The version of libtpu, None if it is not installed."""
    if importlib.util.find_spec("libtpu") is None:
        return None
    from importlib.metadata import version

    return version("libtpu")


def compile_step(
    rows: dict,
    slice_: Slice,
    folder: Path,
    *,
    full: bool = False,
    options: dict | None = None,
    limit: float | None = None,
) -> Compiled:
    """Compiles the train step of a config (``abstract.to_rows``) for a slice; its files go to ``folder``.

    Args:
      full: wait for code generation, minutes to hours instead of a fraction of a minute.
      options: more compiler options, e.g. ``{"xla_tpu_scoped_vmem_limit_kib": 65536}``.
      limit: seconds after which the compiler is ended; default: an hour, and none if ``full``.

    Raises:
      InputError: the step refused the config, or ``folder`` has files already, which could be taken for the verdict.
      RunError: the compiler came to no verdict in time, or its process was killed or failed; carries its last words.
    """
    asked = {"config": rows, "topology": slice_.topology_name, "slices": slice_.count, "options": options or {}}
    return compile_program(
        asked, folder, module="polaris_jax.planner.compiler_process", program="train_step", full=full, limit=limit
    )


def compile_program(
    asked: dict, folder: Path, *, module: str, program: str, full: bool = False, limit: float | None = None
) -> Compiled:
    """Runs ``python -m module`` on a request (see ``compiler_process.answer``); its files go to ``folder``.

    Args:
      asked: the request: ``topology``, ``slices``, ``options``, and the module's own fields.
      program: name of the function that it compiles.
      full, limit: as for ``compile_step``.

    Raises:
      InputError, RunError: as for ``compile_step``.
    """
    if limit is None:
        limit = math.inf if full else 3600.0
    request, result, log = folder / "request.json", folder / "result.json", folder / "log.txt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError("--keep", str(folder), "is not empty; give a new folder")
        request.write_text(json.dumps(asked))
    except OSError as error:
        raise InputError("--keep", str(folder), f"cannot be written: {error.strerror}") from error
    environment = os.environ | ENVIRONMENT | {"JAX_PLATFORMS": "cpu"}
    start = time.monotonic()
    with log.open("w") as words:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(request)],
            stdin=subprocess.PIPE,
            stdout=words,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            _wait(process, folder, program, full, start + limit)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stdin is not None:
                process.stdin.close()
    seconds = time.monotonic() - start
    if not result.exists():
        if not full and _complete(folder, program):
            return Compiled(folder, seconds, program)
        if seconds >= limit:
            raise RunError(f"the compiler came to no verdict within {limit:.0f} s")
        if process.returncode < 0:
            raise RunError(
                f"the compiler was killed by {signal.Signals(-process.returncode).name} after {seconds:.0f} "
                "s; by SIGKILL most often because the machine had no memory left"
            )
        raise RunError(f"the compiler's process failed: {_last_words(log)}; --keep=DIR keeps all of its log")
    said = json.loads(result.read_text())
    if said.get("input_error"):
        raise InputError(*said["input_error"])
    return Compiled(folder, seconds, program, said.get("peak"), said.get("error"))


def _last_words(log: Path) -> str:
    """The last line that a failed process wrote; in a traceback this is the exception."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:400] if lines else "it said nothing"


def _wait(process: subprocess.Popen, folder: Path, program: str, full: bool, deadline: float) -> None:
    """Waits until the process ends or (if not ``full``) the files of the verdict have stopped growing."""
    sizes, quiet = None, 0.0
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(_POLL)
        if full or not _complete(folder, program):
            continue
        now = {file.name: file.stat().st_size for file in folder.glob(f"*jit_{program}*")}
        quiet = quiet + _POLL if now == sizes else 0.0
        sizes = now
        if quiet >= _QUIET:
            return


def _complete(folder: Path, program: str) -> bool:
    return all(any(file.stat().st_size for file in folder.glob(f"*jit_{program}*{ending}")) for ending in _ENDINGS)

"""The process that ``compile_step`` starts: ``python -m polaris_jax.planner.compiler_process REQUEST.json``.

It lowers the step for the requested topology, compiles it with the request's folder as dump folder, and writes
``result.json`` there unless it is ended before. It ends with the process that started it: its standard input is a pipe
without data, which closes when that process ends, even if killed.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
from jax.errors import JaxRuntimeError
from jax.experimental import topologies

from polaris_jax import storage
from polaris_jax.errors import InputError
from polaris_jax.planner.abstract import from_rows, lower_step


def main(lower: Callable[[dict, Sequence[jax.Device]], jax.stages.Lowered]) -> None:
    """The main function of a module that compiles: answers the request named on the command line."""
    threading.Thread(target=_end_with_the_pipe, daemon=True).start()
    answer(sys.argv[1], lower)


def answer(path: str, lower: Callable[[dict, Sequence[jax.Device]], jax.stages.Lowered]) -> None:
    """Compiles what ``lower(request, devices)`` gives for the request's topology."""
    request, folder = json.loads(Path(path).read_text()), Path(path).parent
    said: dict[str, object] = {}
    try:
        more: dict = {"num_slices": request["slices"]} if request.get("slices", 1) > 1 else {}
        if request["topology"].endswith((":1x1", ":1x1x1")):
            more["chips_per_host_bounds"] = (1, 1, 1)  # otherwise libtpu assumes hosts with four chips
        topology = topologies.get_topology_desc(platform="tpu", topology_name=request["topology"], **more)
        lowered = lower(request, topology.devices)
        options = {"xla_dump_to": str(folder), "xla_dump_hlo_as_text": True, **request["options"]}
        memory = lowered.compile(compiler_options=options).memory_analysis()
        said["peak"] = None if memory is None else memory.peak_memory_in_bytes
    except InputError as error:
        said["input_error"] = [error.field, error.value, error.advice]
    except JaxRuntimeError as error:
        said["error"] = str(error)
    storage.write(str(folder / "result.json"), json.dumps(said, default=str).encode())


def _end_with_the_pipe() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock the interpreter needs at exit
        pass
    os._exit(1)


if __name__ == "__main__":
    main(lambda request, devices: lower_step(from_rows(request["config"]), devices))

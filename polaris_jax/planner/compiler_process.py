"""What ``compile_step`` runs: ``python -m polaris_jax.planner.compiler_process REQUEST.json``.

Lowers the step for the asked topology, compiles it with a dump folder beside the request, and writes ``result.json``
there if it lives that long. It ends with whoever started it: its standard input is a pipe that nobody writes to, and
that closes when the other end is gone, even killed.
"""

import json
import os
import sys
import threading
from pathlib import Path

from jax.errors import JaxRuntimeError
from jax.experimental import topologies

from polaris_jax.errors import InputError
from polaris_jax.planner.abstract import from_rows, lower_step


def main(path: str) -> None:
    """Answers one request."""
    request, folder = json.loads(Path(path).read_text()), Path(path).parent
    said = {}
    try:
        topology = topologies.get_topology_desc(platform="tpu", topology_name=request["topology"])
        lowered = lower_step(from_rows(request["config"]), topology.devices)
        options = {"xla_dump_to": str(folder), "xla_dump_hlo_as_text": True, **request["options"]}
        said["peak"] = lowered.compile(compiler_options=options).memory_analysis().peak_memory_in_bytes
    except InputError as error:
        said["input_error"] = [error.field, error.value, error.advice]
    except JaxRuntimeError as error:
        said["error"] = str(error)
    temporary = folder / "result.tmp"
    temporary.write_text(json.dumps(said, default=str))
    temporary.replace(folder / "result.json")


def _end_with_the_pipe() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock the interpreter wants at its end
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_pipe, daemon=True).start()
    main(sys.argv[1])

"""The embedding's gradient on a TPU: four ways to sum the rows of a token's occurrences, by memory and cycles.

    pip install libtpu
    python benchmarks/embedding_gradient.py [--topology v5:2x2x1 v6e:2x2] [--shape 262144x1280 1048576x80]

Every way is compiled to machine code for one chip; needs libtpu, no TPU, nothing is run. A shape is
``tokens x columns``: all tokens of the group, this device's columns of the table (14B: 131,072 rows of 5,120; four
devices and 64).

* ``temporaries``: bytes beside the arguments and the result, by the compiler.
* ``cycles``: of XLA's own operations as it estimates them, loops by their trips. For a scatter it estimates nothing:
  there the bundles (one issue cycle each) of its program are counted once for every window of updates that it fetches,
  which is about the most they can be; waiting for memory comes on top.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from polaris_jax.planner.compile import ENVIRONMENT
from polaris_jax.planner.hlo import all_estimated_cycles, read_program

VOCABULARY, CHUNK = 131072, 1024  # rows of the table; of one product of ``one-hot``
WAYS = ("scatter in bfloat16", "scatter", "sort, then scatter", "one-hot products")


def gradient(way: str):
    """``(tokens [T], cotangents [T, D] bfloat16) -> [V, D] bfloat16``."""
    import jax
    import jax.numpy as jnp

    from polaris_jax.ops.embedding import embedding_lookup

    def of_lookup(tokens, cotangents, sort):
        table = jnp.zeros((VOCABULARY, cotangents.shape[1]), cotangents.dtype)
        return jax.vjp(lambda table: embedding_lookup(table, tokens, sort=sort), table)[1](cotangents)[0]

    def one_hot(tokens, cotangents):
        def rows(ids):
            chosen = (ids[:, None] == tokens[None]).astype(cotangents.dtype)
            return jnp.dot(chosen, cotangents, preferred_element_type=jnp.float32).astype(cotangents.dtype)

        return jax.lax.map(rows, jnp.arange(VOCABULARY).reshape(-1, CHUNK)).reshape(VOCABULARY, -1)

    return {
        "scatter in bfloat16": lambda t, d: jnp.zeros((VOCABULARY, d.shape[1]), d.dtype).at[t].add(d),
        "scatter": lambda t, d: of_lookup(t, d, False),
        "sort, then scatter": lambda t, d: of_lookup(t, d, True),
        "one-hot products": one_hot,
    }[way]


def measure(topology: str, tokens: int, columns: int, way: str, folder: str) -> dict:
    """Compiles one way; libtpu reads its options once per process."""
    os.environ.update(ENVIRONMENT | {"LIBTPU_INIT_ARGS": f"--xla_jf_dump_to={folder}"})
    import jax
    import jax.numpy as jnp
    from jax.experimental import topologies
    from jax.sharding import SingleDeviceSharding

    chip = SingleDeviceSharding(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices[0])
    ids = jax.ShapeDtypeStruct((tokens,), jnp.int32, sharding=chip)
    rows = jax.ShapeDtypeStruct((tokens, columns), jnp.bfloat16, sharding=chip)
    compiled = jax.jit(gradient(way)).lower(ids, rows).compile()
    scatter = scatter_cycles(Path(folder), tokens)
    return {
        "topology": topology,
        "shape": f"{tokens}x{columns}",
        "way": way,
        "temporaries": compiled.memory_analysis().temp_size_in_bytes,
        "cycles": all_estimated_cycles(read_program(compiled.as_text())) + scatter,
        "scatter_cycles": scatter,
    }


def scatter_cycles(folder: Path, tokens: int) -> int:
    """The bundles of the scatter's program times its windows; a window begins one copy for each of its updates."""
    for file in folder.glob("*scatter*final_bundles.txt"):
        text = file.read_text(errors="replace")
        if copies := text.count("dma.hbm_to_vmem"):
            bundles = len(re.findall(r"^ *0x[0-9a-f]+", text, flags=re.MULTILINE))
            return bundles * -(-tokens // copies)
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--topology", nargs="+", default=["v5:2x2x1", "v6e:2x2"])
    parser.add_argument("--shape", nargs="+", default=["262144x1280", "1048576x80"])
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        topology, shape, way, folder = arguments.one
        tokens, columns = map(int, shape.split("x"))
        print(json.dumps(measure(topology, tokens, columns, way, folder)))
        return
    for topology in arguments.topology:
        for shape in arguments.shape:
            for way in WAYS:
                with tempfile.TemporaryDirectory() as folder:
                    command = [sys.executable, __file__, "--one", topology, shape, way, folder]
                    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                print(done.stdout.strip().splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()

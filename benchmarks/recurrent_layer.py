"""A recurrent layer's parts by the TPU compiler: cycles and temporaries, for chips that are not attached.

    python benchmarks/recurrent_layer.py --topology v5:2x2x1 v6e:2x2 --tokens 8192

Shapes are those of one Qwen3.5-9B layer on one device: 16 key heads, 32 value heads, 128 wide. The parts: the rule by
XLA forward, and with its backward pass. Cycles are the compiler's estimate of its own operations (``estimated_cycles``
of a full compile), each as often as it runs; one chip's clock is in ``planner.kernel_schedule.MATRIX_UNITS``.
"""

import argparse
import json
import os
import subprocess
import sys

from polaris_jax.planner.compile import ENVIRONMENT
from polaris_jax.planner.hlo import all_estimated_cycles, read_program

PARTS = ("forward", "forward and backward")


def measure(topology: str, tokens: int, part: str) -> dict:
    """Compiles one part; libtpu reads its options once per process."""
    os.environ.update(ENVIRONMENT)
    import jax
    import jax.numpy as jnp
    from jax.experimental import topologies
    from jax.sharding import SingleDeviceSharding

    from polaris_jax.ops.delta_rule import gated_delta_rule

    chip = SingleDeviceSharding(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices[0])

    def array(*shape, dtype=jnp.bfloat16):
        return jax.ShapeDtypeStruct((2, tokens // 2, *shape), dtype, sharding=chip)

    q, v, gate = array(16, 128), array(32, 128), array(32, dtype=jnp.float32)
    segments, dout = array(dtype=jnp.int32), array(32, 128)
    memory = jax.ShapeDtypeStruct((2, 32, 128, 128), jnp.float32, sharding=chip)

    def rule(segments, q, k, v, beta, log_decay, initial):
        return gated_delta_rule(q, k, v, beta=beta, log_decay=log_decay, segment_ids=segments, initial=initial)

    def both(segments, dout, left, *tokens):
        out, pull_back = jax.vjp(lambda *tokens: rule(segments, *tokens), *tokens)
        return out, pull_back((dout, left))

    program, arguments = {
        "forward": (rule, (segments, q, q, v, gate, gate, memory)),
        "forward and backward": (both, (segments, dout, memory, q, q, v, gate, gate, memory)),
    }[part]
    compiled = jax.jit(program).lower(*arguments).compile()
    return {
        "topology": topology,
        "tokens": tokens,
        "part": part,
        "cycles": all_estimated_cycles(read_program(compiled.as_text())),
        "temporaries": compiled.memory_analysis().temp_size_in_bytes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--topology", nargs="+", default=["v5:2x2x1", "v6e:2x2"])
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one[0], arguments.tokens, arguments.one[1])))
        return
    for topology in arguments.topology:
        for part in PARTS:
            command = [sys.executable, __file__, "--tokens", str(arguments.tokens), "--one", topology, part]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            print(done.stdout.strip().splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()

"""Compiles context attention, forward and backward, for real TPU topologies on a machine without a TPU.

    pip install libtpu
    python benchmarks/tpu_compile_attention.py                      # the table of RESULTS.md
    python benchmarks/tpu_compile_attention.py v5:2x2x2 8 262144    # topology, context, tokens; more with --help

The compiler is the one that serves hardware, so kernels that do not fit in vector memory, buffers that do not fit in
HBM and transfers that do not overlap are seen here. Nothing is run: there are no times but the compiler's own.
"""

import argparse
import json
import os
import re
import time

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from polaris_jax.ops import context_attention
from polaris_jax.planner.compile import ENVIRONMENT
from polaris_jax.sharding import make_mesh

K = 1024
TABLE = [  # topology, context, tokens, method
    ("v5:2x2x2", 8, 256 * K, "ring"),
    ("v5:2x2x1", 4, 256 * K, "ring"),
    ("v5:2x2x2", 8, 32 * K, "ring"),
    ("v5:2x2x2", 8, 256 * K, "two_level"),
    ("v5:2x2x2", 8, 32 * K, "all_gather"),
    ("v5:4x4x4", 64, 1024 * K, "ring"),
    ("v5:4x4x4", 64, 1024 * K, "two_level"),
    ("v6e:2x4", 8, 256 * K, "ring"),
    ("tpu7x:2x2x2", 16, 256 * K, "ring"),
]


def compile_attention(
    topology: str,
    context: int,
    tokens: int,
    method: str,
    *,
    heads: int,
    kv_heads: int,
    head_dim: int,
    window: int | None,
    block: int,
):
    """The compiled forward and backward of one attention layer, and the seconds it took."""
    devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    mesh = make_mesh({"fsdp": -1, "context": context}, devices=devices)
    rows = P(("data", "fsdp"), "context")
    B = mesh.shape["fsdp"]

    def array(*shape, dtype=jnp.bfloat16):
        return jax.ShapeDtypeStruct((B, tokens, *shape), dtype, sharding=NamedSharding(mesh, rows))

    def step(q, k, v, dout, positions, segments):
        sides = {"q_positions": positions, "kv_positions": positions, "q_segments": segments, "kv_segments": segments}
        out, pull = jax.vjp(
            lambda q, k, v: context_attention(q, k, v, **sides, mesh=mesh, method=method, window=window, block=block),
            q,
            k,
            v,
        )
        return out, pull(dout)

    q, k, ids = array(heads, head_dim), array(kv_heads, head_dim), array(dtype=jnp.int32)
    start = time.perf_counter()
    compiled = jax.jit(step).lower(q, k, k, q, ids, ids).compile()
    return compiled, time.perf_counter() - start


def transfers(hlo: str) -> dict[str, int]:
    """Executed permutes of the scheduled program, and how many have a kernel between their start and done."""
    computations = dict(re.findall(r"^(?:ENTRY )?%([\w.\-]+) \(.*?\{\n(.*?)^\}", hlo, re.M | re.S))
    loops = {
        body: int(re.search(r"s32\[\]\S* constant\((\d+)\)", computations[condition])[1])
        for condition, body in re.findall(r"condition=%([\w.\-]+), body=%([\w.\-]+)", hlo)
    }
    kernel = 'custom_call_target="tpu_custom_call"'
    walked = {name for name, body in computations.items() if kernel in body}  # bodies of loops over parts of a schedule
    executed = overlapped = 0
    for name, body in computations.items():
        trips, open_, covered = loops.get(name, 1), [], set()
        for line in body.splitlines():
            if start := re.search(r"%(\S+) = .*collective-permute-start\(", line):
                open_.append(start[1])
                executed += trips
            elif kernel in line or ((loop := re.search(r" while\(.*body=%([\w.\-]+)", line)) and loop[1] in walked):
                covered |= set(open_)
            elif done := re.search(r"collective-permute-done\(%(\S+?)\)", line):
                open_.remove(done[1])
        overlapped += trips * len(covered)
    return {"permutes": executed, "permutes_beside_a_kernel": overlapped}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("topology", nargs="?")
    parser.add_argument("context", nargs="?", type=int, default=8)
    parser.add_argument("tokens", nargs="?", type=int, default=256 * K)
    parser.add_argument("--method", default="ring")
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--kv-heads", type=int, default=8)
    parser.add_argument("--head-dim", type=int, default=128)
    parser.add_argument("--window", type=int)
    parser.add_argument("--block", type=int, default=1024)
    parser.add_argument("--hlo", help="write the scheduled program here")
    a = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for case in [(a.topology, a.context, a.tokens, a.method)] if a.topology else TABLE:
        compiled, seconds = compile_attention(
            *case, heads=a.heads, kv_heads=a.kv_heads, head_dim=a.head_dim, window=a.window, block=a.block
        )
        memory, hlo = compiled.memory_analysis(), compiled.as_text()
        if a.hlo:
            with open(a.hlo, "w") as file:
                file.write(hlo)
        print(
            json.dumps(
                {
                    **dict(zip(("topology", "context", "tokens", "method"), case, strict=True)),
                    "seconds": round(seconds, 1),
                    "arguments_GB": round(memory.argument_size_in_bytes / 1e9, 3),
                    "temporaries_GB": round(memory.temp_size_in_bytes / 1e9, 3),
                    "peak_GB": round(memory.peak_memory_in_bytes / 1e9, 3),
                    "kernels": hlo.count("tpu_custom_call"),
                    **transfers(hlo),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()

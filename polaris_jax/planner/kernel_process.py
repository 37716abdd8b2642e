"""Compiles one kernel for ``kernel_schedule``: ``python -m polaris_jax.planner.kernel_process REQUEST.json``.

libtpu writes its files to a folder that is an argument of the process (``LIBTPU_INIT_ARGS``), read once. ``plan.json``
beside the request says how the kernel is cut: for attention the tile's blocks, the kinds of its loops in order, and how
often each runs; for the delta rule the sizes of a grid step.
"""

import dataclasses
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from polaris_jax.ops import delta_rule_tpu, tile_tpu
from polaris_jax.ops.attention import SoftmaxState
from polaris_jax.ops.delta_rule_tpu_backward import backward_kernel
from polaris_jax.ops.delta_rule_tpu_forward import forward_kernel
from polaris_jax.ops.delta_rule_tpu_parts import COLUMNS
from polaris_jax.ops.tiles import TokenMetadata


def main(path: str) -> None:
    """Compiles one kernel for one device of a topology."""
    asked = json.loads(Path(path).read_text())
    devices: Any = topologies.get_topology_desc(platform="tpu", topology_name=asked["topology"]).devices
    mesh = Mesh(np.array(devices[:1]), ("device",))
    compile_case = {"attention": _attention, "delta_rule": _delta_rule}[asked["kernel"]]
    Path(path).with_name("plan.json").write_text(json.dumps(compile_case(asked, mesh, devices[0].device_kind)))


def _attention(asked: dict, mesh: Mesh, chip: str) -> dict:
    S, D, G = asked["tokens"], asked["width"], asked["key_heads"]
    H = G * asked["group"]
    by = tile_tpu.TpuHops(D**-0.5, asked["window"], 128, chip, blocks=asked["blocks"])

    def array(*shape, dtype=jnp.bfloat16):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, P()))

    def wide(dtype):
        return array(1, H, *((D, S) if by.kernels.transposed else (S, D)), dtype=dtype)

    row, numbers = array(1, H, S, dtype=jnp.float32), array(1, S, dtype=jnp.int32)
    ids, kv = TokenMetadata(numbers, numbers), array(2, 1, G, S, D)

    def forward(q, kv, ids, state):
        return by.forward(q, kv, ids, ids, state)

    def backward(prepared, kv, ids, dq):
        return by.backward(prepared, kv, ids, ids, dq)

    if asked["which"] == "forward":
        program, first = forward, array(1, H, S, D)
        last = SoftmaxState(row, row, wide(jnp.float32))
    else:
        program, last = backward, wide(jnp.float32)
        first = tile_tpu.PreparedQueries(wide(jnp.bfloat16), wide(jnp.bfloat16), row, row)
    program = jax.shard_map(program, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False)
    jax.jit(program, donate_argnums=3).lower(first, kv, ids, last).compile()
    return by.plan(asked["which"], D, S, S)


def _delta_rule(asked: dict, mesh: Mesh, chip: str) -> dict:
    B, N, R, S = asked["rows"], asked["key_heads"], asked["group"], asked["tokens"]
    dk, dv = asked["key_dim"], asked["value_dim"]
    sizes = delta_rule_tpu.Sizes(*asked["sizes"] or delta_rule_tpu.SIZES)
    shape = delta_rule_tpu.shape_of(B, S, N, N * R, dk, dv, chip, sizes)

    def array(*shape, dtype=jnp.bfloat16):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, P()))

    key, value, memory = array(B, S, N * dk), array(B, S, N * R * dv), array(B, N, dk, R * dv, dtype=jnp.float32)
    groups, tokens = N // shape.keys, shape.chunks * shape.chunk
    columns = array(B, groups, tokens, COLUMNS * shape.values + 1, dtype=jnp.float32)
    rows = array(B, groups, shape.chunks, shape.values + 1, shape.chunk, dtype=jnp.float32)
    given: tuple[Any, ...] = (key, key, value, columns, rows)
    if asked["which"] == "forward":
        program: Any = partial(forward_kernel, shape=shape, keep=True)
        given += (memory,)
    else:
        program = partial(backward_kernel, shape=shape)
        states = array(B, shape.chunks, N, dk, R * dv)
        given += (states, array(B, shape.chunks, N * R, shape.chunk, shape.chunk), value, memory)
    jax.jit(jax.shard_map(program, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False)).lower(*given).compile()
    return dataclasses.asdict(shape)


if __name__ == "__main__":
    main(sys.argv[1])

"""What the TPU compiler makes of generation: one chunk or one token over a long cache, of a model of any size.

    python benchmarks/decode_hlo.py [--model SHAPE ...] [--cases v5:2x2x1/tensor=4/1 ...] [--length 262144]

``SHAPE`` is a folder with config.json (default: Ministral 3 14B and Qwen3.5 9B of ``configs/models``); a case is
topology / mesh / tokens per text / texts / dtype of the cache / the layers' matrices (``int8``, ``nf4``) / tokens of a
cache in pages (0: each text has its own room) / adapters x rank (``4x16``). Needs libtpu, no TPU. One JSON line each:

* ``held_gb``: weights and cache per chip; ``extra_gb``: what a step needs beside them. A step that changed the
  layout of the cache would need a copy of it.
* ``whole_matrices``: instructions of the scheduled program, beside the insides of fusions, that give one of the layers'
  quantised matrices in another dtype, whole.
* ``bank_copies``: such instructions that give all adapters' factors of a matrix of one layer, or of all layers.
* ``cache_copies``: copies and transposes of whole caches in the scheduled program.
* ``read_ms``: reading the weights and a full cache once at the chip's memory bandwidth, which a token cannot beat.
"""

import argparse
import json
import math
import os
import re
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from polaris_jax.models.adapter_bank import bank_table, with_bank
from polaris_jax.models.cache import RECURRENT, init_cache
from polaris_jax.models.lora import VALUES, SplitTable, held_table, is_matrix
from polaris_jax.models.model_folder import read_config
from polaris_jax.models.weights import Table, abstract_tree, weight_table
from polaris_jax.ops.cached_attention import BLOCK
from polaris_jax.planner.compile import ENVIRONMENT
from polaris_jax.sampling.programs import DecodeState, append, state_sharding
from polaris_jax.sharding import make_mesh, weight_sharding
from polaris_jax.sharding.chips import chip_of

MODELS = Path(__file__).resolve().parents[1] / "polaris_jax" / "configs" / "models"
CASES = (
    "v5:2x2x1/tensor=4/1",
    "v5:2x2x1/tensor=4/512",
    "v5:2x2x1/tensor=4/1/1/int8",
    "v5:2x2x1/tensor=4/1/4",
    "v6e:2x4/tensor=8/1",
    "v6e:2x4/tensor=4,context=2/1",
    "v6e:2x4/tensor=4,context=2/512",
)


def compile_case(model: str, case: str, length: int) -> dict:
    """Compiles one call of ``sampling.programs.append``."""
    topology, axes, tokens, *rest = case.split("/")
    texts, dtype, held, pool, adapters = (*rest, *("1", "bfloat16", "auto", "0", "0x0")[len(rest) :])
    config = read_config(model, shape_only=True)
    devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    sizes = {k: int(v) for k, v in (part.split("=") for part in axes.split(","))}
    mesh = make_mesh(sizes, devices=devices[: math.prod(sizes.values())])
    table = held_table(config, held)
    params = SplitTable({}, table).join({}, abstract_tree(table, jnp.bfloat16, mesh))
    count, rank = map(int, adapters.split("x"))
    ranks = {path: rank for path, weight in weight_table(config).items() if count and is_matrix(path, weight)}
    bank = bank_table(config, ranks, count)
    params = with_bank(params, flatten_dict(abstract_tree(bank, jnp.bfloat16, mesh)))
    n, rows = int(texts), config.vocab_rows or config.vocab_size
    pages = int(pool) // BLOCK or None
    cache = partial(init_cache, config, n, length, jnp.dtype(dtype), pages=pages, adapters=count > 0)
    state = jax.eval_shape(lambda: DecodeState(cache(), jnp.zeros((n, rows))))
    where = state_sharding(mesh, state)
    state = jax.tree.map(lambda x, at: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at), state, where)
    everywhere = NamedSharding(mesh, P())
    ids = jax.ShapeDtypeStruct((n, int(tokens)), jnp.int32, sharding=everywhere)
    valid = jax.ShapeDtypeStruct((n,), jnp.int32, sharding=everywhere)
    lowered = append.lower(
        params, state, ids, valid, None, config=config, compute_dtype=jnp.dtype("bfloat16"), mesh=mesh
    )
    with tempfile.TemporaryDirectory() as folder:
        compiled = lowered.compile(compiler_options={"xla_dump_to": folder, "xla_dump_hlo_as_text": True})
        hlo = next(Path(folder).glob("*jit_append*after_optimizations.txt")).read_text()
    memory = compiled.memory_analysis()
    kept = [
        leaf.sharding.shard_shape(leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state.cache)
        if path[-1].key not in (*RECURRENT, "length", "pages", "adapter")
    ]
    shapes = "|".join(re.escape(f"[{','.join(map(str, shape))}]") for shape in set(kept))
    codes = {math.prod(row.shape[1:]) // mesh.shape["tensor"] for path, row in table.items() if path[-1] == VALUES}
    banks = bank_shapes(bank, mesh)
    bytes_held = memory.argument_size_in_bytes
    chip = chip_of(devices[0].device_kind)
    return {
        "model": Path(model).name,
        "topology": topology,
        "mesh": axes,
        "tokens": int(tokens),
        "texts": n,
        "cache": dtype,
        "length": length,
        "pages": pages,
        "weights": held,
        "held_gb": round(bytes_held / 1e9, 2),
        "extra_gb": round((memory.peak_memory_in_bytes - bytes_held) / 1e9, 3),
        "whole_matrices": made_anew(hlo, lambda sides: len(sides) <= 2 and math.prod(sides) in codes),
        "adapters": adapters,
        "bank_copies": made_anew(hlo, lambda sides: sides in banks),
        "cache_copies": len(re.findall(rf"= \w+(?:{shapes})\S* (?:copy|transpose|copy-start)\(", hlo)),
        "read_ms": round(1e3 * bytes_held / chip.hbm, 1),
    }


def bank_shapes(bank: Table, mesh: Mesh) -> set[tuple[int, ...]]:
    """What a device has of the adapters' factors of one matrix: of one layer, of all, and of all as one stack."""
    shapes = [weight_sharding(mesh, weight.axes, weight.shape).shard_shape(weight.shape) for weight in bank.values()]
    seen = {form for whole in shapes for form in (whole, whole[1:], (whole[0] * whole[1], *whole[2:]))}
    return {tuple(side for side in shape if side > 1) for shape in seen}


def made_anew(hlo: str, wanted: Callable[[tuple[int, ...]], bool]) -> int:
    """How many instructions outside of fusions give an array whose sides, those of 1 left out, are ``wanted``."""
    made = re.compile(r"= (?:f32|bf16)\[([\d,]+)\]\S* (?!parameter|bitcast\(|get-tuple-element)")
    found, inside = 0, False
    for line in hlo.splitlines():
        if header := re.match(r"(?:ENTRY )?%?(\S+) \(.*\{$", line):
            inside = "fus" in header[1]
        elif not inside and (shape := made.search(line)):
            found += wanted(tuple(side for side in map(int, shape[1].split(",")) if side > 1))
    return found


def main() -> None:
    """Prints a line per model and case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=[str(MODELS / name) for name in ("ministral3_14b", "qwen3_5_9b")])
    parser.add_argument("--cases", nargs="+", default=CASES)
    parser.add_argument("--length", type=int, default=262_144, help="tokens the cache has room for")
    arguments = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    for model in arguments.model:
        for case in arguments.cases:
            print(json.dumps(compile_case(model, case, arguments.length)), flush=True)


if __name__ == "__main__":
    main()

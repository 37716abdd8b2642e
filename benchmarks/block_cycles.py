"""One decoder block by the TPU compiler's own estimate of cycles: its share of the peak, and what takes the most.

    pip install libtpu
    python benchmarks/block_cycles.py --chips v5p v6e                       # 14B, 32,768 tokens
    python benchmarks/block_cycles.py --chips v6e --plain                   # without the options of training
    python benchmarks/block_cycles.py --chips v6e --products                # the block's products alone, one by one
    python benchmarks/block_cycles.py --model qwen3_5_9b --layers 0 3       # a hybrid: recurrent, attention

One block, forward and backward with nothing recomputed, compiled to the end for one device of a chip that is not
attached; bfloat16, weights whole. Attention itself is left out (its kernels have no estimate; ``kernel_schedule.py``
reads their schedules): queries take the place of its output, keys and values leave the block. A recurrent block has its
kernels, which have no estimate here (``delta_rule_schedule.py`` has their time). Nothing is run. A share of the peak is
the operations of the products over what the units of ``planner.kernel_schedule.MATRIX_UNITS`` could do in the cycles
of everything.
"""

import argparse
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

from polaris_jax.planner.compile import ENVIRONMENT
from polaris_jax.planner.hlo import all_estimated_cycles, estimated_cycles, matmul_flops, read_program
from polaris_jax.planner.kernel_schedule import MATRIX_UNITS

TOPOLOGIES = {"v5e": "v5e:2x2", "v5p": "v5:2x2x1", "v6e": "v6e:2x2", "tpu7x": "tpu7x:2x2x1"}
MODELS = Path(__file__).resolve().parents[1] / "polaris_jax" / "configs" / "models"


def block_program(model, tokens: int, chip, layer: int = 0):
    """``(function, arguments)`` of block ``layer`` of the model's group with its backward pass on one device."""
    import jax
    import jax.numpy as jnp

    from polaris_jax.models import abstract_params
    from polaris_jax.models.decoder import block, token_mixers
    from polaris_jax.ops.recurrence import whole_rows
    from polaris_jax.ops.recurrent_backend import recurrent_backend
    from polaris_jax.sharding import make_mesh

    kind, by = model.group[layer], recurrent_backend(make_mesh({"fsdp": 1}, devices=list(chip.device_set)))

    def here(shape, dtype=jnp.bfloat16):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=chip)

    weights = {
        place: jax.tree.map(lambda leaf: here(leaf.shape[1:]), stacked)
        for place, stacked in abstract_params(model, jnp.bfloat16)["blocks"].items()
    }[str(layer)]

    def forward(weights, x, positions):
        left = []

        def attend(q, k, v, **_):
            left.extend((k, v))
            return q

        ids = jnp.ones_like(positions)
        mixer = token_mixers(model, positions, ids, attend, whole_rows(ids, by))[kind]
        return block(model, weights, x, mixer)[0], *left

    def step(weights, x, gradients, positions):
        out, back = jax.vjp(lambda w, x: forward(w, x, positions), weights, x)
        return out[1:], back(gradients)

    x, kv = here((1, tokens, model.hidden_size)), here((1, tokens, model.num_kv_heads, model.head_dim))
    left = () if kind == "linear_attention" else (kv, kv)
    return step, (weights, x, (x, *left), here((1, tokens), jnp.int32))


def product_programs(model, tokens: int, chip) -> dict:
    """The products of a block, each as a program of its own: ``{name: (function, arguments)}``."""
    import jax
    import jax.numpy as jnp

    def here(*shape):
        return jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=chip)

    D, H = model.hidden_size, model.num_heads * model.head_dim
    programs = {}
    for name, n, k in (
        ("q", H, D),
        ("k", model.num_kv_heads * model.head_dim, D),
        ("o", D, H),
        ("up", model.intermediate_size, D),
        ("down", D, model.intermediate_size),
    ):
        programs[f"{name}: {tokens} x {k} x {n}"] = (lambda x, w: x @ w, (here(tokens, k), here(k, n)))
        programs[f"{name}, input's gradient"] = (lambda g, w: g @ w.T, (here(tokens, n), here(k, n)))
        programs[f"{name}, weight's gradient"] = (lambda x, g: x.T @ g, (here(tokens, k), here(tokens, n)))
    return programs


def largest(program, count: int) -> list[dict]:
    """The operations with the most estimated cycles; a loop's body counts as often as it runs."""
    items = [
        (times * estimated_cycles(instruction), instruction)
        for name, times in program.runs.items()
        for instruction in program.computations[name]
    ]
    items.sort(key=lambda item: -item[0])
    return [
        {
            "cycles": cycles,
            "what": re.sub(r"[.\d]+$", "", instruction.name),
            "from": "/".join(instruction.op_name.split("/")[-3:]),
            "result": " ".join(re.findall(r"[a-z]+\d+\[[\d,]*\]", instruction.result)[:3]),
        }
        for cycles, instruction in items[:count]
    ]


def measure(asked: dict) -> list[dict]:
    """Compiles what is asked for; in a process of its own, since libtpu reads its options once."""
    os.environ.update(ENVIRONMENT)
    import jax
    import numpy as np
    from jax.experimental import topologies
    from jax.sharding import Mesh, SingleDeviceSharding

    from polaris_jax.models.model_folder import read_config
    from polaris_jax.training.compiler_options import compiler_options

    name = asked["chip"]
    device = topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGIES[name]).devices[0]
    chip = SingleDeviceSharding(device)
    trained = {} if asked["plain"] else compiler_options(Mesh(np.array([device]), ("device",)), "all")
    options = {**(trained or {}), **asked["options"]}
    model = read_config(str(MODELS / asked["model"]), shape_only=True)
    if asked["products"]:
        programs = product_programs(model, asked["tokens"], chip)
    else:
        programs = {
            f"block {layer}, {model.group[layer]}": block_program(model, asked["tokens"], chip, layer)
            for layer in asked["layers"]
        }
    unit = MATRIX_UNITS[name]
    peak = unit.cores * unit.count * unit.rows * 2 * unit.width**2  # operations a cycle
    rows = []
    for what, (function, arguments) in programs.items():
        compiled = jax.jit(function, compiler_options=options or None).lower(*arguments).compile()
        program = read_program(compiled.as_text())
        cycles, flops = all_estimated_cycles(program), matmul_flops(program)
        rows.append(
            {
                "chip": name,
                "what": what,
                "cycles": cycles,
                "share": round(flops / peak / cycles, 3) if cycles else math.nan,
                "temporaries": compiled.memory_analysis().temp_size_in_bytes,
            }
            | ({} if asked["products"] else {"items": largest(program, asked["items"])})
        )
    return rows


def main() -> None:
    """Prints one line per program, and a block's largest items."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", nargs="+", default=["v5p", "v6e"], choices=list(TOPOLOGIES))
    parser.add_argument("--model", default="ministral3_14b", help="a folder of polaris_jax/configs/models")
    parser.add_argument("--tokens", type=int, default=32_768)
    parser.add_argument("--layers", nargs="+", type=int, default=[0], help="of the model's repeating group of blocks")
    parser.add_argument("--items", type=int, default=10)
    parser.add_argument("--products", action="store_true")
    parser.add_argument("--plain", action="store_true", help="the compiler's own defaults, not the options of training")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="a compiler option")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.one:
        print(json.dumps(measure(json.loads(a.one))))
        return
    options = dict(text.split("=", 1) for text in a.option)
    for chip in a.chips:
        asked = {name: getattr(a, name) for name in ("model", "tokens", "layers", "items", "products", "plain")}
        request = json.dumps(asked | {"chip": chip, "options": options})
        done = subprocess.run(
            [sys.executable, __file__, "--one", request], stdout=subprocess.PIPE, text=True, check=True
        )
        for row in json.loads(done.stdout.strip().splitlines()[-1]):
            print(f"{row['chip']} {row['what']}: {row['cycles']:,} cycles, {row['share']:.3f} of the peak", flush=True)
            for item in row.get("items", ()):
                share = item["cycles"] / row["cycles"]
                print(f"| {item['cycles']:,} | {share:.1%} | {item['what']} | {item['from']} | {item['result']} |")


if __name__ == "__main__":
    main()

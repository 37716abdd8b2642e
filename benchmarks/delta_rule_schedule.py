"""What the TPU compiler's own schedule says of the gated delta rule: its kernels, and a whole layer around them.

    pip install libtpu
    python benchmarks/delta_rule_schedule.py                                  # the tables of RESULTS.md
    python benchmarks/delta_rule_schedule.py --what kernels --chips v6e --sizes 64x16 128x16 128x8   # CHUNKxHEADS
    python benchmarks/delta_rule_schedule.py --what rule --chips v5p --backend xla     # without kernels

The shape is a layer of Qwen3.5 9B: 16 key heads and 32 value heads of 128, ``--tokens`` of one row. Needs libtpu, no
TPU; nothing is run. Kernels: bundles of a grid step (one bundle a cycle) times the steps over the TensorCores that
share them, or the least that the matrix units need where that is more. The rule alone and the whole layer are compiled
forward and backward for one device: time of the rule's kernels and of those beside it, XLA's own estimate of cycles for
everything else, the sum, the projections (fusions with a product that runs once) apart, and temporaries in GB.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from polaris_jax.errors import RunError
from polaris_jax.planner.compile import ENVIRONMENT
from polaris_jax.planner.delta_rule_schedule import DeltaRuleCase, DeltaRuleSchedule, delta_rule_schedule
from polaris_jax.planner.hlo import Program, estimated_cycles, read_program
from polaris_jax.planner.kernel_schedule import MATRIX_UNITS, read_bundles, schedule_dump

TOPOLOGIES = {"v5p": "v5:2x2x1", "v6e": "v6e:2x2", "tpu7x": "tpu7x:2x2x1"}
MODEL = Path(__file__).resolve().parents[1] / "polaris_jax" / "configs" / "models" / "qwen3_5_9b"


def kernel_row(case: DeltaRuleCase, found: DeltaRuleSchedule) -> str:
    """One line of the table of kernels."""
    cells = [
        case.chip,
        case.which,
        str(found.chunk),
        str(found.heads),
        "BarrierMegacore" if found.cores == 2 else "one",
        f"{found.bundles:,} x {found.steps}",
        f"{found.minimum:,.0f}",
        " / ".join(f"{found.slots[unit]:.2f}" for unit in ("MXU", "VALU", "XLU")),
        f"{found.spills:.2f}",
        f"{1e3 * found.seconds(case.chip):.3f}",
    ]
    return "| " + " | ".join(cells) + " |"


def compile_part(what: str, chip: str, tokens: int, backend: str, folder: Path) -> dict:
    """Compiles the rule, what stands beside it, or a layer, forward and backward, for one device in this process.

    ``folder`` is for the compiler's dumps; of a layer they would be gigabytes, so its kernels are read from the others.
    """
    os.environ.update(ENVIRONMENT)
    if what != "layer":
        os.environ["LIBTPU_INIT_ARGS"] = schedule_dump(folder)
    import jax
    import jax.numpy as jnp
    from jax.experimental import topologies

    from polaris_jax.models.layers import linear_attention
    from polaris_jax.models.model_folder import read_config
    from polaris_jax.models.weights import abstract_params
    from polaris_jax.ops.recurrence import whole_rows
    from polaris_jax.ops.recurrent_backend import recurrent_backend
    from polaris_jax.sharding import make_mesh

    devices = topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGIES[chip]).devices
    mesh = make_mesh({"fsdp": 1}, devices=devices[:1])
    config = read_config(str(MODEL), shape_only=True)
    sizes, here = config.delta_rule, jax.sharding.SingleDeviceSharding(devices[0])
    by = recurrent_backend(mesh, "xla" if backend == "xla" else "auto")

    def array(*shape, dtype=jnp.bfloat16):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=here)

    def rule(q, k, v, beta, log_decay, segments):  # of flat heads, as projections leave them
        q, k = (x.reshape(1, tokens, sizes.key_heads, sizes.key_dim) for x in (q, k))
        v = v.reshape(1, tokens, sizes.value_heads, sizes.value_dim)
        out, memory = by.delta_rule(q, k, v, beta=beta, log_decay=log_decay, segment_ids=segments)
        return out.reshape(1, tokens, -1).astype(jnp.bfloat16), memory

    def beside(mixed, taps, out, gate, scale, segments):
        parts = by.short_convolution(mixed, taps, widths=widths, segment_ids=segments)
        out = out.reshape(1, tokens, sizes.value_heads, sizes.value_dim)
        return parts, by.gated_norm(out, gate, scale, config.norm_eps)

    def layer(w, u, segments):
        return linear_attention(config, w, u, whole_rows(segments, by))

    segments = array(1, tokens, dtype=jnp.int32)
    program: Any
    inputs: Any
    keys, values = sizes.key_heads * sizes.key_dim, sizes.value_heads * sizes.value_dim
    widths = (keys, keys, values)
    key, value, gate = (array(1, tokens, width) for width in (keys, values, sizes.value_heads))
    if what == "rule":
        program, inputs = rule, (key, key, value, gate, gate)
    elif what == "beside":
        taps = array(sizes.conv_kernel, sizes.channels)
        program, inputs = beside, (array(1, tokens, sizes.channels), taps, value, value, array(sizes.value_dim))
    else:
        stacked = abstract_params(config, jnp.bfloat16, mesh)["blocks"]["0"]["linear_attention"]
        weights = {name: array(*w.shape[1:], dtype=w.dtype) for name, w in stacked.items()}
        program, inputs = layer, (weights, array(1, tokens, config.hidden_size))
    given = jax.tree.map(lambda x: array(*x.shape, dtype=x.dtype), jax.eval_shape(program, *inputs, segments))

    def step(inputs, segments, cotangents):
        out, pull = jax.vjp(lambda *inputs: program(*inputs, segments), *inputs)
        return out, pull(cotangents)

    start = time.perf_counter()
    traced = jax.jit(step).trace(inputs, segments, given)
    compiled = traced.lower().compile()
    rest, projections, largest = cycles(read_program(compiled.as_text()))
    steps = grid_steps(traced.jaxpr.jaxpr)
    return {
        "rest": rest,
        "projections": projections,
        "kernels": {name: kernel_cycles(folder, name) * steps[name] for name in sorted(steps)}
        if what != "layer"
        else {},
        "temporaries": compiled.memory_analysis().temp_size_in_bytes,
        "largest": largest[:12],
        "seconds": round(time.perf_counter() - start, 1),
    }


def grid_steps(jaxpr: Any) -> dict[str, int]:
    """Grid steps of each kernel of a program, those of one name added up."""
    found: dict[str, int] = defaultdict(int)
    for equation in jaxpr.eqns:
        if equation.primitive.name == "pallas_call":
            found[equation.params["name"]] += math.prod(equation.params["grid_mapping"].grid)
        for value in equation.params.values():
            if equation.primitive.name != "pallas_call" and hasattr(inner := getattr(value, "jaxpr", value), "eqns"):
                for name, steps in grid_steps(inner).items():
                    found[name] += steps
    return found


def kernel_cycles(folder: Path, name: str) -> float:
    """Bundles of a grid step, the largest of the calls of this name, over the TensorCores that share the grid."""
    bundles = [
        sum(depth > 0 for depth in read_bundles(file.read_text(errors="replace")).depth)
        for file in folder.glob(f"*{name}*-final_bundles.txt")
        if "schedule-analysis" not in file.name and "pre-delay" not in file.name
    ]
    both = any("BarrierMegacore" in file.read_text(errors="replace") for file in folder.glob(f"*{name}*-original.txt"))
    return max(bundles) / (2 if both else 1)


def cycles(program: Program) -> tuple[int, int, list[tuple[int, str]]]:
    """XLA's estimates, every operation as often as it runs: (all but projections, projections, the former in order)."""
    rest, projections, items = 0, 0, []
    for name, times in program.runs.items():
        for instruction in program.computations[name]:
            if not (count := times * estimated_cycles(instruction)):
                continue
            called = [i for callee in instruction.called("calls") for i in program.computations.get(callee, ())]
            is_product = any(i.opcode in ("convolution", "dot") for i in (instruction, *called))
            if is_product and times == 1:  # the scan's own products run once per chunk
                projections += count
            else:
                rest += count
                items.append((count, f"{times} x {instruction.name}: {instruction.op_name}"))
    return rest, projections, sorted(items, reverse=True)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", nargs="+", default=["kernels", "rule", "layer"], choices=["kernels", "rule", "layer"])
    parser.add_argument("--chips", nargs="+", default=list(TOPOLOGIES), choices=list(TOPOLOGIES))
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--sizes", nargs="+", default=["table"], help="CHUNKxHEADS of a grid step, or table")
    parser.add_argument("--backend", default="auto", choices=["auto", "xla"], help="of the rule and the layer")
    parser.add_argument("--largest", action="store_true", help="also what takes longest in them")
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)  # libtpu reads its options once per process
    a = parser.parse_args()
    if a.inside:
        with tempfile.TemporaryDirectory(prefix="polaris-layer-") as folder:
            print(json.dumps(compile_part(*a.inside, a.tokens, a.backend, Path(folder))))
        return
    for chip in a.chips if "kernels" in a.what else ():
        for sizes in a.sizes:
            for which in ("forward", "backward"):
                given = None if sizes == "table" else tuple(int(n) for n in sizes.split("x"))
                case = DeltaRuleCase(which, chip, tokens=a.tokens, sizes=given)
                try:
                    print(kernel_row(case, delta_rule_schedule(case)), flush=True)
                except RunError as error:
                    print(f"| {chip} | {which} | {sizes} | {str(error)[-200:]} |", flush=True)
    for chip in a.chips:
        kernels: dict[str, float] = {}
        asked = ("rule", "beside", "layer") if "layer" in a.what else ("rule",) if "rule" in a.what else ()
        for what in asked:
            found = in_a_process(what, chip, a.tokens, a.backend)
            kernels |= found["kernels"]
            milliseconds = lambda n, clock=MATRIX_UNITS[chip].clock: 1e3 * n / clock  # noqa: E731
            rule = sum(n for name, n in kernels.items() if name.startswith("delta_rule"))
            others = sum(kernels.values()) - rule
            parts = (rule, others, found["rest"], rule + others + found["rest"], found["projections"])
            cells = [what, chip, a.backend, *(f"{milliseconds(n):.2f}" for n in parts)]
            if what != "beside":
                print("| " + " | ".join([*cells, f"{found['temporaries'] / 1e9:.3f}"]) + " |", flush=True)
            for count, name in [(n, name) for name, n in found["kernels"].items()] + found["largest"]:
                if a.largest:
                    print(f"    {milliseconds(count):.3f} ms {name}")


def in_a_process(what: str, chip: str, tokens: int, backend: str) -> dict:
    """``compile_part`` in a process of its own: libtpu reads its options once."""
    command = [sys.executable, __file__, "--inside", what, chip, f"--tokens={tokens}", f"--backend={backend}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RunError(f"the compiler refused the {what} on {chip}: {done.stderr.strip()[-1500:]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()

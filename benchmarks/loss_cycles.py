"""The head and its loss by the TPU compiler, beside tokamax's fused linear cross-entropy: cycles, bundles, temporaries.

    pip install libtpu
    python benchmarks/loss_cycles.py --chips v5p v6e                                      # ours, chunk 512
    python benchmarks/loss_cycles.py --chips v6e --chunks 512 2048                        # by tokens per logits buffer
    python benchmarks/loss_cycles.py --who tokamax --python OTHER/bin/python              # its kernels
    python benchmarks/loss_cycles.py --who tokamax --bound --python OTHER/bin/python      # units and bytes, at once
    python benchmarks/loss_cycles.py --who tokamax-xla --python OTHER/bin/python          # its chunked XLA path

The loss of ``--tokens`` tokens with a weight for each, and the gradients of hidden states and head, bfloat16, compiled
to the end for one device that is not attached; nothing is run. ``cycles`` are the compiler's estimate of its own
operations, which counts memory traffic too. It has none for Pallas kernels: of each the bundles of one step of its
pipeline stand in the table (those that every step takes, and all, first and last steps included), with the steps and
the bytes that the blocks move between HBM and VMEM. ``ms`` is the time of the clock for the cycles; with kernels it is
at least the larger of bundles and bytes. tokamax wants a newer Python than ours: its programs are compiled by the
interpreter of ``--python``, whose jax and libtpu should have our versions.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TOPOLOGIES = {"v5p": "v5:2x2x1", "v6e": "v6e:2x2", "tpu7x": "tpu7x:2x2x1"}
BLOCKS = ("b_block_size", "h_block_size", "v_block_size")  # tokens, width, vocabulary
VMEM = {"v5p": 32768, "v6e": 65536, "tpu7x": 49152}  # KiB, as training.compiler_options has them


def compile_loss(asked: dict) -> None:
    """Compiles one program; leaves its text, and facts as JSON, in the folder asked for."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.experimental import topologies
    from jax.sharding import Mesh, NamedSharding
    from jax.sharding import PartitionSpec as P

    devices = topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGIES[asked["chip"]]).devices
    mesh = Mesh(np.array(devices[:1]), ("device",))
    T, D, V = asked["tokens"], asked["width"], asked["vocabulary"]

    def array(*shape, dtype=jnp.bfloat16):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, P()))

    facts = {}
    if asked["who"] == "tokamax":
        from jax.experimental.pallas import tpu as pltpu

        if not hasattr(pltpu, "TensorCoreMesh"):  # its name in a newer jax
            pltpu.TensorCoreMesh = pltpu.create_tensorcore_mesh
        from tokamax._src.ops.linear_softmax_cross_entropy_loss import pallas_mosaic_tpu_kernel as kernel

        with jax.set_mesh(mesh):  # the chip by which it chooses its blocks
            forward = kernel.get_heuristic_fwd_config(T, D, V, dtype=jnp.bfloat16)
            backward = kernel.get_heuristic_bwd_config(T, D, V, dtype=jnp.bfloat16)
        sizes = lambda c: dict(zip(BLOCKS, (c.b_block_size, c.h_block_size, c.v_block_size), strict=True))  # noqa: E731
        facts = {"forward": list(sizes(forward).values()), "backward": list(sizes(backward).values())}

        if asked["bound"]:
            Path(asked["folder"], "facts.json").write_text(json.dumps(facts))
            return

        def step(x, w, targets, weights):
            # As its own vjp calls them, which would refuse a chip that is not attached.
            losses, lse = kernel.linear_softmax_cross_entropy_loss_fwd_pallas_mosaic_tpu(
                x, targets, w, reduction="none", **sizes(forward)
            )
            dx, dw = kernel.linear_softmax_cross_entropy_loss_bwd_pallas_mosaic_tpu(
                weights, lse, x, targets, w, reduction="none", buffer_count=backward.buffer_count, **sizes(backward)
            )
            return jnp.sum(losses * weights), dx.astype(x.dtype), dw.astype(w.dtype)
    else:
        if asked["who"] == "ours":
            from polaris_jax.ops.cross_entropy import linear_cross_entropy

            def losses(x, w, targets):
                return linear_cross_entropy(x[None], w, targets[None], chunk=asked["chunk"])[0][0]
        else:
            from tokamax._src.ops.linear_softmax_cross_entropy_loss import api

            def losses(x, w, targets):
                return api.IMPLEMENTATIONS["chunked_xla"](x, targets, w, reduction="none")

        def step(x, w, targets, weights):
            weighted = lambda x, w: jnp.sum(losses(x, w, targets) * weights)  # noqa: E731
            value, (dx, dw) = jax.value_and_grad(weighted, argnums=(0, 1))(x, w)
            return value, dx.astype(x.dtype), dw.astype(w.dtype)

    arguments = array(T, D), array(D, V), array(T, dtype=jnp.int32), array(T, dtype=jnp.float32)
    options = {"xla_tpu_scoped_vmem_limit_kib": VMEM[asked["chip"]]}
    with jax.set_mesh(mesh):
        compiled = jax.jit(step, compiler_options=options).lower(*arguments).compile()
    facts |= {"temporaries": compiled.memory_analysis().temp_size_in_bytes, "jax": jax.__version__}
    Path(asked["folder"], "program.txt").write_text(compiled.as_text())
    Path(asked["folder"], "facts.json").write_text(json.dumps(facts))


def kernels(folder: Path) -> dict[str, dict]:
    """Of each Pallas kernel of the dump: bundles in its loops, those that no branch leaves out, and its cores."""
    from polaris_jax.planner.kernel_schedule import read_bundles

    found = {}
    for file in sorted(folder.glob("*lce_*-final_bundles.txt")):
        if "schedule-analysis" in file.name or "pre-delay" in file.name:
            continue
        stem = file.name.split("-final_bundles")[0].rsplit("-", 1)[0]
        program = read_bundles(file.read_text(errors="replace"))
        skipped = {at for skip in program.skips for at in skip}
        loop = [at for at, depth in enumerate(program.depth) if depth]
        original = next(folder.glob(f"{stem}-*-original.txt")).read_text(errors="replace")
        found["forward" if "lce_fwd" in stem else "backward"] = {
            "all": len(loop),
            "always": sum(at not in skipped for at in loop),
            "depth": max(program.depth, default=0),
            "cores": 2 if "BarrierMegacore" in original else 1,
        }
    return found


def moved(which: str, blocks: list[int], tokens: int, width: int, vocabulary: int) -> tuple[int, float]:
    """Steps of a kernel's pipeline and the bytes that it moves: blocks come again whenever their index changes."""
    b, h, v = (math.ceil(size / block) for size, block in zip((tokens, width, vocabulary), blocks, strict=True))
    x, w = tokens * width, width * vocabulary
    once = h == 1  # a block whose index stays is not fetched again
    if which == "forward":
        return b * v * h, 2.0 * (x * (1 if once else v) + w * b)
    steps = b * (v + 1) * h
    inputs = 2.0 * (x * (1 if once else v + 1) + 2 * w * b)
    sums = 4.0 * (2 * x * (1 if once else v) + 2 * w * b)  # float32, fetched and written back
    return steps, inputs + sums


def measure(asked: dict, python: str) -> dict:
    """One row: compiles in a process of its own and reads what it left."""
    from polaris_jax.planner.compile import ENVIRONMENT
    from polaris_jax.planner.hlo import all_estimated_cycles, read_program
    from polaris_jax.planner.kernel_schedule import MATRIX_UNITS, schedule_dump
    from polaris_jax.sharding.chips import CHIPS

    with tempfile.TemporaryDirectory(prefix="loss-") as name:
        dump = schedule_dump(name) if asked["who"] == "tokamax" else ""
        environment = os.environ | ENVIRONMENT | {"JAX_PLATFORMS": "cpu", "LIBTPU_INIT_ARGS": dump}
        if asked["who"] != "ours":
            environment["PYTHONPATH"] = ""
        process = subprocess.run(
            [python, __file__, "--compile", json.dumps(asked | {"folder": name})],
            env=environment,
            capture_output=True,
            text=True,
        )
        if process.returncode:
            return asked | {"error": process.stderr.strip()[-600:]}
        facts = json.loads(Path(name, "facts.json").read_text())
        text = Path(name, "program.txt")
        cycles = all_estimated_cycles(read_program(text.read_text())) if text.exists() else 0
        found = kernels(Path(name)) if asked["who"] == "tokamax" else {}
        if asked["bound"]:
            found = {which: {"cores": MATRIX_UNITS[asked["chip"]].cores} for which in ("forward", "backward")}
    chip, unit = CHIPS[asked["chip"]], MATRIX_UNITS[asked["chip"]]
    clock, shape = unit.clock, (asked["tokens"], asked["width"], asked["vocabulary"])
    products = 2 * math.prod(shape)
    row = asked | facts | {"xla_cycles": cycles, "xla_ms": 1e3 * cycles / clock, "kernels": {}}
    for which, kernel in found.items():
        steps, size = moved(which, facts[which], *shape)
        kernel |= {
            "steps": steps // kernel["cores"],
            "ms_bytes": 1e3 * size / chip.hbm,
            "ms_units": 1e3 * products * (1 if which == "forward" else 3) / chip.flops,
        }
        for part in ("always", "all"):
            if part in kernel:
                kernel[f"ms_{part}"] = 1e3 * kernel["steps"] * kernel[part] / clock
        row["kernels"][which] = kernel
    return row


def line(row: dict) -> str:
    """The row as Markdown."""
    shape = f"{row['width']:,} × {row['vocabulary']:,}"
    who = row["who"] + (f", chunk {row['chunk']:,}" if row["who"] == "ours" else "")
    if "error" in row:
        return f"| {row['chip']} | {shape} | {who} | {' '.join(row['error'].split())[-300:]} |"
    bound = not row["xla_cycles"]
    cells = [row["chip"], shape, who, *(("–", "–") if bound else (f"{row['xla_cycles']:,}", f"{row['xla_ms']:.1f}"))]
    cells += [kernel_cell(row, which) for which in ("forward", "backward")]
    return "| " + " | ".join([*cells, "–" if bound else f"{row['temporaries'] / 1e9:.2f}"]) + " |"


def kernel_cell(row: dict, which: str) -> str:
    """One kernel in words: blocks of tokens, width and vocabulary, steps and bundles, units and bytes in ms."""
    kernel = row["kernels"].get(which)
    if kernel is None:
        return "–"
    said = f"{'×'.join(map(str, row[which]))}, {kernel['cores']} core(s), {kernel['steps']:,} steps"
    if "all" in kernel:
        said += f" of {kernel['always']:,} to {kernel['all']:,} bundles"
        said += f", {kernel['ms_always']:.1f} to {kernel['ms_all']:.1f}"
    return f"{said}; units {kernel['ms_units']:.1f}, bytes {kernel['ms_bytes']:.1f}"


def main() -> None:
    """One line per program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", nargs="+", default=["v6e", "v5p"], choices=list(TOPOLOGIES))
    parser.add_argument("--who", default="ours", choices=["ours", "tokamax", "tokamax-xla"])
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has the package")
    parser.add_argument("--shapes", nargs="+", default=["5120x131072", "4096x248320"], help="WIDTHxVOCABULARY")
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--chunks", nargs="+", type=int, default=[512], help="ours: tokens per logits buffer")
    parser.add_argument("--bound", action="store_true", help="tokamax: what its blocks need at least; no compiler")
    parser.add_argument("--json", action="store_true", help="one JSON line per program instead of a table")
    parser.add_argument("--compile", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.compile:
        compile_loss(json.loads(a.compile))
        return
    if not a.json:
        print("| chip | shape | who | cycles | ms | forward kernel, ms | backward kernel, ms | temporaries GB |")
        print("|---" * 8 + "|")
    for chip in a.chips:
        for shape in a.shapes:
            width, vocabulary = map(int, shape.split("x"))
            for chunk in a.chunks if a.who == "ours" else a.chunks[:1]:
                asked = {"chip": chip, "who": a.who, "width": width, "vocabulary": vocabulary, "chunk": chunk}
                row = measure(asked | {"tokens": a.tokens, "bound": a.bound}, a.python)
                print(json.dumps(row) if a.json else line(row), flush=True)


if __name__ == "__main__":
    main()

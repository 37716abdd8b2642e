"""What the compiler makes of Muon on a mesh: arithmetic of Newton-Schulz and bytes that travel, beside others.

    pip install libtpu
    python benchmarks/optimizer_hlo.py                     # the table of RESULTS.md, about 15 minutes
    python benchmarks/optimizer_hlo.py 14b v5:2x2x2 fsdp=8 ours

All get the same weights in the same places and run in bfloat16: ours shares whole matrices out; ``maxtext`` is
``maxtext.optimizers.muon`` (the wheel of MaxText 0.2.5 on ``PYTHONPATH``; the module needs nothing but JAX and optax),
which pads every stack of layers to the devices and spreads it over them; ``optax.contrib.muon`` is left to the
partitioner. TPU programs are compiled by libtpu without a TPU, and read from the
dump that the compiler writes before it generates code; ``host:8`` is eight host devices. Nothing is run.

* ``flops``: the products of the busiest device times the number of devices, over those that orthogonalise every matrix
  once. What a device does is what the table of shares gives it. ``every_branch`` counts every place of the
  program for a matrix as full, on every device; it has to be what the table says too, or the script ends with an error.
* ``moved``: what all devices receive from others, over the bytes of all matrices in bfloat16, both directions together.
"""

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from polaris_jax.planner.compile import ENVIRONMENT

SMOLLM2 = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49_152,
    "rope_theta": 100_000.0,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "max_position_embeddings": 8192,
}
BIG = Path(__file__).resolve().parents[1] / "polaris_jax" / "configs" / "models" / "ministral3_14b" / "config.json"
TABLE = [
    (model, where, mesh, who)
    for model, where, mesh in (
        ("14b", "v5:2x2x2", "fsdp=8"),
        ("14b", "v5:4x4x4", "fsdp=8,context=8"),
        ("14b", "v5:4x4x4", "fsdp=16,tensor=4"),
        ("135m", "v5:2x2x2", "fsdp=8"),
        ("135m", "v5:4x4x4", "fsdp=64"),
        ("135m", "host:8", "fsdp=8"),
    )
    for who in ("ours", "maxtext", "optax")
]


def lower(model_name: str, where: str, mesh_text: str, who: str):
    """``(lowered update of all Muon matrices, their shapes)``."""
    import jax
    import jax.numpy as jnp
    import optax
    from jax.experimental import topologies

    from polaris_jax.models import ModelConfig, abstract_params
    from polaris_jax.optim import label_params, muon
    from polaris_jax.sharding import make_mesh

    kind, layout = where.split(":")
    if kind == "host":
        jax.config.update("jax_num_cpu_devices", int(layout))
        devices = jax.devices()
    else:
        devices = topologies.get_topology_desc(platform="tpu", topology_name=where).devices
    mesh = make_mesh(
        {axis: int(size) for axis, size in (pair.split("=") for pair in mesh_text.split(","))}, devices=devices
    )
    model = ModelConfig.from_hf(json.loads(BIG.read_text()) if model_name == "14b" else SMOLLM2)
    params = abstract_params(model, jnp.bfloat16, mesh)
    labels = label_params(params)
    params = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for (path, leaf), label in zip(
            jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(labels), strict=True
        )
        if label == "muon"
    }
    shardings = {name: leaf.sharding for name, leaf in params.items()}
    if who == "ours":
        optimizer = muon(1e-3, dtype=jnp.bfloat16, shardings=shardings)
        place = lambda state: optax.tree.map_params(  # noqa: E731
            optimizer,
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            state,
            shardings,
        )
    else:
        if who == "maxtext":
            from maxtext.optimizers.muon import ShardedMuonDimensionNumbers
            from maxtext.optimizers.muon import muon as theirs

            stacked = {name: ShardedMuonDimensionNumbers(1, 2, sharding) for name, sharding in shardings.items()}
        else:
            theirs = optax.contrib.muon
            stacked = dict.fromkeys(params, optax.contrib.MuonDimensionNumbers(1, 2))
        optimizer = theirs(1e-3, consistent_rms=0.2, weight_decay=0.0, muon_weight_dimension_numbers=stacked)

        def place(state):  # momenta where their weights are
            def leaf(path, value):
                name = next((key.key for key in path if getattr(key, "key", None) in shardings), None)
                return jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=shardings.get(name))

            return jax.tree_util.tree_map_with_path(leaf, state)

    def update(gradients, state, params):
        return optimizer.update(gradients, state, params)

    state = place(jax.eval_shape(optimizer.init, params))
    out = (shardings, jax.tree.map(lambda leaf: leaf.sharding, state))
    lowered = jax.jit(update, out_shardings=out).lower(params, state, params)
    return lowered, [p.shape for p in params.values()], places(params.values(), mesh) if who == "ours" else None


def places(stacks, mesh) -> dict[str, int]:
    """Operations of one Newton-Schulz step: of the busiest device, and with every place for a matrix full."""
    from polaris_jax.optim.muon import newton_schulz_flops
    from polaris_jax.optim.resharding import MatrixLayout, share_out

    groups = defaultdict(int)
    for stack in stacks:
        count, rows, cols = stack.shape
        layout = MatrixLayout.of(mesh, stack.sharding.spec, 3)
        groups[min(rows, cols), max(rows, cols), layout.transposed() if rows > cols else layout] += count
    busiest = full = 0
    rests = defaultdict(list)
    for (rows, cols, layout), count in groups.items():
        even, rest = divmod(count, layout.devices(mesh))
        busiest += even * newton_schulz_flops(rows, cols)
        full += even * newton_schulz_flops(rows, cols)
        if rest:
            pool = layout.axes(mesh), layout.replicas, layout.stack, layout.devices(mesh)
            rests[pool].append((rest, newton_schulz_flops(rows, cols), rows * cols))
    for (*_, devices), members in rests.items():
        counts, flops, sizes = zip(*members, strict=True)
        given = [share.matrices for share in share_out(counts, flops, sizes, devices)]
        busiest += max(sum(map(math.prod, zip(matrices, flops, strict=True))) for matrices in given)
        full += sum(max(column) * each for column, each in zip(zip(*given, strict=True), flops, strict=True))
    return {"busiest": busiest, "full": full}


def measure(text: str, shapes, planned: dict[str, int] | None, devices: int, steps: int = 5) -> dict:
    """The row of one scheduled program.

    Raises:
      SystemExit: the program has other products than the table of shares says.
    """
    from polaris_jax.planner.hlo import collectives, matmul_flops, read_program

    program = read_program(text)
    once = sum(n * steps * (4 * min(r, c) ** 2 * max(r, c) + 2 * min(r, c) ** 3) for n, r, c in shapes)
    bytes_ = 2 * sum(math.prod(shape) for shape in shapes)
    rows = collectives(program)
    kinds = {}
    for row in rows:
        kinds[row.kind] = round(kinds.get(row.kind, 0) + row.bytes * devices / bytes_, 3)
    every = matmul_flops(program)
    if planned and every != steps * planned["full"]:
        raise SystemExit(f"{every:,} operations in the program, {steps * planned['full']:,} by the table of shares")
    busiest = steps * planned["busiest"] if planned else every
    return {
        "flops": round(busiest * devices / once, 3),
        "every_branch": round(every * devices / once, 3),
        "moved": round(sum(kinds.values()), 3),
        **kinds,
    }


def worker(case: list[str], folder: Path) -> None:
    """Compiles one case into ``folder``; the parent may end it once the program is there."""
    lowered, shapes, planned = lower(*case)
    (folder / "shapes.json").write_text(json.dumps([shapes, planned]))
    options = {"xla_dump_to": str(folder), "xla_dump_hlo_as_text": True}
    lowered.compile(compiler_options=options)


def compile_case(case: tuple[str, ...], limit: float = 900.0) -> dict:
    """The row of one case, from a process that is ended as soon as the scheduled program is written."""
    with tempfile.TemporaryDirectory() as name:
        folder, start = Path(name), time.monotonic()
        process = subprocess.Popen(
            [sys.executable, __file__, *case, "--dump", name],
            start_new_session=True,
            stderr=subprocess.DEVNULL,
            env=os.environ | ENVIRONMENT | {"JAX_PLATFORMS": "cpu"},
        )
        size, done = -1, False
        while not done and time.monotonic() < start + limit:
            ended = process.poll() is not None
            files = list(folder.glob("*jit_update*after_optimizations.txt"))
            now = files[0].stat().st_size if files else -1
            done = ended or (now > 0 and now == size)
            size = now
            time.sleep(1.0)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        row = dict(zip(("model", "where", "mesh", "who"), case, strict=True))
        if size <= 0:
            return row | {"failed": f"no program after {time.monotonic() - start:.0f} s"}
        devices = math.prod(int(pair.split("=")[1]) for pair in case[2].split(","))
        return row | measure(files[0].read_text(), *json.loads((folder / "shapes.json").read_text()), devices)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", nargs="*", help="model (14b | 135m), topology, mesh, ours | maxtext | optax")
    parser.add_argument("--dump", type=Path, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.dump:
        worker(a.case, a.dump)
        return
    for case in [tuple(a.case)] if a.case else TABLE:
        print(json.dumps(compile_case(case)), flush=True)


if __name__ == "__main__":
    main()

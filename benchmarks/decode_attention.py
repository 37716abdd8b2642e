"""Attention of one new token over a long cache, by the TPU compiler, beside reading that cache once.

    pip install libtpu
    python benchmarks/decode_attention.py                   # Qwen3.5 9B on v6e: a shard of 48 texts, data 2 x tensor 4
    python benchmarks/decode_attention.py --portable --chips v5p --dtype int8 --length 262144 --texts 1

One shard's ``ops.cached_attention`` of one layer (the token is written, then read back with all others), compiled to
the end for one device that is not attached; nothing is run. ``ms`` are the kernels of ``ops.decode_attention_tpu``, a
grid step as long as its schedule (every branch taken) or as its bytes at the chip's bandwidth, whichever is longer, and
the compiler's estimated cycles of all else. With ``--portable`` there are no kernels, and the loop over blocks runs as
often as a full cache makes it. ``read_ms`` is the layer's keys and values once, at the chip's bandwidth.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TOPOLOGIES = {"v5p": "v5:2x2x1", "v6e": "v6e:2x2"}
MODELS = Path(__file__).resolve().parents[1] / "polaris_jax" / "configs" / "models"


def measure(asked: dict) -> dict:
    """Compiles the program asked for; in a process of its own, since libtpu reads its environment once."""
    import jax
    import jax.numpy as jnp
    from jax.experimental import topologies
    from jax.sharding import SingleDeviceSharding

    from polaris_jax.models.model_folder import read_config
    from polaris_jax.ops.cached_attention import BLOCK, WriteIndex, cached_attention, write_and_attend
    from polaris_jax.ops.decode_attention_tpu import SLOTS, decode_attention, read_block
    from polaris_jax.planner.hlo import all_estimated_cycles, estimated_cycles, read_program
    from polaris_jax.planner.kernel_schedule import MATRIX_UNITS, dumped, read_bundles
    from polaris_jax.sharding.chips import CHIPS

    model = read_config(str(MODELS / asked["model"]), shape_only=True)
    devices = topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGIES[asked["chip"]]).devices
    here, d = SingleDeviceSharding(devices[0]), model.head_dim
    n, G, H = asked["texts"] // asked["data"], model.num_kv_heads // asked["tensor"], model.num_heads // asked["tensor"]
    blocks = -(-asked["length"] // BLOCK)

    def array(*shape, dtype=jnp.bfloat16):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=here)

    kept = {name: array(2, n, G, blocks * BLOCK, d, dtype=jnp.dtype(asked["dtype"])) for name in ("k", "v")}
    if asked["dtype"] == "int8":
        kept |= {f"{name}_scale": array(2, n, G, blocks * BLOCK, dtype=jnp.float32) for name in ("k", "v")}
    numbers = array(n, dtype=jnp.int32)

    def attend(q, k, v, cache, layer, start, valid):
        steps = write_and_attend if asked["portable"] else decode_attention
        return cached_attention(q, k, v, cache, WriteIndex(layer, start, valid), steps=steps)

    arguments = array(n, 1, H, d), array(n, 1, G, d), array(n, 1, G, d), kept, array(dtype=jnp.int32), numbers, numbers
    compiled = jax.jit(attend, donate_argnums=3).lower(*arguments).compile()
    program = read_program(compiled.as_text())
    # The loop whose body multiplies is the one over blocks: its length is not known to the compiler.
    bodies = [name for name, body in program.computations.items() if _of_blocks(body, program)]
    inside = sum(sum(map(estimated_cycles, program.computations[name])) for name in bodies)
    cycles = all_estimated_cycles(program) + inside * (blocks - 1)
    size = sum(part.size * part.dtype.itemsize for part in kept.values()) / 2
    clock, chip = MATRIX_UNITS[asked["chip"]].clock, CHIPS[asked["chip"]]
    kernels = {}
    if not asked["portable"]:
        moved = 2 * d * kept["k"].dtype.itemsize  # keys and values of a token
        read = read_block(blocks * BLOCK, moved)
        work = {
            "read": (-(-blocks * BLOCK // read), read * moved),
            "write": (1, 2 * SLOTS * moved),
        }
        for name, (steps, size_of_step) in work.items():
            depth = read_bundles(dumped(Path(asked["folder"]), f"decode_{name}", "-final_bundles.txt")).depth
            bundles = sum(map(bool, depth))
            seconds = n * G * steps * max(bundles / clock, size_of_step / chip.hbm)
            kernels[name] = {
                "bundles": bundles,
                "step_ns_by_bandwidth": 1e9 * size_of_step / chip.hbm,
                "ms": 1e3 * seconds,
            }
    in_kernels = sum(kernel["ms"] for kernel in kernels.values()) / 1e3
    runs = {name: times * (blocks if name in bodies else 1) for name, times in program.runs.items()}
    every = (
        (times * estimated_cycles(i), times, i) for name, times in runs.items() for i in program.computations[name]
    )
    items = [(total, times, one.name, one.op_name) for total, times, one in sorted(every, key=lambda item: -item[0])]
    return asked | {
        "blocks": blocks,
        "bodies": bodies,
        "cycles": cycles,
        "a_block": inside,
        "outside": cycles - inside * blocks,
        "kernels": kernels,
        "ms": 1e3 * (cycles / clock + in_kernels),
        "bytes": int(size),
        "read_ms": 1e3 * size / chip.hbm,
        "ratio": (cycles / clock + in_kernels) / (size / chip.hbm),
        "items": items[:8],
    }


def _of_blocks(body: list, program) -> bool:
    """Whether a computation that the program runs reads keys and multiplies: a loop's body with products."""
    runs = any(program.computations[name] is body for name in program.runs if name != program.entry)
    return runs and any("dot_general" in one.op_name for one in body)


def main() -> None:
    """One line per chip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", nargs="+", default=["v6e"], choices=list(TOPOLOGIES))
    parser.add_argument("--model", default="qwen3_5_9b", help="a folder of polaris_jax/configs/models")
    parser.add_argument("--texts", type=int, default=48)
    parser.add_argument("--length", type=int, default=8448, help="tokens in the cache, rounded up to whole blocks")
    parser.add_argument("--data", type=int, default=2)
    parser.add_argument("--tensor", type=int, default=4)
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "int8"], help="of the cache")
    parser.add_argument("--portable", action="store_true", help="without the kernels")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.one:
        print(json.dumps(measure(json.loads(a.one))))
        return
    from polaris_jax.planner.compile import ENVIRONMENT
    from polaris_jax.planner.kernel_schedule import schedule_dump

    for chip in a.chips:
        asked = {name: getattr(a, name) for name in ("model", "texts", "length", "data", "tensor", "dtype", "portable")}
        with tempfile.TemporaryDirectory() as folder:
            request = json.dumps(asked | {"chip": chip, "folder": folder})
            environment = os.environ | ENVIRONMENT | {"JAX_PLATFORMS": "cpu", "LIBTPU_INIT_ARGS": schedule_dump(folder)}
            command = [sys.executable, __file__, "--one", request]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
        print(done.stdout.strip().splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()

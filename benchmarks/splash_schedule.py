"""JAX's and tokamax's splash attention by the compiler's schedule: bundles for 1,024 queries x 512 keys, beside ours.

    pip install libtpu
    python benchmarks/splash_schedule.py --chips v5p v6e
    python benchmarks/splash_schedule.py --chips v5p v6e --who tokamax --python OTHER/bin/python

Blocks of 1,024 queries and keys, 512 keys at a time, head width 128, bfloat16, causal with segments, so that both sides
mask; nothing is run. tokamax wants a newer Python and JAX than ours, so its kernels are compiled by the
interpreter of ``--python``, whose libtpu should have our version. Of every kernel all innermost loops that keep the
matrix units busy are printed, with the bundles of one trip: a whole block, two units, since the steps over its keys
are written out. A kernel with several such loops has one for each kind of block.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TOPOLOGIES = {"v5p": "v5:2x2x1", "v6e": "v6e:2x2", "tpu7x": "tpu7x:2x2x1"}
BLOCK, STEP, WIDTH, TOKENS, HEADS = 1024, 512, 128, 4096, 2


def compile_kernels(who: str, topology: str) -> None:
    """Forward and backward of one key head; needs nothing but JAX, libtpu and the kernel's own package."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.experimental import topologies
    from jax.sharding import Mesh, NamedSharding
    from jax.sharding import PartitionSpec as P

    sizes = {"block_q": BLOCK, "block_kv": BLOCK, "block_kv_compute": STEP}
    sizes |= {"block_q_dkv": BLOCK, "block_kv_dkv": BLOCK, "block_kv_dkv_compute": STEP, "use_fused_bwd_kernel": True}
    if who == "tokamax":
        from tokamax._src.ops.experimental.tpu.splash_attention import splash_attention_kernel as splash
        from tokamax._src.ops.experimental.tpu.splash_attention import splash_attention_mask as masks

        attention = splash.make_splash_mqa_single_device(
            mask=masks.CausalMask((TOKENS, TOKENS)), config=splash.SplashConfig(**sizes)
        )
    else:
        from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
        from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

        attention = splash.make_splash_mqa_single_device(
            mask=masks.MultiHeadMask([masks.CausalMask((TOKENS, TOKENS))] * HEADS),
            block_sizes=splash.BlockSizes(**sizes),
        )
    mesh = Mesh(np.array(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices[:1]), ("device",))

    def array(*shape, dtype=jnp.bfloat16):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, P()))

    def both(q, k, v, gradient, ids):
        out, back = jax.vjp(lambda *qkv: attention(*qkv, segment_ids=splash.SegmentIds(ids, ids)), q, k, v)
        return out, back(gradient)

    q, k = array(HEADS, TOKENS, WIDTH), array(TOKENS, WIDTH)
    program = jax.shard_map(both, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False)
    jax.jit(program).lower(q, k, k, q, array(TOKENS, dtype=jnp.int32)).compile()
    print(jax.__version__, flush=True)


def loops(folder: Path) -> list[tuple[str, int, float, int]]:
    """``(kernel, bundles of a trip, share of the matrix units' slots, cores)`` of all busy innermost loops."""
    from polaris_jax.planner.kernel_schedule import read_bundles, read_utilization

    found = []
    for file in sorted(folder.glob("*-final_bundles.txt")):
        stem = file.name.split("-final_bundles")[0].rsplit("-", 1)[0]
        tables = list(folder.glob(f"{stem}-*final_hlo-static-per-bundle-utilization.txt"))
        if "splash" not in stem or not tables:
            continue
        capacities, use = read_utilization(tables[0].read_text(errors="replace"))
        depth = read_bundles(file.read_text(errors="replace")).depth
        [original] = folder.glob(f"{stem}-*-original.txt")
        cores = 2 if "BarrierMegacore" in original.read_text(errors="replace") else 1
        start = None
        for at in range(len(depth) + 1):
            deep = at < len(depth) and depth[at] == max(depth)
            if deep and start is None:
                start = at
            elif not deep and start is not None:
                share = sum(use[i][0] for i in range(start, at)) / (at - start) / capacities["MXU"]
                if share > 0.2:
                    found.append((stem.split("-", 1)[-1], at - start, share, cores))
                start = None
    return found


def main() -> None:
    """One line per busy loop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", nargs="+", default=["v5p", "v6e"], choices=list(TOPOLOGIES))
    parser.add_argument("--who", nargs="+", default=["jax"], choices=["jax", "tokamax"])
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has the package")
    parser.add_argument("--compile", nargs=2, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.compile:
        compile_kernels(*a.compile)
        return
    from polaris_jax.planner.compile import ENVIRONMENT
    from polaris_jax.planner.kernel_schedule import schedule_dump

    for who in a.who:
        for chip in a.chips:
            with tempfile.TemporaryDirectory(prefix="splash-") as name:
                dump = schedule_dump(name)
                process = subprocess.run(
                    [a.python, __file__, "--compile", who, TOPOLOGIES[chip]],
                    env=os.environ | ENVIRONMENT | {"JAX_PLATFORMS": "cpu", "LIBTPU_INIT_ARGS": dump, "PYTHONPATH": ""},
                    capture_output=True,
                    text=True,
                )
                if process.returncode:
                    print(f"| {who} | {chip} | {process.stderr.strip()[-400:]} |", flush=True)
                    continue
                version = process.stdout.strip().splitlines()[-1]
                for kernel, bundles, share, cores in loops(Path(name)):
                    where = "BarrierMegacore" if cores == 2 else "one"
                    print(
                        f"| {who}, jax {version} | {chip} | {kernel} | {where} | {bundles:,} | {share:.2f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()

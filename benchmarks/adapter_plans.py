"""What adapters need on few TPU chips: the table of benchmarks/RESULTS.md ("Adapters by the compiler").

    python benchmarks/adapter_plans.py [NAME ...] [--out=benchmarks/adapter_plans.json]

Every row is `polaris plan` of configs/qwen3_8b_qlora_32k.py (rank 16 beside every matrix of the layers, NF4 base) with
overrides: the real train step, compiled by libtpu to buffer assignment. Three of four chips of the v5p slice hold rows
of their own beside the first (data 4), so that a chip holds what one chip alone would. GB are 1e9 bytes per chip.
"""

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from polaris_jax import storage
from polaris_jax.planner import largest_context, plan
from polaris_jax.planner.verdict import GIB
from polaris_jax.training import load_config

K = 1 << 10
OFFLOAD = ("model.offload=True", "model.segments=1")
M14 = ("model.path=ministral3_14b", "mesh.data=4", "data.batch_size=4")
M27 = ("model.path=qwen3_8_27b", "mesh.context=4")


@dataclass(frozen=True)
class Row:
    """One line; ``bar`` in GB per chip, None: none. ``window`` 0: the longest that fits."""

    name: str
    topology: str
    window: int
    overrides: tuple[str, ...] = ()
    bar: float | None = None


ROWS = (
    Row("8b-32k", "v6e-1", 32 * K, bar=20),
    Row("8b-32k-bfloat16", "v6e-1", 32 * K, ("adapter.base=auto", *OFFLOAD)),
    Row("8b-64k", "v6e-1", 64 * K),
    Row("8b-64k-offload", "v6e-1", 64 * K, OFFLOAD, bar=28),
    Row("8b-largest", "v6e-1", 0),
    Row("8b-largest-offload", "v6e-1", 0, OFFLOAD),
    Row("14b-131k", "v5p-8", 128 * K, M14, bar=75),
    Row("14b-largest", "v5p-8", 0, M14),
    Row("14b-largest-offload", "v5p-8", 0, (*M14, *OFFLOAD)),
    Row("27b-131k", "v6e-4", 128 * K, M27),
    Row("27b-131k-offload", "v6e-4", 128 * K, (*M27, *OFFLOAD), bar=31),
    Row("27b-largest-offload", "v6e-4", 0, (*M27, *OFFLOAD)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="rows to make; default all")
    parser.add_argument("--out", default=str(Path(__file__).with_suffix(".json")))
    arguments = parser.parse_args()
    unknown = set(arguments.names) - {row.name for row in ROWS}
    if unknown:
        parser.error(f"no row {sorted(unknown)[0]}; they are {', '.join(row.name for row in ROWS)}")
    out = Path(arguments.out)
    made = json.loads(out.read_text()) if out.exists() else {}
    for row in ROWS:
        if row.name in arguments.names or not arguments.names:
            config = load_config("qwen3_8b_qlora_32k", (f"data.window={row.window or 32 * K}", *row.overrides))
            v = plan(config, row.topology) if row.window else largest_context(config, row.topology, say=print)
            made[row.name] = {
                "window": v.window,
                "fits": v.fits,
                "source": v.source,
                "hbm_gb": v.hbm_gib_per_chip * GIB / 1e9,
                "host_gb": v.host_gib_per_chip * GIB / 1e9,
                "parts_gib": v.parts,
                "step_time_least_s": v.step_time_least_s,
                "step_time_s": v.step_time_s,
                "compile_s": v.compile_s,
            }
            storage.write(str(out), json.dumps(made, indent=1).encode())
            print(line(row, made[row.name]), flush=True)
    print("\n" + "\n".join(line(row, made[row.name]) for row in ROWS if row.name in made))


def line(row: Row, facts: dict) -> str:
    """A row as Markdown."""
    bar = "–" if row.bar is None else f"{row.bar:g}: {'met' if facts['hbm_gb'] <= row.bar else 'missed'}"
    return (
        f"| {row.name} | {row.topology} | {facts['window']:,} | {facts['hbm_gb']:.1f} | {facts['host_gb']:.1f} "
        f"| {bar} | "
        f"{'yes' if facts['fits'] else 'no'} | {facts['step_time_least_s']:.1f} | {facts['step_time_s']:.1f} |"
    )


if __name__ == "__main__":
    main()

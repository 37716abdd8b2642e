"""What the TPU compiler's own schedule says of the attention kernels: bundles, slots, spills, cores, time per tile.

    pip install libtpu
    python benchmarks/kernel_schedule.py                                     # all kernels x chips x widths
    python benchmarks/kernel_schedule.py --chips v6e --widths 128 --windows 0 1024 --passes forward
    python benchmarks/kernel_schedule.py --chips v6e --blocks 2048x1024 1024x1024   # a sweep of block sizes

Needs libtpu, no TPU; nothing is run. Each kernel is compiled to machine code for one device, in a process of its own
(10-40 s), and kept on disk per kernel, shape, chip and libtpu. One row of Markdown per kernel; ``--write FILE`` keeps
the schedules as the JSON table that ``planner`` reads where it has no compiler (``polaris_jax/planner/kernels.json``).

Bundles are per 1,024 queries x 512 keys. ``least`` is what a tile costs at least: its matrix-unit minimum where the
schedule is faster than the units; in brackets its ratio to the minimum. ``outside`` is in bundles per tile: those that
every tile takes, and those with every branch taken.
"""

import argparse
import dataclasses
import json
import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from polaris_jax.errors import RunError
from polaris_jax.planner.kernel_schedule import MATRIX_UNITS, KernelCase, KernelSchedule, kernel_schedule

UNIT = 1024 * 512


def row(case: KernelCase, found: KernelSchedule) -> str:
    """One line of the table."""
    loops = {loop.kind: loop for loop in found.loops}
    least = {kind: max(loop.bundles, found.minimum) for kind, loop in loops.items()}
    full, tile = loops["full"], max(loops["full"].tile, found.minimum * found.q_block * found.kv_block / UNIT)
    cells = [
        case.chip,
        case.which,
        str(case.width),
        str(case.window or "-"),
        f"{found.q_block}x{found.kv_block}",
        str(case.key_heads),
        "BarrierMegacore" if found.cores == 2 else "one",
        f"{found.minimum:,.0f}",
        " / ".join(
            f"{loops[kind].bundles:,.0f}" if kind in loops else "-" for kind in ("full", "causal", "edge", "masked")
        ),
        " / ".join(f"{least[kind]:,.0f} ({least[kind] / found.minimum:.2f})" for kind in ("full", "causal", "masked")),
        f"{full.slots['MXU']:.2f} / {full.slots['VALU']:.2f} / {full.spills:.2f}",
        f"{found.outside_least} ({found.outside_least / tile:.1%}), at most {found.outside_most}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", nargs="+", default=["v5p", "v6e", "tpu7x"], choices=list(MATRIX_UNITS))
    parser.add_argument("--passes", nargs="+", default=["forward", "backward"], choices=["forward", "backward"])
    parser.add_argument("--widths", nargs="+", type=int, default=[128, 64, 256])
    parser.add_argument("--windows", nargs="+", type=int, default=[0], help="0: no window")
    parser.add_argument("--key-heads", nargs="+", type=int, default=[1])
    parser.add_argument("--group", type=int, default=4, help="query heads to a key head")
    parser.add_argument("--blocks", nargs="+", default=["table"], help="QUERIESxKEYS, or table")
    parser.add_argument("--write", help="keep the schedules in this JSON file too")
    parser.add_argument("--fresh", action="store_true", help="compile again what is on disk")
    parser.add_argument("--json", action="store_true", help="one JSON line per kernel instead of a table")
    a = parser.parse_args()
    rows = json.loads(Path(a.write).read_text()) if a.write and Path(a.write).exists() else []
    for chip in a.chips:
        for width in a.widths:
            for window in a.windows:
                for which in a.passes:
                    for key_heads in a.key_heads:
                        for blocks in a.blocks:
                            sizes = None if blocks == "table" else tuple(int(n) for n in blocks.split("x"))
                            case = KernelCase(which, chip, width, window or None, key_heads, a.group, blocks=sizes)
                            try:
                                found = kernel_schedule(case, cached=not a.fresh)
                            except RunError as error:
                                print(
                                    f"| {chip} | {which} | {width} | {window} | {blocks} | {str(error)[-200:]} |",
                                    flush=True,
                                )
                                continue
                            line = json.dumps({"case": dataclasses.asdict(case), "schedule": found.to_json()})
                            print(line if a.json else row(case, found), flush=True)
                            record = json.loads(line)  # as the file has it: lists, no tuples
                            rows = [r for r in rows if r["case"] != record["case"]] + [record]
    if a.write:
        text = ",\n".join(json.dumps(r) for r in rows)
        Path(a.write).write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    main()

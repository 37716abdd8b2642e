"""Which blocks the attention kernels take best under a sliding window, by the compiler's schedule.

    pip install libtpu
    python benchmarks/window_blocks.py --chips v6e --widths 256 --windows 1024 --passes forward
    python benchmarks/window_blocks.py --candidates 512x512 1024x512 1024x1024 2048x1024

A larger block has less outside its loops and more tiles half empty. So every candidate's schedule
(``planner.kernel_schedule``, kept on disk) is multiplied by the tiles of each kind that one head of one document of
``--tokens`` has: cycles per token and core. The window is a number in the kernels, so one schedule serves all windows.
``(table)`` is what ``ops/tile_tpu_table.py`` has.
"""

import argparse
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from polaris_jax.errors import RunError
from polaris_jax.ops.tile_tpu_table import kernels_of
from polaris_jax.planner.attention_time import tile_counts
from polaris_jax.planner.kernel_schedule import MATRIX_UNITS, KernelCase, KernelSchedule, kernel_schedule
from polaris_jax.sharding.chips import CHIPS


def cycles_per_token(found: KernelSchedule, tokens: int, window: int) -> float:
    """Cycles of one head and core for one token of a document of ``tokens``."""
    counts = tile_counts(tokens, window, found.q_block, found.kv_block)
    return sum(n * found.cycles(kind) for kind, n in counts.items()) / tokens


def main() -> None:
    """One line per kernel and candidate, cycles by window."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", nargs="+", default=["v6e", "v5p"], choices=list(MATRIX_UNITS))
    parser.add_argument("--passes", nargs="+", default=["forward", "backward"], choices=["forward", "backward"])
    parser.add_argument("--widths", nargs="+", type=int, default=[128, 256])
    parser.add_argument("--windows", nargs="+", type=int, default=[1024, 4096])
    parser.add_argument("--candidates", nargs="+", default=["512x512", "1024x512", "1024x1024"], metavar="QUERIESxKEYS")
    parser.add_argument("--tokens", type=int, default=65_536)
    a = parser.parse_args()
    print(
        "| chip | pass | width | blocks | outside | " + " | ".join(f"window {w:,}" for w in a.windows), "|", flush=True
    )
    print("|---" * (5 + len(a.windows)) + "|", flush=True)
    for chip in a.chips:
        for width in a.widths:
            for which in a.passes:
                table = kernels_of(CHIPS[chip].kinds[0])
                for blocks in a.candidates:
                    queries, keys = map(int, blocks.split("x"))
                    head = f"| {chip} | {which} | {width} | {blocks}"
                    try:
                        found = kernel_schedule(KernelCase(which, chip, width, a.windows[0], blocks=(queries, keys)))
                    except RunError as error:
                        print(f"{head} | refused: {' '.join(str(error).split())[-160:]} |", flush=True)
                        continue
                    cells = [
                        f"{cycles_per_token(found, a.tokens, window):,.2f}"
                        + (" (table)" if table.blocks(which, width, window) == (queries, keys) else "")
                        for window in a.windows
                    ]
                    print(f"{head} | {found.outside_least} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

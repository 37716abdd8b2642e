"""Which blocks the attention kernels take best under a sliding window, by the compiler's schedule.

    pip install libtpu
    python benchmarks/window_blocks.py --chips v6e --widths 256 --windows 1024 --passes forward
    python benchmarks/window_blocks.py --candidates 512x512 1024x512 1024x1024 2048x1024

A larger block has less outside its loops and more tiles half empty. So every candidate's schedule
(``planner.kernel_schedule``, kept on disk) is multiplied by the tiles of each kind that one head of one document of
``--tokens`` has: cycles per token and core, the least first. ``table`` is what ``ops/tile_tpu_table.py`` has.
"""

import argparse
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from polaris_jax.errors import RunError
from polaris_jax.planner.attention_time import tile_counts
from polaris_jax.planner.kernel_schedule import MATRIX_UNITS, KernelCase, kernel_schedule


def cycles_per_token(case: KernelCase, tokens: int) -> tuple[float, int, int]:
    """``(cycles, query block, key block)`` of one head and core for one token of a document of ``tokens``."""
    found = kernel_schedule(case)
    counts = tile_counts(tokens, case.window, found.q_block, found.kv_block)
    return sum(n * found.cycles(kind) for kind, n in counts.items()) / tokens, found.q_block, found.kv_block


def main() -> None:
    """One line per kernel and candidate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", nargs="+", default=["v6e", "v5p"], choices=list(MATRIX_UNITS))
    parser.add_argument("--passes", nargs="+", default=["forward", "backward"], choices=["forward", "backward"])
    parser.add_argument("--widths", nargs="+", type=int, default=[128, 256])
    parser.add_argument("--windows", nargs="+", type=int, default=[1024, 4096])
    parser.add_argument("--candidates", nargs="+", default=["512x512", "1024x512", "1024x1024"], metavar="QUERIESxKEYS")
    parser.add_argument("--tokens", type=int, default=65_536)
    a = parser.parse_args()
    print("| chip | pass | width | window | blocks | cycles a token | beside the table's |", flush=True)
    print("|---" * 7 + "|", flush=True)
    for chip in a.chips:
        for width in a.widths:
            for window in a.windows:
                for which in a.passes:
                    table = None
                    for blocks in ("table", *a.candidates):
                        sizes = None if blocks == "table" else tuple(int(n) for n in blocks.split("x"))
                        head = f"| {chip} | {which} | {width} | {window:,}"
                        try:
                            cycles, *own = cycles_per_token(
                                KernelCase(which, chip, width, window, blocks=sizes), a.tokens
                            )
                        except RunError as error:
                            print(
                                f"{head} | {blocks} | refused: {' '.join(str(error).split())[-160:]} | – |", flush=True
                            )
                            continue
                        table = table or cycles
                        name = "{}x{}".format(*own) + (" (table)" if sizes is None else "")
                        print(f"{head} | {name} | {cycles:,.2f} | {cycles / table:.2f} |", flush=True)


if __name__ == "__main__":
    main()

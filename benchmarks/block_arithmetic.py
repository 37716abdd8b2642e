"""Blocks of the attention kernels by arithmetic: cycles a token of packed documents or under a window, no compile.

    python benchmarks/block_arithmetic.py --documents 0 16000 8000    # packed documents of about so many tokens
    python benchmarks/block_arithmetic.py --windows 1024 4096

The tiles of each kind that a row of ``--tokens`` has in the candidate's blocks, times the bundles of ``kernels.json``
for so many queries and keys, and what stands outside the loops. Tiles of few units cost more where the layout is
transposed, because less overlaps (``FEW``, from kernels compiled once). ``0`` documents is one document. A kernel of
its own (``window_blocks.py``) is the better answer, and takes minutes.
"""

import argparse
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax.numpy as jnp
import numpy as np

from polaris_jax.ops.tile_tpu_table import kernels_of
from polaris_jax.ops.tiles import KINDS, TokenMetadata, summarise, tile_kinds
from polaris_jax.planner.attention_time import known_schedule, tile_counts
from polaris_jax.planner.kernel_schedule import UNIT_KEYS, UNIT_QUERIES
from polaris_jax.sharding.chips import CHIPS

FEW = {1: 1.76, 2: 1.35, 4: 1.08}  # by units in a trip of the loop: their cost beside that of eight


def packed(tokens: int, mean: int) -> TokenMetadata:
    """A row of documents of random lengths (log-normal, the same every time), ``mean`` tokens on average; 0: one."""
    rng, positions, segments, at = np.random.default_rng(0), [], [], 0
    while at < tokens:
        length = min(tokens - at, max(16, int(rng.lognormal(np.log(mean) - 0.32, 0.8))) if mean else tokens)
        segments.append(np.full(length, len(segments) + 1, np.int32))
        positions.append(np.arange(length, dtype=np.int32))
        at += length
    return TokenMetadata(*(jnp.asarray(np.concatenate(x))[None] for x in (positions, segments)))


def cycles(chip: str, which: str, width: int, blocks: tuple[int, int], counts: dict[str, int]) -> float:
    """Of one head and core for tiles of each kind."""
    found, _ = known_schedule(which, chip, width, None)
    loops = {loop.kind: max(loop.bundles, found.minimum) for loop in found.loops}
    loops["edge"] = loops["causal"]  # one comparison too
    units = 1.0
    if kernels_of(CHIPS[chip].kinds[0]).transposed:
        trip = blocks[0] // 512 * (min(2, blocks[1] // 512) if which == "forward" else 2)
        units = FEW.get(trip, 1.0)
    area = blocks[0] / UNIT_QUERIES * blocks[1] / UNIT_KEYS * units
    return sum(n * (loops[kind] * area + found.outside_least) for kind, n in counts.items() if n)


def main() -> None:
    """One line per kernel and row of tokens, the candidates beside each other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", nargs="+", default=["v5p", "v6e", "tpu7x"], choices=["v5p", "v6e", "tpu7x"])
    parser.add_argument("--widths", nargs="+", type=int, default=[128])
    parser.add_argument("--documents", nargs="*", type=int, default=[], help="tokens of a document on average")
    parser.add_argument("--windows", nargs="*", type=int, default=[], help="of one document, instead")
    parser.add_argument("--tokens", type=int, default=131_072)
    parser.add_argument("--candidates", nargs="+", default=["512x512", "1024x1024", "2048x1024", "2048x2048"])
    a = parser.parse_args()
    sizes = [tuple(int(n) for n in blocks.split("x")) for blocks in a.candidates]
    print("| chip | pass | width | row | " + " | ".join(a.candidates) + " |\n" + "|---" * (4 + len(sizes)) + "|")
    rows = [(f"documents of {n:,}", n, None) for n in a.documents] + [(f"window {n:,}", 0, n) for n in a.windows]
    for name, mean, window in rows:
        row = packed(a.tokens, mean)
        counts = {}
        for q, k in sizes:
            if window is None:
                kinds = np.asarray(tile_kinds(summarise(row, q), summarise(row, k), None))
                counts[q, k] = {KINDS[i]: int((kinds == i).sum()) for i in range(1, len(KINDS))}
            else:
                counts[q, k] = tile_counts(a.tokens, window, q, k)
        for chip in a.chips:
            for width in a.widths:
                for which in ("forward", "backward"):
                    cells = [f"{cycles(chip, which, width, b, counts[b]) / a.tokens:.2f}" for b in sizes]
                    print(f"| {chip} | {which} | {width} | {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

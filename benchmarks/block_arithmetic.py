"""Blocks of the attention kernels by arithmetic: cycles a token of packed documents or under a window, no compile.

    python benchmarks/block_arithmetic.py --documents 0 16000 8000    # packed documents of about so many tokens
    python benchmarks/block_arithmetic.py --windows 1024 4096

The tiles of each kind that a row of ``--tokens`` has in the candidate's blocks, times what the planner takes for one
(``planner.attention_time.kernel_time``). "est." stands where ``kernels.json`` has no kernel in these blocks and another
one is scaled. ``0`` documents is one document. A kernel of its own (``window_blocks.py``) is the better answer, and
takes minutes.
"""

import argparse
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax.numpy as jnp
import numpy as np

from polaris_jax.ops.tiles import KINDS, TokenMetadata, summarise, tile_kinds
from polaris_jax.planner.attention_time import kernel_time, tile_counts


def packed(tokens: int, mean: int) -> TokenMetadata:
    """A row of documents of random lengths (log-normal, the same every time), ``mean`` tokens on average; 0: one."""
    rng, positions, segments, at = np.random.default_rng(0), [], [], 0
    while at < tokens:
        length = min(tokens - at, max(16, int(rng.lognormal(np.log(mean) - 0.32, 0.8))) if mean else tokens)
        segments.append(np.full(length, len(segments) + 1, np.int32))
        positions.append(np.arange(length, dtype=np.int32))
        at += length
    return TokenMetadata(*(jnp.asarray(np.concatenate(x))[None] for x in (positions, segments)))


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
                    cells = []
                    for blocks in sizes:
                        kernel = kernel_time(which, chip, width, window, blocks)
                        cycles = sum(n * kernel.cycles[kind] for kind, n in counts[blocks].items())
                        cells.append(f"{cycles / a.tokens:.2f}" + ("" if kernel.compiled else " est."))
                    print(f"| {chip} | {which} | {width} | {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

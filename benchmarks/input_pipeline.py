"""How fast one core prepares batches, and how full the windows are.

    python benchmarks/input_pipeline.py                                   # 600 synthetic books, window 262,144
    python benchmarks/input_pipeline.py --store gs://bucket/books --window 262144 --shards 16

Prints one JSON object. ``tokens_per_second`` counts every place of the window, ``part`` the same for one context shard
of each row, which is what a host with one shard's devices reads.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable

import numpy as np

from polaris_jax.data import Batches, Tokenizer, TokenStore, Trajectory, plan_bins, train_sentencepiece


def synthetic_store(path: str, books: int, seed: int = 0) -> TokenStore:
    """A store of ``books`` random trajectories whose lengths are spread like those of novels (median 90k tokens)."""
    rng = np.random.default_rng(seed)
    tokenizer: Tokenizer = train_sentencepiece(["a lamp, a ledger, a stair"], 280)
    writer = TokenStore.create(path, tokenizer)
    for length in rng.lognormal(np.log(90_000), 0.6, books).astype(int).clip(5_000, 250_000):
        runs = rng.integers(0, 9, length // 70 + 1).repeat(70)[:length].astype(np.int8)
        tokens = rng.integers(5, 280, length).astype(np.int32)
        writer.append(Trajectory(tokens, runs, runs % 5, np.ones(length, np.float32)), {"split": "train"})
    return writer.commit()


def seconds_per_call(call: Callable[[int], object], steps: int) -> float:
    """CPU seconds per call, all threads together, after one call that is not counted."""
    call(0)
    began = time.process_time()
    for step in range(1, steps + 1):
        call(step)
    return (time.process_time() - began) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", help="an existing store; default: a synthetic one")
    parser.add_argument("--books", type=int, default=600, help="size of the synthetic store")
    parser.add_argument("--window", type=int, default=262_144)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        store = TokenStore.open(args.store) if args.store else synthetic_store(scratch, args.books)
        began = time.perf_counter()
        plan = plan_bins(store.lengths, args.window, overlong="drop")
        planned = time.perf_counter() - began
        batches = Batches(store, plan, batch_size=args.batch_size, seed=0, shards=args.shards)
        places = args.batch_size * args.window
        width = args.window // args.shards
        whole = seconds_per_call(batches.batch, args.steps)
        part = seconds_per_call(lambda step: batches.batch(step, columns=slice(0, width)), args.steps)
        began = time.perf_counter()
        for _ in batches.iterate(100, 100 + args.steps):
            pass
        prefetched = (time.perf_counter() - began) / args.steps
        print(json.dumps({
            "trajectories": len(store), "tokens": int(store.lengths.sum()), "window": args.window,
            "batch_size": args.batch_size, "shards": args.shards, "bins": len(plan),
            "fill_percent": round(100 * plan.fill, 2), "plan_seconds": round(planned, 4),
            "tokens_per_second_per_core": round(places / whole),
            "part_tokens_per_second_per_core": round(places / args.shards / part),
            "iterate_tokens_per_second": round(places / prefetched),
        }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()

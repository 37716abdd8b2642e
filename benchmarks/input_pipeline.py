"""How fast batches are made, against cores and against what real pods consume, and how full the windows are.

    python benchmarks/input_pipeline.py --svg docs/input_pipeline.svg     # 600 synthetic books, window 262,144
    python benchmarks/input_pipeline.py --store gs://bucket/books --shards 32
    python benchmarks/input_pipeline.py --corpus ../shared/corpus --store /tmp/mini --window 8192

Tokens count every place of the window. A host reads the context shards of its own devices: ``--part`` of ``--shards``.
For each number of cores a process of its own is held to so many of this machine's, and the best of ``--repeats``
stretches is taken, since other work on the machine only takes away. ``--corpus`` first builds a library of mini volumes
of the given novels at ``--store`` (resumed when it is there), and its fill is what is printed.

Prints one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from polaris_jax.data import Batches, Tokenizer, TokenStore, Trajectory, plan_bins, train_sentencepiece

ROOT = Path(__file__).resolve().parents[1]
RUN = {"config": "configs/ministral3_14b_books_262k.py", "chip": "v6e", "chips": 256, "chips_per_host": 4}


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


def mini_library(corpus: list[str], path: str, window: int) -> TokenStore:
    """Novels as mini volumes that fit ``window``, with SmolLM2's tokenizer."""
    from library_build import packaged_tokenizer

    from polaris_jax.corpus import BuildOptions, build_library, find_novels

    with tempfile.TemporaryDirectory() as scratch:
        build_library(find_novels(corpus), Path(path), packaged_tokenizer(scratch), BuildOptions(window=window))
    return TokenStore.open(path)


def consumption() -> dict[str, float]:
    """Tokens per second that the 14B run on 256 chips takes: by the planner's roofline, and if every FLOP counted."""
    from polaris_jax.models import describe
    from polaris_jax.models.config import ModelConfig
    from polaris_jax.sharding.chips import CHIPS
    from polaris_jax.training import load_config

    config = load_config(ROOT / RUN["config"])
    model = ModelConfig.from_hf(json.loads((Path(config.model.path) / "config.json").read_text()))
    flops = 3 * describe(model).flops_per_token(config.data.window).total
    return {
        "at_100_percent_mfu": RUN["chips"] * CHIPS[RUN["chip"]].flops / flops,
        "at_40_percent_mfu": 0.4 * RUN["chips"] * CHIPS[RUN["chip"]].flops / flops,
    }


def measure(batches: Batches, columns: slice, seconds: float, repeats: int, threads: int) -> float:
    """Tokens per second of ``iterate``, the best of so many stretches."""
    best = 0.0
    width = len(range(*columns.indices(batches.plan.window)))
    for number in range(repeats):
        began, done = time.perf_counter(), 0
        for _ in batches.iterate(1000 * number, 1 << 30, columns=columns, threads=threads):
            done += 1
            if time.perf_counter() - began > seconds:
                break
        best = max(best, done * batches.batch_size * width / (time.perf_counter() - began))
    return best


def worker(arguments: argparse.Namespace) -> None:
    """Prints the tokens per second of one number of cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    store = TokenStore.open(arguments.store)
    plan = plan_bins(store.lengths, arguments.window, overlong="drop")
    batches = Batches(store, plan, batch_size=arguments.batch_size, seed=0, shards=arguments.shards)
    part = arguments.window // arguments.shards * arguments.part
    rates = {"whole_rows": slice(None), "part": slice(0, part)}
    print(
        json.dumps(
            {
                name: measure(batches, columns, arguments.seconds, arguments.repeats, 2 * arguments.cores)
                for name, columns in rates.items()
            }
        )
    )


def draw(path: str, found: dict) -> None:
    """Rates against cores, with the lines of what the run consumes."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "polaris"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    cores = [row["cores"] for row in found["rates"]]
    for name, label in (("whole_rows", "whole rows"), ("part", f"{found['part']} of {found['shards']} context shards")):
        axes.plot(cores, [row[name] for row in found["rates"]], marker="o", label=label)
    pod = found["consumption"]["at_100_percent_mfu"]
    lines = (
        (10 * pod, "10 × the whole pod", ":"),
        (pod, "14B on 256 v6e chips, were every FLOP used", "--"),
        (pod * RUN["chips_per_host"] / RUN["chips"], "one host's share of it", "-."),
    )
    for place, label, style in lines:
        axes.axhline(place, linestyle=style, color="0.4", linewidth=1)
        axes.text(cores[0], place * 1.12, label, fontsize=8, color="0.3")
    axes.set(yscale="log", xlabel="cores", ylabel="tokens per second", xticks=cores)
    axes.legend(fontsize=8, loc="center right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", help="an existing store, or where to build --corpus; default: a synthetic one")
    parser.add_argument("--corpus", nargs="+", help="novels, or folders of them, to build mini volumes from")
    parser.add_argument("--books", type=int, default=600, help="size of the synthetic store")
    parser.add_argument("--window", type=int, default=262_144)
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument("--shards", type=int, default=32)
    parser.add_argument("--part", type=int, default=4, help="context shards of a row that one host holds")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--svg", help="where to draw the curve")
    parser.add_argument("--cores", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cores:
        return worker(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.corpus:
            store = mini_library(arguments.corpus, arguments.store or scratch, arguments.window)
        else:
            store = TokenStore.open(arguments.store) if arguments.store else synthetic_store(scratch, arguments.books)
        began = time.perf_counter()
        plan = plan_bins(store.lengths, arguments.window, overlong="drop")
        planned = time.perf_counter() - began
        flags = [
            f"--{name}={getattr(arguments, name)}"
            for name in ("window", "batch_size", "shards", "part", "seconds", "repeats")
        ]
        rates = []
        for cores in range(1, len(os.sched_getaffinity(0)) + 1):
            ran = subprocess.run(
                [sys.executable, __file__, f"--store={store.path}", f"--cores={cores}", *flags],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            rates.append({"cores": cores} | {name: round(rate) for name, rate in json.loads(ran.stdout).items()})
    need = {name: round(rate) for name, rate in consumption().items()}
    found = {
        "trajectories": len(store),
        "tokens": int(store.lengths.sum()),
        "window": arguments.window,
        "shards": arguments.shards,
        "part": arguments.part,
        "bins": len(plan),
        "fill_percent": round(100 * plan.fill, 2),
        "plan_seconds": round(planned, 4),
        "rates": rates,
        "consumption": need,
        "times_the_whole_pod_per_core": round(rates[0]["whole_rows"] / need["at_100_percent_mfu"]),
    }
    if arguments.svg:
        draw(arguments.svg, found)
    print(json.dumps(found, indent=1))
    return None


if __name__ == "__main__":
    main()

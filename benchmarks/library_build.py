"""How fast a library becomes trajectories, and where the time goes.

    python benchmarks/library_build.py [FILES_OR_FOLDER ...] [--tokenizer=FOLDER] [--workers=N] [--profile=full]
        [--runner=local] [--functions=BOOK]

Builds every novel with the offline annotator into a scratch store (whole books, no window, no size filter but the
library's own) and prints, per core: MB of novel and tokens of trajectory per second, and the share of every stage.
"Per core" divides by the seconds that the workers spent in the stages, so waiting does not count. ``--functions`` then
runs one book under cProfile. Without ``--tokenizer`` SmolLM2's is taken from its package.
"""

import argparse
import cProfile
import io
import os
import pstats
import tempfile
from pathlib import Path

from polaris_jax.corpus import BuildOptions, build_library, find_novels
from polaris_jax.corpus.stage_timer import StageTimer
from polaris_jax.corpus.trajectories import make_trajectories
from polaris_jax.data import Tokenizer, load_tokenizer
from polaris_jax.library import read_novel
from polaris_jax.scaffold import OfflineAnnotator


def packaged_tokenizer(scratch: str) -> Tokenizer:
    """SmolLM2's tokenizer with the stage tokens in the place of spare control tokens, as the demo uses it."""
    from polaris_jax.models.gguf import convert_gguf, packaged_gguf

    folder = Path(scratch) / "smollm2"
    convert_gguf(packaged_gguf(), folder)
    return load_tokenizer(folder)


def functions(book: str, tokenizer: Tokenizer, options: BuildOptions, most: int = 25) -> str:
    """cProfile of one book, by the time spent in each function itself."""
    novel = read_novel(book)
    profile = cProfile.Profile()
    profile.runcall(make_trajectories, novel, OfflineAnnotator(), options, tokenizer, StageTimer())
    text = io.StringIO()
    pstats.Stats(profile, stream=text).sort_stats("tottime").print_stats(most)
    return text.getvalue()


def main() -> None:
    shared = Path(os.environ.get("POLARIS_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("books", nargs="*", default=[str(shared / "corpus")])
    parser.add_argument("--tokenizer")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--profile", default="full")
    parser.add_argument("--runner", default="local")
    parser.add_argument("--functions", metavar="BOOK")
    arguments = parser.parse_args()
    options = BuildOptions(
        arguments.profile, min_words=2_000, max_words=700_000, window=0 if arguments.profile == "full" else None
    ).resolved()
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer = load_tokenizer(arguments.tokenizer) if arguments.tokenizer else packaged_tokenizer(scratch)
        if arguments.functions:
            print(functions(arguments.functions, tokenizer, options))
            return
        build = build_library(
            find_novels(arguments.books),
            Path(scratch) / "store",
            tokenizer,
            options,
            runner=arguments.runner,
            workers=arguments.workers,
        )
    run, report = build.run, build.report
    seconds = sum(run["seconds_by_stage"].values())
    print(f"books           {run['planned_now']} of {run['novels']}, {run['bytes_planned'] / 1e6:.1f} MB")
    for row in report["books"]:
        if not row["accepted"]:
            print(f"  {row['status']} {row['file']}: {row['reason']}")
    print(f"tokens          {run['tokens_planned']:,}")
    print(f"wall clock      {run['seconds']:.0f} s; the workers' stages {seconds:.0f} s")
    megabytes, tokens = run["bytes_planned"] / 1e6 / seconds, run["tokens_planned"] / seconds
    print(f"per core        {megabytes:.3f} MB/s, {tokens:,.0f} tokens/s")
    for stage, spent in run["seconds_by_stage"].items():
        print(f"  {stage:<18}{spent:8.1f} s {spent / seconds:7.1%}")
    shares = {kind: tokens / report["tokens"] for kind, tokens in report["by_kind"].items()}
    scaffold = shares["scaffold"] + shares["header"] + shares["copy"]
    print(
        f"token shares    prose {shares['prose']:.2%}, scaffold {scaffold:.2%}, prompt {shares['prompt']:.2%} "
        "(paper: 60.43 / 39.35 / 0.23 %)"
    )


if __name__ == "__main__":
    main()

"""``polaris write``: generate a book."""

import argparse
import dataclasses

from polaris_jax.commands.devices import compilation_cache


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    parser.add_argument("--checkpoint", required=True, help="training run or Hugging Face folder")
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--out", "--output-directory", dest="out", required=True)
    parser.add_argument("--profile", choices=("mini", "full", "first-chapter", "demo"), default="mini")
    parser.add_argument("--window", "--max-model-len", dest="window", type=int, help="longest transcript in tokens")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--temperature", type=float, help="replace every stage's own temperature")
    parser.add_argument("--repetition-penalty", type=float, default=1.0, help="1.15 helps little-trained models")


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    a = arguments
    compilation_cache()
    from polaris_jax import flow
    from polaris_jax.demo import demo_profile
    from polaris_jax.sampling import LiveProgress, WriterSettings, write_book
    from polaris_jax.trajectory import FIRST_CHAPTER, FULL_BOOK, mini_profile

    window = a.window or {"full": FULL_BOOK.window, "first-chapter": FIRST_CHAPTER.window, "demo": 2048}.get(
        a.profile, 8192)
    profiles = {"mini": mini_profile, "demo": demo_profile,
                "full": lambda window: dataclasses.replace(FULL_BOOK, window=window),
                "first-chapter": lambda window: dataclasses.replace(FIRST_CHAPTER, window=window)}
    sampler = flow.open_sampler(a.checkpoint, window)
    with LiveProgress() as live:
        book = write_book(sampler, a.prompt, profiles[a.profile](window), seed=a.seed, out_dir=a.out,
                          settings=WriterSettings(temperature=a.temperature, repetition_penalty=a.repetition_penalty),
                          progress=live)
    for file in book.files:
        print(file)
    return 0 if book.verdict else 1

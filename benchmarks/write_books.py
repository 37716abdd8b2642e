"""Writes a book for each of N prompts and says what came out.

    python benchmarks/write_books.py CHECKPOINT --out=DIR [--books=20] [--profile=demo] [--window=2048]

A line per book and a summary as JSON: strict validity, chapters with a closed fence, loops beyond the guard's limit (a
12-token span three times in 400 canonical tokens), the longest run of words that one chapter contains twice, tokens
per second, retries, cuts. Books that DIR holds already are not written again, so an interrupted run goes on.
"""

import argparse
import itertools
import json
import time
from collections import Counter
from pathlib import Path

import jax

from polaris_jax.checkpoint_sampler import open_sampler
from polaris_jax.demo_settings import demo_profile
from polaris_jax.sampling import LoopGuard, WriterSettings, readable, write_book
from polaris_jax.trajectory import count_words, mini_profile, split_stages

WHO = ("a surveyor", "two sisters", "a retired diver", "the night clerk of a small hotel", "a deaf piano tuner")
WHERE = (
    "in a village above a drowned valley",
    "on the last ferry of the season",
    "in a city under curfew",
    "on an island without a harbour",
)
WHAT = (
    "who find a letter that was never meant for them",
    "who must keep a secret for one winter",
    "who come home to find the house let to strangers",
)


def prompts(count: int) -> list[str]:
    """``count`` different requests, short and long."""
    rows = itertools.cycle(itertools.product(WHAT, WHERE, WHO))
    ends = itertools.cycle(("", " Quiet tone, exact detail.", " First person, past tense; it must not end well."))
    return [
        f"A short novel about {who} {where} {what}.{end}"
        for (what, where, who), end, _ in zip(rows, ends, range(count), strict=False)
    ]


def longest_repeat(words: list[str]) -> int:
    """Words in the longest run that occurs twice (it may overlap itself)."""
    low, high = 0, len(words)
    while low < high:
        n = (low + high + 1) // 2
        grams = Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))
        low, high = (n, high) if max(grams.values(), default=0) > 1 else (low, n - 1)
    return low


def describe(book, tokenizer, folder: Path) -> dict:
    """What one finished book is like."""
    texts = [stage.text for stage in split_stages(book.transcript) if stage.role.endswith("_text")]
    notes = [note for step in json.loads((folder / "run.json").read_text())["steps"] for note in step["notes"]]
    guard = LoopGuard()
    return {
        "valid": book.verdict.ok,
        "end": book.end,
        "chapters": len(texts),
        "fenced": sum(text.endswith("\n```") for text in texts),
        "loops": sum(guard.first_loop(tokenizer.encode(text).tolist()) is not None for text in texts),
        "longest_repeat": max(longest_repeat(prose.split()) for _, prose in readable(book.transcript).chapters),
        "words": sum(map(count_words, texts)),
        "tokens": len(tokenizer.encode(book.transcript)),
        "tokens_per_second": round(book.totals["tokens_per_second"], 1),
        "retries": book.totals["retries"],
        "loop_cuts": sum(note.startswith("loop") for note in notes),
        "short": sum(note.startswith("short") for note in notes),
        "closed": sum(note.startswith(("closed", "finished")) for note in notes),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--books", type=int, default=20)
    parser.add_argument("--profile", choices=("demo", "mini"), default="demo")
    parser.add_argument("--window", type=int, default=2048)
    parser.add_argument("--repetition-penalty", type=float, default=1.15)
    parser.add_argument("--extend-short", type=int, default=0)
    arguments = parser.parse_args()

    profile = (demo_profile if arguments.profile == "demo" else mini_profile)(arguments.window)
    settings = WriterSettings(repetition_penalty=arguments.repetition_penalty, extend_short=arguments.extend_short)
    sampler = open_sampler(arguments.checkpoint, arguments.window)
    rows, started = [], time.perf_counter()
    for number, prompt in enumerate(prompts(arguments.books)):
        folder = arguments.out / f"{number:03d}"
        book = write_book(sampler, prompt, profile, seed=number, out_dir=folder, settings=settings)
        rows.append(describe(book, sampler.tokenizer, folder))
        print(number, json.dumps(rows[-1]), flush=True)
    seconds = time.perf_counter() - started
    print(
        json.dumps(
            {
                "device": jax.devices()[0].device_kind,
                "books": len(rows),
                "valid": sum(row["valid"] for row in rows),
                "chapters": sum(row["chapters"] for row in rows),
                "fenced": sum(row["fenced"] for row in rows),
                "chapters_with_loops": sum(row["loops"] for row in rows),
                "longest_repeat": max(row["longest_repeat"] for row in rows),
                "words": sum(row["words"] for row in rows),
                "seconds": round(seconds, 1),
                "tokens_per_second": round(sum(row["tokens_per_second"] for row in rows) / len(rows), 1),
                **{name: sum(row[name] for row in rows) for name in ("retries", "loop_cuts", "short", "closed")},
            }
        )
    )


if __name__ == "__main__":
    main()

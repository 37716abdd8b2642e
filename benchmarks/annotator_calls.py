"""What a language model's plan of a novel takes: calls, prompt tokens (fresh and cached), answer tokens, dollars.

    python benchmarks/annotator_calls.py [--model=NAME] [--context=8192,200000,1000000] [FILES ...]

Plans whole novels with the forecast's stand-in for a model: every question is built as for a real one and counted at
3.5 characters per token; answers have the length that a model fills them to. Prompt tokens count as cached where a
question begins like an earlier one, in blocks of 128 tokens, as providers count them. Dollars are those of
``polaris_jax/prices.toml``. No model is asked.
"""

import argparse
import os
import time
from pathlib import Path

from polaris_jax.library import read_novel
from polaris_jax.prices import read_prices
from polaris_jax.scaffold import FULL, ForecastClient, LLMAnnotator, build_books
from polaris_jax.scaffold.field_paths import field_paths
from polaris_jax.trajectory import Book

BOOKS = ("stevenson_treasure-island.txt", "dumas_the-count-of-monte-cristo.txt")


def richness(book: Book) -> str:
    """How much the plan holds: scenes, fields, bullets."""
    scenes = [scene for chapter in book.chapters for scene in chapter.scenes]
    bullets = sum(len(s.summary) for s in scenes) + sum(len(c.summary) for c in book.chapters)
    bullets += sum(len(lines) for arc in book.arcs for lines in (arc.short, arc.medium, arc.long))
    return f"{len(scenes):6} {sum(1 for _ in field_paths(book.chapters, book.arcs, 4)):6} {bullets:7}"


def main() -> None:
    shared = Path(os.environ.get("POLARIS_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("books", nargs="*", default=[str(shared / "corpus" / name) for name in BOOKS])
    parser.add_argument("--model", default="gemini-2.5-flash")
    parser.add_argument("--context", default="8192,200000,1000000")
    arguments = parser.parse_args()
    prices = read_prices()
    price = prices.models[arguments.model]
    print(f"{arguments.model}, prices of {prices.dates['models']}")
    print(f"{'novel':26} context  calls   prompt   fresh  answer      $  seconds scenes fields bullets")
    for path in arguments.books:
        novel = read_novel(path)
        for context in map(int, arguments.context.split(",")):
            client = ForecastClient(arguments.model)
            started = time.process_time()
            (book,) = build_books(novel, LLMAnnotator(client, context_tokens=context), FULL)
            seconds, usage = time.process_time() - started, client.usage
            dollars = price.dollars(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
            fresh = usage.prompt_tokens - usage.cached_tokens
            print(
                f"{Path(path).stem[:26]:26} {context:7} {usage.calls:6} {usage.prompt_tokens / 1e6:7.3f}M "
                f"{fresh / 1e6:6.3f}M {usage.completion_tokens / 1e6:6.3f}M {dollars:6.2f} {seconds:8.1f} "
                f"{richness(book)}",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""``polaris pairs``: novels and collections → prompts with human stories, for reinforcement learning and evaluation."""

import argparse
import json
import sys

from polaris_jax.commands import reading_flags
from polaris_jax.commands.client_flags import CLIENT, client_spec, numbers, refuse
from polaris_jax.commands.client_flags import add_flags as add_client_flags
from polaris_jax.commands.flag_types import folder_to_write
from polaris_jax.errors import InputError

_LEFT_OUT = ("too_short", "too_long", "unplanned")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    parser.add_argument(
        "--books", nargs="+", required=True, metavar="PATH_OR_GLOB", help="novels, collections, folders or globs"
    )
    parser.add_argument("--catalogue", metavar="CSV", help="credits by file name; override those in the books")
    parser.add_argument(
        "--out", type=folder_to_write, required=True, help="folder for train, validation and test, local or gs://"
    )
    parser.add_argument("--format", choices=("jsonl", "parquet"), default="jsonl", help="file format (default jsonl)")
    parser.add_argument("--split", default="90/5/5", help="train/validation/test as shares of authors")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split by author")
    parser.add_argument("--train-words", default="1000-4000", help="fewest and most words of a training story")
    parser.add_argument("--heldout-words", default="1000-12000", help="fewest and most words of a held-out story")
    parser.add_argument("--per-book", type=int, default=0, help="most stories per novel (default 0: all)")
    parser.add_argument(
        "--annotator",
        choices=("offline", "openai", "gemini", "replay"),
        default="offline",
        help="writes the plans that the requests are made from: offline (default), or a model",
    )
    add_client_flags(parser)
    reading_flags.add_flags(parser)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Writes the pairs; returns 0."""
    from rich.console import Console
    from rich.progress import Progress

    from polaris_jax.corpus import find_books
    from polaris_jax.corpus.options import split_shares
    from polaris_jax.corpus.prompt_story import PairOptions, build_pairs
    from polaris_jax.library.catalogue import Catalogue
    from polaris_jax.scaffold import AnnotatorSpec, open_annotator

    a, values = arguments, vars(arguments)
    options = PairOptions(
        _range("--train-words", a.train_words),
        _range("--heldout-words", a.heldout_words),
        split_shares(numbers("--split", a.split, "/", "three sizes such as 90/5/5")),
        a.seed,
        a.per_book,
        a.format,
        reading_flags.reading_rules(values),
    )
    if a.annotator == "offline":
        refuse(values, CLIENT, "is for a model: --annotator=openai|gemini|replay")
        spec = AnnotatorSpec()
    else:
        spec = AnnotatorSpec("llm", client_spec(a.annotator, values, f"{a.out.rstrip('/')}.replies"))
    books = [str(path) for path in find_books(a.books)]
    options.rules.check(books)
    catalogue = Catalogue(a.catalogue) if a.catalogue else None
    annotator = open_annotator(spec)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("planning", total=len(books))

        def progress(name: str, done: int, total: int) -> None:
            bar.update(task, description=name, completed=done, total=total)

        report = build_pairs(books, a.out, options, annotator, progress, catalogue)
    annotator.close()
    for row in report["books"]:
        for warning in row["warnings"]:
            print(f"warning: {row['file']}: {warning}", file=sys.stderr)
    if a.json:
        print(json.dumps(report, ensure_ascii=False))
        return 0
    for split, found in report["splits"].items():
        if not found["pairs"]:
            print(f"{split}: no pairs; no author fell to it, or nothing has the right length")
            continue
        fewest, median, most = found["words"]
        print(f"{split}: {found['pairs']} pairs of {fewest} to {most} words, median {median}")
    for row in report["books"]:
        if row["reason"]:
            print(f"  nothing from {row['file']}: {row['reason']}")
        elif row["kind"] == "collection":
            left = ", ".join(f"{row[what]} {what.replace('_', ' ')}" for what in _LEFT_OUT if row[what])
            print(f"  {row['file']}: {row['pairs']} of {row['stories']} stories{f' ({left})' if left else ''}")
    return 0


def _range(flag: str, text: str) -> tuple[int, int]:
    found = numbers(flag, text, "-", "fewest and most words: 1000-4000")
    if len(found) != 2:
        raise InputError(flag, text, "fewest and most words: 1000-4000")
    return int(found[0]), int(found[1])

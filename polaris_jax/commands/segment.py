"""``polaris segment``: novel → chapters and scenes."""

import argparse
import json


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    parser.add_argument("books", nargs="+", metavar="BOOK")
    parser.add_argument("--json", action="store_true", help="one JSON line per book")


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    a = arguments
    from rich.console import Console
    from rich.table import Table

    from polaris_jax.corpus import find_books
    from polaris_jax.library import read_novel, segment_record

    table = Table("book", "accepted", "structure", "chapters", "units", "words")
    for path in find_books(a.books):
        record = segment_record(read_novel(path))
        if a.json:
            print(json.dumps(record, ensure_ascii=False))
        else:
            table.add_row(record["title"] or path.name, "yes" if record["accepted"] else f"no: {record['reason']}",
                          record["structure"], str(record["chapter_count"]), str(record["unit_count"]),
                          f"{sum(chapter['words'] for chapter in record['chapters']):,}")
    if not a.json:
        Console().print(table)
    return 0

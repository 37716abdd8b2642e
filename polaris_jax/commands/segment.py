"""``polaris segment``: novel → chapters and scenes."""

import argparse
import json
import sys

from polaris_jax import storage
from polaris_jax.commands import reading_flags
from polaris_jax.commands.flag_types import file_to_write
from polaris_jax.errors import InputError


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    parser.add_argument("books", nargs="*", metavar="BOOK", help="novels, folders or globs")
    parser.add_argument("--catalogue", metavar="CSV", help="credits by file name; override those in the books")
    parser.add_argument("--json", action="store_true", help="one JSON line per book")
    parser.add_argument(
        "--html",
        type=file_to_write,
        metavar="FILE",
        help="also write a page for review: headings, drops and warnings",
    )
    reading_flags.add_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    a = arguments
    from rich.console import Console
    from rich.table import Table

    from polaris_jax.corpus import find_books
    from polaris_jax.library import read_novel, segment_record
    from polaris_jax.library.catalogue import Catalogue

    catalogue = Catalogue(a.catalogue) if a.catalogue else None
    rules = reading_flags.reading_rules(vars(a))
    # In "segment --accept novel.txt" the only word names the book.
    named = a.books or [word for word in (*rules.accept, *rules.reject) if word != "*"]
    if not named:
        raise InputError("BOOK", "", "give a novel, a folder or a quoted glob")
    books = find_books(named)
    rules.check([*map(str, books)])
    table = Table("book", "accepted", "structure", "chapters", "words", "lost", "sure")
    read, warnings = [], []
    for path in books:
        reading = rules.reading(path)
        novel = read_novel(path, heading=reading.heading, verdict=reading.verdict, catalogue=catalogue)
        record = segment_record(novel)
        read.append((novel, record))
        account = record["account"] or {}
        warnings += [f"{path.name}: {warning}" for warning in account.get("warnings", ())]
        if a.json:
            print(json.dumps(record, ensure_ascii=False))
        else:
            table.add_row(
                record["title"] or path.name,
                "yes" if record["accepted"] else f"no: {record['reason']}",
                record["structure"],
                str(record["chapter_count"]),
                f"{sum(chapter['words'] for chapter in record['chapters']):,}",
                f"{account['unexplained_words']:,}" if account else "–",
                f"{account['confidence']:.0%}" if account else "–",
            )
    if not a.json:
        Console().print(table)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if a.html:
        from polaris_jax.report.segment_review import review_page

        storage.write(a.html, review_page(read).encode())
    return 0

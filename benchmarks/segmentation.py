"""How well and how fast novels become chapters, measured against a manifest of true headings.

    python benchmarks/segmentation.py [CORPUS_FOLDER]

Prints one row per book that misses, then micro F1 of heading lines, books with the exact chapter count, and MB/s of one
core (processor time of ``read_novel``, decoding and scenes included; the best of three passes).
"""

import json
import os
import sys
import time
from pathlib import Path

from polaris_jax.library import read_novel, segment_record

PASSES = 3


def measure(folder: Path) -> dict:
    """Score every book of a corpus folder that holds a ``MANIFEST.json``."""
    books = json.loads((folder / "MANIFEST.json").read_text("utf-8"))["books"]
    hits = found = true = exact = 0
    misses = []
    for book in books:
        record = segment_record(read_novel(folder / book["file"]))
        lines = {row["line"] for row in record["chapters"]}
        expected = {row["line"] for row in book["chapters"]}
        hits, found, true = hits + len(lines & expected), found + len(lines), true + len(expected)
        same = record["chapter_count"] == book["chapter_count"]
        exact += same
        if not same or lines != expected or not record["accepted"]:
            misses.append((book, record, sorted(expected - lines), sorted(lines - expected)))
    seconds = min(_pass_seconds(folder, books) for _ in range(PASSES))
    size = sum((folder / book["file"]).stat().st_size for book in books)
    return {
        "books": len(books),
        "f1": 2 * hits / max(1, found + true),
        "exact": exact,
        "mb_per_s": size / 1e6 / seconds,
        "misses": misses,
    }


def _pass_seconds(folder: Path, books: list[dict]) -> float:
    start = time.process_time()
    for book in books:
        read_novel(folder / book["file"])
    return time.process_time() - start


def main(arguments: list[str]) -> None:
    shared = os.environ.get("POLARIS_SHARED") or Path(__file__).resolve().parents[2] / "shared"
    result = measure(Path(arguments[0]) if arguments else Path(shared) / "corpus")
    for book, record, missed, extra in result["misses"]:
        counts = f"{record['chapter_count']}/{book['chapter_count']}"
        lines = f"missed lines {missed[:6]}  false lines {extra[:6]}"
        print(f"{book['file']:<45} chapters {counts:>9}  {lines}  {record['reason']}")
    print(f"heading F1      {result['f1']:.4f}")
    print(f"exact counts    {result['exact']}/{result['books']}")
    print(f"speed           {result['mb_per_s']:.1f} MB/s on one core")


if __name__ == "__main__":
    main(sys.argv[1:])

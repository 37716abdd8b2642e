"""How well and how fast novels become chapters, measured against manifests of true headings.

    python benchmarks/segmentation.py [CORPUS_FOLDER ...] [--passes=3] [--reset=BOOKS]

A folder without a manifest is listed: a row per book with what was read of it. With ``--reset=3`` the first three books
of a folder with a manifest are set anew in every form of heading and every page setting of ``reset_books``, and the
headings that are missed or wrongly found are printed per form.

A folder holds books and a ``MANIFEST.json`` of their headings. Prints one row per book that misses, then for every
folder: micro F1 of heading lines, books with the exact chapter count, novels that were rejected, the books with the
greatest share of words in no chapter and no known apparatus, and MB/s of one core (processor time of ``read_novel``,
decoding and scenes included; the best of the passes).

Where a manifest lists chapters only, prologues and epilogues that were found are left out of the comparison.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from reset_books import FORMS, SETTINGS, reset_book

from polaris_jax.corpus import find_books
from polaris_jax.library import read_novel, segment_record

PASSES = 3
LISTED_LOSSES = 5
_LETTERED = ("chapter", "letter", "narrative", "section")


def measure(folder: Path, passes: int = PASSES) -> dict:
    """Score every book of a corpus folder that holds a ``MANIFEST.json``."""
    books = json.loads((folder / "MANIFEST.json").read_text("utf-8"))["books"]
    hits = found = true = exact = 0
    misses, losses, refused = [], [], []
    start = time.process_time()
    for book in books:
        record = segment_record(read_novel(folder / book["file"]))
        all_kinds = any("kind" in row for row in book["chapters"])
        lines = {row["line"] for row in record["chapters"] if all_kinds or row["kind"] in _LETTERED}
        expected = {row["line"] for row in book["chapters"]}
        hits, found, true = hits + len(lines & expected), found + len(lines), true + len(expected)
        same = record["chapter_count"] == book["chapter_count"]
        exact += same
        account = record["account"]
        losses.append((account["unexplained_words"] / max(1, account["words"]), book["file"]))
        if not record["accepted"]:
            refused.append((book["file"], record["reason"]))
        if not same or lines != expected:
            misses.append((book, record, sorted(expected - lines), sorted(lines - expected)))
    seconds = [time.process_time() - start, *(_pass_seconds(folder, books) for _ in range(passes - 1))]
    size = sum((folder / book["file"]).stat().st_size for book in books)
    return {
        "books": len(books),
        "f1": 2 * hits / max(1, found + true),
        "exact": exact,
        "refused": refused,
        "losses": sorted(losses, reverse=True),
        "mb_per_s": size / 1e6 / min(seconds),
        "misses": misses,
    }


def _pass_seconds(folder: Path, books: list[dict]) -> float:
    start = time.process_time()
    for book in books:
        read_novel(folder / book["file"])
    return time.process_time() - start


def report(folder: Path, passes: int) -> None:
    """Measure one folder and print what was found."""
    result = measure(folder, passes)
    print(f"{folder.name}: {result['books']} books")
    for book, record, missed, extra in result["misses"]:
        counts = f"{record['chapter_count']}/{book['chapter_count']}"
        print(f"  {book['file']:<45} chapters {counts:>9}  missed lines {missed[:6]}  false lines {extra[:6]}")
    for name, reason in result["refused"]:
        print(f"  {name:<45} turned away: {reason}")
    for share, name in result["losses"][:LISTED_LOSSES]:
        print(f"  {name:<45} {share:.2%} of its words in no chapter and no known apparatus")
    print(f"  heading F1      {result['f1']:.4f}")
    print(f"  exact counts    {result['exact']}/{result['books']}")
    print(f"  turned away     {len(result['refused'])}")
    print(f"  speed           {result['mb_per_s']:.1f} MB/s on one core", flush=True)


def list_books(folder: Path) -> None:
    """One row per book of a folder without a manifest."""
    print(f"{folder.name}:")
    for path in find_books([folder]):
        record = segment_record(read_novel(path))
        account = record["account"]
        lost = account["unexplained_words"] / max(1, account["words"])
        verdict = "accepted" if record["accepted"] else record["reason"]
        row = f"  {path.name[:44]:<45} {record['chapter_count']:>4} {record['structure'][:24]:<25} lost {lost:6.2%}"
        print(f"{row}  sure {account['confidence']:4.0%}  {verdict} {' '.join(account['warnings'])}", flush=True)


def report_reset(folder: Path, count: int) -> None:
    """Read the first books of a folder in every form and setting."""
    books = json.loads((folder / "MANIFEST.json").read_text("utf-8"))["books"][:count]
    texts = [[c.text for c in read_novel(folder / b["file"]).chapters if c.kind in _LETTERED] for b in books]
    right = total = silent = hits = found = true = 0
    with tempfile.TemporaryDirectory() as place:
        for form in FORMS:
            missed = []
            for name, setting in SETTINGS.items():
                for seed, chapters in enumerate(texts):
                    text, headings = reset_book(chapters, form, setting, seed)
                    path = Path(place) / "book.txt"
                    path.write_text(text, "utf-8")
                    record = segment_record(read_novel(path))
                    lines = [row["line"] for row in record["chapters"] if row["kind"] in (*_LETTERED, "chapter")]
                    good = sum(any(a <= line <= b for line in lines) for a, b in headings)
                    ok = record["accepted"] and good == len(headings) == len(lines)
                    hits, found, true = hits + good, found + len(lines), true + len(headings)
                    right, total = right + ok, total + 1
                    silent += not ok and not record["account"]["warnings"]
                    missed += [] if ok else [f"{name} {good}/{len(headings)}"]
            print(f"  {form:<28} {'; '.join(missed) or 'all'}", flush=True)
    print(f"  set anew        {right}/{total} exact, {silent} of the others without a warning")
    print(f"  heading F1      {2 * hits / max(1, found + true):.4f}", flush=True)


def main(arguments: list[str]) -> None:
    """Report every folder named, or the given corpora."""
    passes = next((int(a.partition("=")[2]) for a in arguments if a.startswith("--passes=")), PASSES)
    folders = [Path(a) for a in arguments if not a.startswith("--")]
    shared = Path(os.environ.get("POLARIS_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    reset = next((int(a.partition("=")[2]) for a in arguments if a.startswith("--reset=")), 0)
    for folder in folders or [shared / "corpus", shared / "corpus_layouts"]:
        if not (folder / "MANIFEST.json").is_file():
            list_books(folder)
        elif reset:
            report_reset(folder, reset)
        else:
            report(folder, passes)


if __name__ == "__main__":
    main(sys.argv[1:])

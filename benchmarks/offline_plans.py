"""How much of an offline plan is form: template phrases, bullets said twice, wrong articles.

    python benchmarks/offline_plans.py [FILES ...] [--results=FILE] [--twice=N] [--transcripts=FOLDER]

Plans whole novels with the offline annotator and prints per book: bullets, the share that opens with one of the
fixed phrases of the annotator, the share that repeats another bullet of the book, the most common opening of four words
and its share, lines of speech, wrong articles per 1,000 bullets, and seconds of processor time. Every transcript is
checked strictly and made twice (by two annotators); both must be the same bytes. A row per folder follows, with the
least, the median and the greatest of its books.

With ``--results``, every book's numbers are kept as a line of JSON: the same command goes on where it was stopped, and
measures a book again when its file or the annotator's version changed. ``--twice`` makes only N books twice, evenly
spaced. ``--transcripts`` keeps the transcripts of the books that are measured, to be read.
"""

import argparse
import hashlib
import os
import re
import statistics
import time
from collections import Counter
from pathlib import Path

from polaris_jax.library import read_novel
from polaris_jax.scaffold import FULL, OfflineAnnotator, build_books
from polaris_jax.storage import JsonLinesFile, read_lines
from polaris_jax.trajectory import Book, check, render

BOOKS = (
    "stevenson_treasure-island.txt",
    "austen_pride-and-prejudice.txt",
    "carroll_alice-in-wonderland.txt",
    "conrad_heart-of-darkness.txt",
    "haggard_king-solomons-mines.txt",
    "christie_the-mysterious-affair-at-styles.txt",
)
# Openings of sentences that stand in the annotator's code rather than in the book, in all of its versions.
TEMPLATES = re.compile(
    r"The talk turns on |The passage (?:dwells|mentions) |A short passage |Is known in the story |Is most often seen "
    r"|Belongs to the scenes |Appears in |Takes a speaking |Has a small but |Is named |.{1,40}? speaks? of the "
    r"|.{1,40}? asks about the |.{1,40}? questions .{1,40}? about the |Has [\d,]+ words|Told from |Named \d+ time"
    r"|.{1,60}? is named \d+ time|\d+ mentions in |Tagged by name |Words of |The (?:nouns|places?) "
    r"|(?:First|Third) person, |Sentences are |There is (?:almost|sparing|a good|speech|talk)|Paragraphs are "
    r"|[\d.]+ semicolons |About [\d.]+ |Nouns that return|Says I and |Tells the story in |Chapters? \d+"
    r"|No (?:further )?person |.{1,60}? is named in the volume"
)
SPEECH = re.compile(r"“[^”]+(?:[,?!]” (?:says|asks) .+\.|[.?!]”)$")
ARTICLE = re.compile(
    r"\b(?:a (?!one\b|once\b|uni|use|usu|eu|ew|ut)[aeiou]|an (?!hour|heir|honest|honou?r)[bcdfghjklmnpqrstvwxyz])", re.I
)


def bullets(book: Book) -> list[str]:
    """Every bullet of a plan."""
    lines = [*book.world_rules, *book.writing_style]
    for arc in book.arcs:
        lines += [*arc.short, *arc.medium, *arc.long]
    for chapter in book.chapters:
        lines += [*chapter.summary, *(line for scene in chapter.scenes for line in scene.summary)]
    for group in (*book.character_archetypes, *book.main_characters, *book.side_characters):
        lines += group.bullets
    return lines


def measured(path: str, twice: bool, keep: Path | None) -> dict:
    """The numbers of one novel, as JSON values.

    Args:
      twice: make the transcript twice and compare.
      keep: folder for the transcript.
    """
    novel = read_novel(path)
    started = time.process_time()
    (book,) = build_books(novel, OfflineAnnotator(), FULL)
    seconds = time.process_time() - started
    transcript = render(book)
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / f"{Path(path).stem}.txt").write_text(transcript, encoding="utf-8")
    if twice:
        assert transcript == render(build_books(novel, OfflineAnnotator(), FULL)[0]), path
    lines = bullets(book)
    opening, most = Counter(" ".join(line.split()[:4]) for line in lines).most_common(1)[0]
    articles = len(ARTICLE.findall("\n".join([*lines, book.prompt, book.highlight, book.archetype])))
    return {
        "folder": Path(path).resolve().parent.name,
        "novel": Path(path).stem,
        "key": _key(path),
        "bullets": len(lines),
        "template": sum(bool(TEMPLATES.match(line)) for line in lines),
        "said_twice": len(lines) - len(set(lines)),
        "speech": sum(bool(SPEECH.search(line)) for line in lines),
        "articles": articles,
        "seconds": seconds,
        "megabytes": os.path.getsize(path) / 1e6,
        "opening": opening,
        "opens_with_it": most,
        "valid": check(transcript, "corpus").ok,
        "made_twice": twice,
    }


def _key(path: str) -> str:
    """What the numbers of a book depend on."""
    content = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    return f"{content}-{OfflineAnnotator.version}"


def row(name: str, one: dict) -> str:
    """A row of the table; also of a sum of books."""
    total = one["bullets"]
    return (
        f"{name[:34]:34} {total:7} {one['template'] / total:9.1%} {one['said_twice'] / total:7.1%} "
        f"{one['speech'] / total:7.1%} {1000 * one['articles'] / total:6.1f} {one['seconds']:6.1f}"
    )


def summary(found: list[dict]) -> None:
    """A row per folder and for all: least, median and greatest of the books, and who misses a bar."""
    folders = list(dict.fromkeys(one["folder"] for one in found))
    for folder in folders if len(folders) == 1 else [*folders, "all"]:
        some = [one for one in found if folder in ("all", one["folder"])]
        print(f"\n{folder}: {len(some)} books, {sum(one['bullets'] for one in some):,} bullets")
        for name, shares in {
            "template lines %": [100 * one["template"] / one["bullets"] for one in some],
            "said twice %": [100 * one["said_twice"] / one["bullets"] for one in some],
            "wrong articles per 1,000": [1000 * one["articles"] / one["bullets"] for one in some],
            "lines of speech %": [100 * one["speech"] / one["bullets"] for one in some],
            "commonest opening %": [100 * one["opens_with_it"] / one["bullets"] for one in some],
            "MB per processor second": [one["megabytes"] / one["seconds"] for one in some],
        }.items():
            print(f"  {name:26} {min(shares):6.2f} {statistics.median(shares):6.2f} {max(shares):6.2f}")
        print(f"  strictly valid {sum(one['valid'] for one in some)} of {len(some)}", end="; ")
        print(f"the same bytes twice {sum(one['made_twice'] for one in some)} of those made twice")
        worst = sorted(some, key=lambda one: one["template"] / one["bullets"])[:-4:-1]
        print("  most templates: " + ", ".join(f"{w['novel']} {w['template'] / w['bullets']:.1%}" for w in worst))


def main() -> None:
    shared = Path(os.environ.get("POLARIS_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("books", nargs="*", default=[str(shared / "corpus" / name) for name in BOOKS])
    parser.add_argument("--results", type=Path, metavar="FILE", help="keep every book's numbers here, and go on")
    parser.add_argument("--twice", type=int, metavar="N", help="books to make twice (default: all)")
    parser.add_argument("--transcripts", type=Path, metavar="FOLDER", help="keep the transcripts here")
    a = parser.parse_args()
    results = JsonLinesFile(str(a.results)) if a.results else None
    kept = {(one["folder"], one["novel"]): one for one in read_lines(str(a.results))} if a.results else {}
    count = len(a.books) if a.twice is None else min(a.twice, len(a.books))
    again = {i * len(a.books) // count for i in range(count)}
    found = []
    print(f"{'novel':34} bullets templates  twice  speech a/an‰   sec.  commonest opening")
    for number, path in enumerate(a.books):
        one = kept.get((Path(path).resolve().parent.name, Path(path).stem))
        if one is None or one["key"] != _key(path) or one["made_twice"] < (number in again):
            one = measured(path, number in again, a.transcripts)
            if results:
                results.append(one)
        print(f"{row(one['novel'], one)}  {one['opens_with_it'] / one['bullets']:5.1%} {one['opening']}", flush=True)
        found.append(one)
    sums = {
        name: sum(one[name] for one in found)
        for name in ("bullets", "template", "said_twice", "speech", "articles", "seconds")
    }
    print(row("all", sums))
    summary(found)


if __name__ == "__main__":
    main()

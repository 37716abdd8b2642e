"""How much of an offline plan is form: template phrases, bullets said twice, wrong articles.

    python benchmarks/offline_plans.py [FILES ...]

Plans whole novels with the offline annotator and prints per book: bullets, the share that opens with one of the
fixed phrases of the annotator, the share that repeats another bullet of the book, the most common opening of four words
and its share, lines of speech, wrong articles per 1,000 bullets, and seconds. Every transcript is checked strictly and
made twice (by two annotators); both must be the same bytes.
"""

import argparse
import os
import re
import time
from collections import Counter
from pathlib import Path

from polaris_jax.library import read_novel
from polaris_jax.scaffold import FULL, OfflineAnnotator, build_books
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
SPEECH = re.compile(r"“[^”]+(?:,” says .+\.|\.”)$")
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


def measured(path: str) -> tuple[str, list[float]]:
    """A row of the table for one novel, and its numbers for the sum."""
    novel = read_novel(path)
    started = time.perf_counter()
    (book,) = build_books(novel, OfflineAnnotator(), FULL)
    seconds = time.perf_counter() - started
    transcript = render(book)
    assert transcript == render(build_books(novel, OfflineAnnotator(), FULL)[0])
    assert check(transcript, "corpus").ok, path
    lines = bullets(book)
    total = len(lines)
    template = sum(bool(TEMPLATES.match(line)) for line in lines)
    twice = total - len(set(lines))
    opening, most = Counter(" ".join(line.split()[:4]) for line in lines).most_common(1)[0]
    speech = sum(bool(SPEECH.search(line)) for line in lines)
    articles = len(ARTICLE.findall("\n".join([*lines, book.prompt, book.highlight, book.archetype])))
    row = (
        f"{Path(path).stem[:34]:34} {total:7} {template / total:9.1%} {twice / total:7.1%} {speech / total:7.1%} "
        f"{1000 * articles / total:6.1f} {seconds:5.1f}  {most / total:5.1%} {opening}"
    )
    return row, [total, template, twice, speech, articles, seconds]


def main() -> None:
    shared = Path(os.environ.get("POLARIS_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("books", nargs="*", default=[str(shared / "corpus" / name) for name in BOOKS])
    found = []
    print(f"{'novel':34} bullets templates  twice  speech a/an‰  sec.  commonest opening")
    for path in parser.parse_args().books:
        row, numbers = measured(path)
        print(row, flush=True)
        found.append(numbers)
    total, template, twice, speech, articles, seconds = map(sum, zip(*found, strict=True))
    print(
        f"{'all':34} {total:7.0f} {template / total:9.1%} {twice / total:7.1%} {speech / total:7.1%} "
        f"{1000 * articles / total:6.1f} {seconds:5.1f}"
    )


if __name__ == "__main__":
    main()

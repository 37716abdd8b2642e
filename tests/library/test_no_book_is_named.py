"""The rules know forms, not books: no title and no author of the development corpora stands in the library's code."""

import json
import re
from pathlib import Path

import polaris_jax.library

COMMON = frozenset({"great expectations", "the awakening"})  # words that a rule or a sentence may need
ORDINARY_NAMES = frozenset({"ford", "lee", "ward", "wells", "london", "james", "hardy"})  # words of the language


def _titles_and_authors(shared):
    for folder in ("corpus", "corpus_layouts"):
        manifest = shared / folder / "MANIFEST.json"
        for row in json.loads(manifest.read_text("utf-8"))["books"] if manifest.is_file() else ():
            stem = row["file"].removesuffix(".txt")
            author, _, title = stem.partition("_" if "_" in stem else "-")
            yield re.sub(r"-(?:\d{4}|old)$", "", title).replace("-", " "), author
            yield row.get("title", "").lower(), row.get("author", "").split(" ")[-1].lower()


def test_no_title_or_author_stands_in_the_library(shared):
    code = "\n".join(
        path.read_text("utf-8") for path in Path(polaris_jax.library.__file__).parent.rglob("*.py")
    ).lower()
    titles, authors = zip(*_titles_and_authors(shared), strict=True)
    found = {title for title in titles if len(title.split()) > 1 and title not in COMMON and title in code}
    found |= {
        author
        for author in authors
        if len(author) > 3 and author not in ORDINARY_NAMES and re.search(rf"\b{re.escape(author)}\b", code)
    }
    assert not found

"""Small novels cut from the bundled one, and a reader of a store's files."""

from importlib.resources import files
from pathlib import Path

from polaris_jax.corpus import BuildOptions

NOVEL = Path(str(files("polaris_jax.library") / "books" / "the_hallin_inventory.txt"))
OPTIONS = BuildOptions(window=4096, chapters=(2, 3), chapter_words=300, min_words=500)


def piece(title: str, author: str, chapters: list[str]) -> str:
    """A novel file in the layout of the bundled one, its chapters numbered from one."""
    frame = "THE PROJECT GUTENBERG EBOOK " + title.upper()
    parts = [f"CHAPTER {'I' * number}\n" + chapter.split("\n", 1)[1] for number, chapter in enumerate(chapters, 1)]
    body = "\n\n\n".join([f"{title.upper()}\n\nby {author}", *parts])
    return f"Title: {title}\n\nAuthor: {author}\n\n*** START OF {frame} ***\n\n{body}\n\n*** END OF {frame} ***\n"


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file of a store, by its path in the folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}

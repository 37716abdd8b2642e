"""``read_novel``: a file on disk becomes a ``Novel``."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

from polaris_jax.errors import InputError
from polaris_jax.library import accept
from polaris_jax.library.blocks import Block, drop_apparatus, split_blocks
from polaris_jax.library.candidates import drop_contents, find_candidates
from polaris_jax.library.chapters import read_chapters, read_pieces
from polaris_jax.library.contents import contents_entries
from polaris_jax.library.encoding import NotText, decode
from polaris_jax.library.epub import BrokenEpub, read_epub
from polaris_jax.library.gutenberg import find_frame
from polaris_jax.library.novel import Novel, NovelChapter
from polaris_jax.library.outline import Outline, Unit, build_outline
from polaris_jax.library.prose import measure_layout
from polaris_jax.library.titlepage import read_title_page
from polaris_jax.library.titles import find_titles

MIN_WORDS = 2_000
MAX_WORDS = 700_000
_MAX_BYTES = 256 << 20
_LANGUAGE_CODES = {"English": "en", "unknown": "und", "mixed": "mul"}


@dataclass(frozen=True)
class _Source:
    """A decoded file: its text, its encoding and what its metadata declares."""

    text: str
    encoding: str
    title: str = ""
    author: str = ""


def read_novel(path: str | Path, *, min_words: int = MIN_WORDS, max_words: int = MAX_WORDS) -> Novel:
    """Read one book: plain text in any common encoding, Markdown, or EPUB.

    Args:
      path: the file.
      min_words: fewer words of narrative are rejected (2,000 suits demonstrations; 25,000 a training corpus).
      max_words: more words are rejected.

    Returns:
      The novel. A text that is no English novel comes back with ``accepted=False`` and a one-sentence ``reason``.

    Raises:
      InputError: no such file, unreadable, empty, or not a text.
    """
    source = _read_source(Path(path))
    frame = find_frame(source.text)
    body = source.text[frame.start : frame.stop]
    blocks = drop_apparatus(split_blocks(body, source.text.count("\n", 0, frame.start) + 1))
    page = read_title_page(blocks)
    title = source.title or frame.title or page.title or Path(path).stem
    author = source.author or frame.author or page.author
    language, reason = accept.language_reason(body)
    reason = reason or accept.form_reason(blocks)
    structure, chapters = ("unread", ()) if reason else _read_structure(blocks)
    if not reason:
        words = sum(map(word_count, chapters))
        reason = accept.length_reason(words, min_words, max_words)
        reason = reason or accept.collection_reason(title, structure, chapters)
    code = _LANGUAGE_CODES.get(language, language)
    return Novel(str(path), title, author, code, source.encoding, not reason, reason, structure, chapters)


def segment_record(novel: Novel) -> dict:
    """The record of one book that ``polaris segment`` prints as a JSON line.

    An undivided book lists no chapters: its pieces are ours, not the author's.
    """
    divided = novel.structure not in ("undivided", "unread")
    units = novel.chapters if divided else ()
    return {
        "path": novel.path,
        "title": novel.title,
        "author": novel.author,
        "accepted": novel.accepted,
        "reason": novel.reason,
        "structure": novel.structure,
        "chapter_count": _chapter_count(units),
        "unit_count": len(units),
        "chapters": [
            {
                "name": unit.name,
                "kind": unit.kind,
                "part": unit.part,
                "line": unit.line,
                "words": word_count(unit),
                "scenes": len(unit.scenes),
            }
            for unit in units
        ],
    }


def _chapter_count(units: tuple[NovelChapter, ...]) -> int:
    """Chapters; in an epistolary novel its letters too (a few that open a novel of chapters are not counted)."""
    chapters = sum(unit.kind == "chapter" for unit in units)
    letters = sum(unit.kind == "letter" for unit in units)
    return chapters + letters if letters > chapters else chapters


def word_count(chapter: NovelChapter) -> int:
    """Whitespace-separated words of a chapter (clean text has single spaces, so separators can be counted)."""
    text = chapter.text
    return text.count(" ") + text.count("\n") - text.count("\n\n") + bool(text)


def _read_source(path: Path) -> _Source:
    if not path.is_file():
        raise InputError("book", str(path), "no such file; give the path of a text, Markdown or EPUB file")
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError("book", str(path), f"larger than {_MAX_BYTES >> 20} MiB, no novel is")
        if zipfile.is_zipfile(path):
            book = read_epub(str(path))
            return _Source(book.text, "epub", book.title, book.author)
        data = path.read_bytes()
    except BrokenEpub as error:
        raise InputError("book", str(path), f"an archive but no readable EPUB ({error})") from error
    except OSError as error:
        raise InputError("book", str(path), f"cannot be read: {error.strerror or error}") from error
    if not data.strip(b" \t\r\n\0\xef\xbb\xbf\xff\xfe"):
        raise InputError("book", str(path), "the file is empty")
    try:
        text, encoding = decode(data)
    except NotText as error:
        raise InputError("book", str(path), f"not a text file ({error})") from error
    return _Source(text, encoding)


def _read_structure(blocks: list[Block]) -> tuple[str, tuple[NovelChapter, ...]]:
    """(structure, chapters): by numbered headings, else by titles alone, else undivided."""
    layout = measure_layout(blocks)
    outline = build_outline(drop_contents(find_candidates(blocks)))
    if outline.units:
        return _describe(outline), read_chapters(blocks, outline, layout)
    titles = find_titles(blocks, contents_entries(blocks))
    if titles:
        outline = Outline(tuple(Unit(c, "chapter", ()) for c in titles), (), (), "title")
        return "titled chapters", read_chapters(blocks, outline, layout)
    return "undivided", read_pieces(blocks, layout)


def _describe(outline: Outline) -> str:
    """The structure in words: ``parts + chapters``, ``letters``, ``prologue + chapters + epilogue``."""
    kinds = list(dict.fromkeys(unit.kind for unit in outline.units))
    names = {"prologue": "prologue", "epilogue": "epilogue"}
    words = [names.get(kind, f"{kind}s") for kind in kinds]
    part_styles = list(dict.fromkeys(f"{part.style}s" for part in outline.parts if part.rank < 30))
    return " + ".join(part_styles + words)

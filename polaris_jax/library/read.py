"""``read_novel``: a file on disk becomes a ``Novel``."""

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from polaris_jax.errors import InputError
from polaris_jax.library import accept
from polaris_jax.library.account import Dropped
from polaris_jax.library.accounting import take_account
from polaris_jax.library.blocks import drop_apparatus, split_blocks
from polaris_jax.library.catalogue import Catalogue
from polaris_jax.library.credits import Credits, merge
from polaris_jax.library.encoding import NotText, decode
from polaris_jax.library.epub import BrokenEpub, NavEntry, read_epub
from polaris_jax.library.given_headings import check_heading
from polaris_jax.library.gutenberg import find_frame
from polaris_jax.library.kinds import essay_reason
from polaris_jax.library.novel import Novel, word_count
from polaris_jax.library.story_heads import signed_by_several
from polaris_jax.library.structure import read_structure, unread
from polaris_jax.library.titlepage import read_title_page
from polaris_jax.library.word_processor import read_word, word_format

MIN_WORDS = 2_000
MAX_WORDS = 700_000
_MAX_BYTES = 256 << 20
_LANGUAGE_CODES = {"English": "en", "unknown": "und", "mixed": "mul"}


@dataclass(frozen=True)
class _Source:
    """A decoded file: its text, its encoding and its declared metadata.

    Attributes:
      navigation: an EPUB's table of contents.
      dropped, warnings: losses of an EPUB while its text was extracted.
    """

    text: str
    encoding: str
    credits: Credits = field(default_factory=Credits)
    navigation: tuple[NavEntry, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    warnings: tuple[str, ...] = ()


def read_novel(
    path: str | Path,
    *,
    min_words: int = MIN_WORDS,
    max_words: int = MAX_WORDS,
    heading: str | None = None,
    verdict: Literal["accept", "reject"] | None = None,
    catalogue: Catalogue | None = None,
) -> Novel:
    """Reads one book: plain text in any common encoding, Markdown, EPUB, or a word processor's ``.docx`` or ``.odt``.

    Args:
      path: the file.
      min_words: a book with fewer words of narrative is rejected (2,000 suits demonstrations, 25,000 a training
        corpus).
      max_words: a book with more words is rejected.
      heading: a regular expression; lines whose start it matches are the chapter headings.
      verdict: overrules the checks: ``accept`` the book as it is read, or ``reject`` it.
      catalogue: its title and people of a book take precedence over the book's own.

    Returns:
      The novel. A text that is not an English novel has ``accepted=False`` and a one-sentence ``reason``.

    Raises:
      InputError: no such file, unreadable, empty, or not text; ``heading`` is invalid or matches no line.
    """
    if heading is not None:
        check_heading(heading)
    source = _read_source(Path(path))
    frame = find_frame(source.text)
    body = source.text[frame.start : frame.stop]
    first_line = source.text.count("\n", 0, frame.start) + 1
    blocks, dropped = drop_apparatus(split_blocks(body, first_line, heading))
    page = read_title_page(blocks)
    credits = merge(
        catalogue.of(path) if catalogue else Credits(),
        source.credits,
        Credits(frame.title, frame.author, frame.translator, frame.edition),
        Credits(page.title, page.author),
        Credits(Path(path).stem),
    )
    language, reason = accept.language_reason(body)
    form, form_doubt = accept.form_reason(blocks) if not reason else ("", "")
    reason = reason or form
    if not reason and signed_by_several(blocks):
        reason = f"{accept.COLLECTION}: its titles are signed by several authors."
    structure = unread()
    if not reason or verdict == "accept":
        structure = read_structure(blocks, credits.author, heading, source.navigation)
    chapters = structure.reading.chapters
    essay, doubt = essay_reason(chapters)
    doubts: list[str] = []
    if verdict:
        reason = "" if verdict == "accept" and chapters else "It was rejected by hand."
    elif not reason:
        words = sum(map(word_count, chapters))
        reason = accept.length_reason(words, min_words, max_words)
        collection, pieces = accept.collection_reason(credits.title, structure.name, chapters)
        reason = reason or essay or collection
        doubts = [sentence for sentence in (form_doubt, doubt, pieces) if sentence and not reason]
    code = _LANGUAGE_CODES.get(language, language)
    doubts.extend(source.warnings)
    listed = tuple(entry.title for entry in source.navigation)
    lost = [*source.dropped, *dropped]
    account = take_account(source.text, (frame.start, frame.stop), blocks, structure, lost, doubts, listed)
    state = (code, source.encoding, not reason, reason, structure.name, chapters, account)
    return Novel(str(path), credits.title, credits.author, *state, credits.translator, credits.edition)


def decoded_text(path: str | Path) -> str:
    """The decoded text of a book's file, with LF line ends, for line numbers; for an EPUB, its pages in order.

    Raises:
      InputError: no such file, unreadable, empty, or not text.
    """
    return _read_source(Path(path)).text


def _read_source(path: Path) -> _Source:
    if not path.is_file():
        raise InputError("book", str(path), "no such file; give the path of a text, Markdown, EPUB, .docx or .odt file")
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError("book", str(path), f"larger than {_MAX_BYTES >> 20} MiB, no novel is")
        if zipfile.is_zipfile(path):
            if form := word_format(path):
                word = read_word(path.read_bytes(), str(path))
                lost = (f"left out of the {form} file: {', '.join(word.dropped)}",) if word.dropped else ()
                return _Source(word.text, form, Credits(word.title, word.author), warnings=lost)
            book = read_epub(str(path))
            said = Credits(book.title, book.author, book.translator, book.edition)
            return _Source(book.text, "epub", said, book.navigation, book.dropped, book.warnings)
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

"""A finished or unfinished transcript as plain text and EPUB, without markup or fences.

Both are pure functions of the transcript: the same transcript gives the same bytes.
"""

import hashlib
import html
import os
import re
import tempfile
import uuid
import zipfile
from dataclasses import dataclass
from pathlib import Path

from polaris_jax import storage
from polaris_jax.sampling.book_language import RIGHT_TO_LEFT, book_language
from polaris_jax.trajectory import book_filename, split_stages

TRANSCRIPT, RUN = "artifact.txt", "run.json"  # names in a book's folder that no title may take
_FENCE = "\n```\n"
_TITLE = "## Book Title\n"
_TEXT_ROLES = ("first_chapter_text", "chapter_text")
_LONGEST_NAME = 200  # bytes; file systems allow 255, and a temporary name is longer
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # a hand edit may hold what XML 1.0 forbids
# Archive members and the package need a date; a constant keeps the bytes a function of the text.
_DATE, _DATE_ISO = (2000, 1, 1, 0, 0, 0), "2000-01-01T00:00:00Z"


@dataclass(frozen=True)
class ReadableBook:
    """The title and the ``(chapter name, prose)`` of every chapter, in order."""

    title: str
    chapters: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        """Plain text: title, then each chapter's name and prose, blank lines between paragraphs."""
        parts = [self.title, *(f"{name}\n\n{prose}" for name, prose in self.chapters)]
        return "\n\n\n".join(parts) + "\n"


def readable(transcript: str) -> ReadableBook:
    """Extracts title and prose from a transcript; an unfinished last stage is left out.

    Raises:
      InputError: not a transcript.
    """
    title, chapters = "Untitled", []
    for stage in split_stages(transcript, partial=True):
        if not stage.complete:
            break
        if stage.role in _TEXT_ROLES:
            name, _, prose = stage.text.removeprefix("### ").partition(_FENCE)
            chapters.append((name, prose.removesuffix(_FENCE.rstrip("\n"))))
        elif _TITLE in stage.text:
            title = stage.text.partition(_TITLE)[2].partition("\n")[0]
    return ReadableBook(title, tuple(chapters))


def export_text(transcript: str, folder: str | os.PathLike) -> Path:
    """Writes ``<Title>.txt`` into ``folder`` and returns its path."""
    book = readable(transcript)
    path = Path(folder) / _filename(book.title, ".txt")
    storage.write(path, book.text.encode())
    return path


def export_epub(transcript: str, folder: str | os.PathLike, *, language: str | None = None, author: str = "") -> Path:
    """Writes ``<Title>.epub`` (EPUB 3) into ``folder`` and returns its path.

    Args:
      language: BCP 47 tag; default that of the text (``book_language``).
    """
    book = readable(_NOT_XML.sub(" ", transcript))
    language = book_language(book.text) if language is None else language
    rtl = language.partition("-")[0] in RIGHT_TO_LEFT
    path = Path(folder) / _filename(book.title, ".epub")
    identifier = uuid.uuid5(uuid.NAMESPACE_OID, hashlib.sha256(book.text.encode()).hexdigest()).urn
    names = [f"chapter-{number}.xhtml" for number in range(1, len(book.chapters) + 1)]
    members = {
        "META-INF/container.xml": _CONTAINER,
        "content.opf": _package(book.title, identifier, language, rtl, author, names),
        "nav.xhtml": _navigation(book, names, language, rtl),
        **{name: _page(*chapter, language, rtl) for name, chapter in zip(names, book.chapters, strict=True)},
    }
    with tempfile.TemporaryFile() as buffer:
        with zipfile.ZipFile(buffer, "w") as archive:
            # The standard wants this member first and uncompressed, so that the type can be read at a fixed offset.
            archive.writestr(zipfile.ZipInfo("mimetype", _DATE), "application/epub+zip")
            for name, content in members.items():
                archive.writestr(zipfile.ZipInfo(name, _DATE), content, zipfile.ZIP_DEFLATED)
        buffer.seek(0)
        storage.write(path, buffer.read())
    return path


def _filename(title: str, extension: str) -> str:
    """``book_filename``, short enough for a file system and never the name of the transcript."""
    while len(title.encode()) > _LONGEST_NAME:
        title = title[:-1]
    name = book_filename(title, extension)
    return f"Book {name}" if name.casefold() == TRANSCRIPT else name


_CONTAINER = """<?xml version="1.0" encoding="UTF-8"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
  <rootfiles><rootfile full-path="content.opf" media-type="application/oebps-package+xml"/></rootfiles>
</container>
"""


def _package(title: str, identifier: str, language: str, rtl: bool, author: str, names: list[str]) -> str:
    creator = f"\n    <dc:creator>{html.escape(author)}</dc:creator>" if author else ""
    items = "".join(
        f'\n    <item id="c{n}" href="{name}" media-type="application/xhtml+xml"/>' for n, name in enumerate(names, 1)
    )
    spine = "".join(f'\n    <itemref idref="c{n}"/>' for n in range(1, len(names) + 1))
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id" xml:lang="{html.escape(language)}">
  <metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
    <dc:identifier id="id">{identifier}</dc:identifier>
    <dc:title>{html.escape(title)}</dc:title>
    <dc:language>{html.escape(language)}</dc:language>{creator}
    <meta property="dcterms:modified">{_DATE_ISO}</meta>
  </metadata>
  <manifest>
    <item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>{items}
  </manifest>
  <spine{' page-progression-direction="rtl"' if rtl else ""}>
    <itemref idref="nav"/>{spine}
  </spine>
</package>
"""


def _navigation(book: ReadableBook, names: list[str], language: str, rtl: bool) -> str:
    links = (
        "".join(
            f'\n<li><a href="{name}">{html.escape(chapter)}</a></li>'
            for name, (chapter, _) in zip(names, book.chapters, strict=True)
        )
        or "\n<li><span>No chapters yet</span></li>"
    )
    title = html.escape(book.title)
    return _xhtml(title, f'<h1>{title}</h1>\n<nav epub:type="toc"><ol>{links}\n</ol></nav>', language, rtl)


def _page(name: str, prose: str, language: str, rtl: bool) -> str:
    paragraphs = "\n".join(f"<p>{html.escape(text)}</p>" for text in prose.split("\n\n") if text.strip())
    return _xhtml(html.escape(name), f"<h2>{html.escape(name)}</h2>\n{paragraphs}", language, rtl)


def _xhtml(title: str, body: str, language: str, rtl: bool) -> str:
    tag, direction = html.escape(language), ' dir="rtl"' if rtl else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE html>\n'
        '<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops"'
        f' lang="{tag}" xml:lang="{tag}"{direction}>\n'
        f"<head><title>{title}</title></head>\n<body>\n{body}\n</body>\n</html>\n"
    )

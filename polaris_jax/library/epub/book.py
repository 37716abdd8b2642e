"""``read_epub``: the whole EPUB as one text, with the evidence in its markup: headings, contents, credits."""

import zipfile
from dataclasses import dataclass

from lxml import etree

from polaris_jax.library.account import Dropped
from polaris_jax.library.epub.archive import Archive, BrokenEpub, Missing, count_words, parse
from polaris_jax.library.epub.marks import MarkedPassage, mark_headings
from polaris_jax.library.epub.package import Package, read_package
from polaris_jax.library.epub.page import PageText, is_contents, note_targets, read_page

_MAX_PAGES_BYTES = 256 << 20
_MAX_GUIDE_WORDS = 400  # a page this short that the guide calls a cover or a contents page holds no chapter


@dataclass(frozen=True)
class NavEntry:
    """An entry of the table of contents: its title, the 1-based line of the text it points to, its depth from 0."""

    title: str
    line: int
    depth: int


@dataclass(frozen=True)
class EpubText:
    """An EPUB as text.

    Attributes:
      text: Markdown-like; paragraphs separated by a blank line, pages by two more.
      title, author, translator, edition, language: from the package document, '' where it declares none.
      navigation: the table of contents.
      dropped: apparatus that was left out of the text, at the line before which it stood.
      warnings: missing or damaged pages, and first letters that are only a picture.
    """

    text: str
    title: str
    author: str
    language: str
    translator: str = ""
    edition: str = ""
    navigation: tuple[NavEntry, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    warnings: tuple[str, ...] = ()


def read_epub(path: str) -> EpubText:
    """Reads an EPUB file; only the package document, the contents and the pages of text are loaded.

    Raises:
      BrokenEpub: not a zip archive, no package document or spine, or no readable page.
    """
    try:
        with zipfile.ZipFile(path) as file:
            archive = Archive(file)
            package = read_package(archive)
            pages = _pages(archive, package)
    except zipfile.BadZipFile as error:
        raise BrokenEpub(str(error)) from error
    passages = [MarkedPassage(member, p) for member, page in pages for p in page.paragraphs]
    entries = mark_headings(passages, package.contents)
    return _text(package, pages, passages, entries)


def _pages(archive: Archive, package: Package) -> list[tuple[str, PageText]]:
    """The pages that can be read; missing ones are added to the package's warnings."""
    roots: list[tuple[str, etree._Element]] = []
    size = 0
    for member in dict.fromkeys(package.pages):
        try:
            data = archive.read(member)
            size += len(data)
            if size > _MAX_PAGES_BYTES:
                raise BrokenEpub(f"its pages are larger than {_MAX_PAGES_BYTES >> 20} MiB")
            root = parse(data)
        except Missing as error:
            package.warnings.append(f"A page of the book was skipped: {error}.")
            continue
        if root is not None:
            roots.append((member, root))
    if not roots:
        raise BrokenEpub(f"none of its pages can be read: {package.warnings[-1] if package.warnings else 'all empty'}")
    targets: set[tuple[str, str]] = set().union(*(note_targets(root, member) for member, root in roots))
    pages = []
    for member, root in roots:
        words = count_words(root)
        if is_contents(root):
            page = PageText(left_out=[(0, words, "contents page")])
        elif member in package.guide and words <= _MAX_GUIDE_WORDS:
            page = PageText(left_out=[(0, words, package.guide[member])])
        else:
            page = read_page(root, {name for at, name in targets if at == member and name})
        pages.append((member, page))
        package.warnings += [f"A picture hides the first letter of “{words} …”." for words in page.lost_capitals]
    return pages


def _text(
    package: Package,
    pages: list[tuple[str, PageText]],
    passages: list[MarkedPassage],
    entries: list[tuple[str, int, int]],
) -> EpubText:
    """The lines of the text, and the places of entries and apparatus in them."""
    lines: list[str] = []
    starts: list[int] = []  # 1-based line of each passage
    gaps: list[tuple[int, int, str]] = []
    at = 0
    for _, page in pages:
        own = passages[at : at + len(page.paragraphs)]
        if own and lines:
            lines += ["", ""]
        first = len(lines) + 1
        for passage in own:
            if lines and lines[-1]:
                lines.append("")
            if passage.above:
                lines += [f"## {passage.above}", ""]
            starts.append(len(lines) + 1)
            lines += ("#" * passage.level + " " + passage.text if passage.level else passage.text).split("\n")
        for position, words, reason in page.left_out:
            line = starts[at + position] if position < len(own) else max(first, len(lines))
            gaps.append((line, words, reason))
        at += len(page.paragraphs)
    spans = [(max(1, min(line, len(lines))), words, reason) for line, words, reason in gaps]
    dropped = tuple(Dropped(line, line, words, reason) for line, words, reason in spans)
    navigation = tuple(NavEntry(title, starts[index], depth) for title, index, depth in entries if index < len(starts))
    said = package.metadata
    return EpubText(
        "\n".join(lines),
        said["title"],
        said["author"],
        said["language"],
        said["translator"],
        said["edition"],
        navigation,
        dropped,
        tuple(package.warnings),
    )

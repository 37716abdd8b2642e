"""EPUB books as marked text: spine order, headings as ``#`` lines, one paragraph per line, ``* * *`` for rules.

Reading goes through the package document (EPUB 3.3, sections 5 and 6): container -> package -> spine. The result is
Markdown-like text, so that everything after this module treats an EPUB like any other book.
"""

import posixpath
import re
import zipfile
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import unquote
from xml.etree import ElementTree

_SKIP_TYPES = re.compile(
    r"\b(?:titlepage|halftitlepage|imprint|colophon|copyright-page|toc|landmarks|loi|lot|index|endnotes|footnotes?|"
    r"footnote|endnote|noteref|backlink|pagebreak|cover|other-credits|bibliography)\b"
)
_SKIP_TAGS = {"head", "script", "style", "nav", "svg", "table", "figure", "template"}
_BLOCK_TAGS = {"p", "div", "section", "article", "blockquote", "li", "ul", "ol", "dl", "dt", "dd", "body", "header",
               "hgroup", "footer", "aside", "pre", "tr", "td"}  # fmt: skip
_VOID_TAGS = {"br", "hr", "img", "meta", "link", "input", "col", "area", "base", "wbr", "source"}
_MAX_MEMBER = 64 << 20


@dataclass(frozen=True)
class EpubText:
    """An EPUB as text, with the metadata its package document declares ('' when it declares none)."""

    text: str
    title: str
    author: str
    language: str


class BrokenEpub(ValueError):
    """The archive is no EPUB that can be read."""


def read_epub(path: str) -> EpubText:
    """Read an EPUB file.

    Raises:
      BrokenEpub: not a zip archive, or without a readable package document or spine.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive)
    except (zipfile.BadZipFile, ElementTree.ParseError, KeyError, UnicodeDecodeError, RuntimeError) as error:
        raise BrokenEpub(str(error)) from error


def _read(archive: zipfile.ZipFile) -> EpubText:
    container = ElementTree.fromstring(_member(archive, "META-INF/container.xml"))
    rootfile = container.find(".//{*}rootfile")
    if rootfile is None:
        raise BrokenEpub("the container names no package document")
    package_path = unquote(rootfile.attrib["full-path"])
    package = ElementTree.fromstring(_member(archive, package_path))
    folder = posixpath.dirname(package_path)
    items = {item.attrib["id"]: item.attrib for item in package.iterfind(".//{*}manifest/{*}item")}
    chunks = []
    for ref in package.iterfind(".//{*}spine/{*}itemref"):
        item = items.get(ref.attrib.get("idref", ""))
        if item is None or "nav" in item.get("properties", "").split() or ref.attrib.get("linear") == "no":
            continue
        page = _member(archive, posixpath.normpath(posixpath.join(folder, unquote(item["href"]))))
        chunks.append(html_to_text(page.decode("utf-8", errors="replace")))
    if not chunks:
        raise BrokenEpub("the spine is empty")

    def metadata(tag: str) -> str:
        node = package.find(f".//{{http://purl.org/dc/elements/1.1/}}{tag}")
        return " ".join((node.text or "").split()) if node is not None else ""

    body = "\n\n\n".join(chunk for chunk in chunks if chunk)
    return EpubText(body, metadata("title"), metadata("creator"), metadata("language"))


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > _MAX_MEMBER:
        raise BrokenEpub(f"{name} is larger than {_MAX_MEMBER >> 20} MiB")
    return archive.read(name)


def html_to_text(page: str) -> str:
    """The readable text of one (X)HTML page: paragraphs separated by a blank line, headings marked with ``#``."""
    reader = _PageReader()
    reader.feed(page)
    reader.close()
    reader.flush()
    return "\n\n".join(reader.paragraphs)


class _PageReader(HTMLParser):
    """Collects paragraphs; ``skip`` counts open elements since one whose content is apparatus was entered."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.paragraphs: list[str] = []
        self.parts: list[str] = []
        self.heading = 0
        self.skip = 0

    def handle_starttag(self, tag, attrs):
        if self.skip:
            self.skip += tag not in _VOID_TAGS
            return
        kind = " ".join(value or "" for name, value in attrs if name in ("epub:type", "role"))
        if tag in _SKIP_TAGS or (kind and _SKIP_TYPES.search(kind)):
            self.skip = int(tag not in _VOID_TAGS)
        elif tag == "br":
            self.parts.append("\n")
        elif tag == "hr":
            self.flush()
            self.paragraphs.append("* * *")
        elif len(tag) == 2 and tag[0] == "h" and tag[1].isdigit():
            self.flush()
            self.heading = int(tag[1])
        elif tag in _BLOCK_TAGS:
            self.flush()

    def handle_endtag(self, tag):
        if tag in _VOID_TAGS:
            return
        if self.skip:
            self.skip -= 1
        elif tag in _BLOCK_TAGS or (len(tag) == 2 and tag[0] == "h" and tag[1].isdigit()):
            self.flush()

    def handle_data(self, data):
        if not self.skip:
            self.parts.append(re.sub(r"\s+", " ", data))

    def flush(self):
        """Close the paragraph being collected."""
        lines = [line.strip() for line in "".join(self.parts).split("\n")]
        self.parts.clear()
        lines = [line for line in lines if line]
        if lines and self.heading:
            self.paragraphs.append("#" * self.heading + " " + " ".join(lines))
        elif lines:
            self.paragraphs.append("\n".join(lines))
        self.heading = 0

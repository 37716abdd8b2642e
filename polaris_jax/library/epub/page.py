"""One page of an EPUB as paragraphs, with heading levels and the apparatus that was left out."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from lxml import etree

from polaris_jax.library.encoding import normalise
from polaris_jax.library.epub.archive import count_words, plain, resolve, tag_of
from polaris_jax.library.epub.drop_capitals import image_letter, is_drop_capital, joins_capital

_SKIP_TYPES = re.compile(
    r"\b(?:titlepage|halftitlepage|imprint|colophon|copyright-page|toc|landmarks|loi|lot|index|endnotes|footnotes?|"
    r"endnote|noteref|backlink|pagebreak|cover|other-credits|bibliography)\b"
)
_REASONS = {
    **dict.fromkeys(("titlepage", "halftitlepage", "imprint", "copyright-page", "cover"), "title page"),
    **dict.fromkeys(("endnotes", "endnote", "footnotes", "footnote", "noteref", "backlink"), "footnotes"),
    **dict.fromkeys(("toc", "landmarks"), "contents page"),
    "pagebreak": "page number",
    "loi": "list of illustrations",
    "lot": "list of tables",
    "other-credits": "credits",
}
_SKIP_TAGS = {"head", "script", "style", "nav", "template", "svg", "figcaption", "rt", "rp", "audio", "video", "object"}
_BLOCKS = {
    *("p", "div", "section", "article", "blockquote", "li", "ul", "ol", "dl", "dt", "dd", "body", "header", "hgroup"),
    *("footer", "aside", "pre", "tr", "td", "th", "table", "tbody", "thead", "caption", "center", "figure", "main"),
}
_PAGE_CLASS = re.compile(r"\b(?:pagenum|page-?num(?:ber)?|page-?break|pageno|pb)\b", re.I)
_NOTE_CLASS = re.compile(r"\b(?:foot|end)?notes?\b", re.I)
_NOTE_REF = re.compile(r"[\[({]?(?:\d{1,4}|[*†‡§¶]{1,3}|[a-z])[\])}]?", re.I)
_HEAD_CLASS = re.compile(r"\b(?:chap(?:ter)?[-_ ]?(?:head(?:er|ing)?|title|name|num(?:ber)?|no)?|heading)\d*\b", re.I)
_EMPTY_LINE = re.compile(r"\n\s*\n")
_MAX_HEAD = 120
_MAX_NOTE_WORDS = 500
_LINKED = 0.6  # share of a page's words inside links that makes it a contents page
_BREAK = "* * *"


@dataclass
class PageParagraph:
    """A paragraph. ``level`` is 1-6 for headings, else 0; ``ids`` are those of elements that begin with it."""

    text: str
    level: int = 0
    ids: tuple[str, ...] = ()


@dataclass
class PageText:
    """The text of a page.

    Attributes:
      paragraphs: in order.
      left_out: (number of the next paragraph, words, reason) per part that was left out.
      lost_capitals: first words of paragraphs that follow a picture and lack their first letter.
    """

    paragraphs: list[PageParagraph] = field(default_factory=list)
    left_out: list[tuple[int, int, str]] = field(default_factory=list)
    lost_capitals: list[str] = field(default_factory=list)


def note_targets(root: etree._Element, member: str) -> set[tuple[str, str]]:
    """The (member, id) of the notes that a page's reference marks point to."""
    links = (node for node in root.iter(etree.Element) if tag_of(node) == "a" and _is_reference(node))
    return {resolve(member, node.get("href", "")) for node in links}


def is_contents(root: etree._Element) -> bool:
    """Whether most of an element's words are links to other places: a printed table of contents."""
    links = [node for node in root.iter(etree.Element) if tag_of(node) == "a" and node.get("href")]
    links = [node for node in links if not _is_reference(node) and ":" not in node.get("href", "").partition("#")[0]]
    linked = sum(count_words(node) for node in links)
    return len(links) >= 3 and linked >= _LINKED * count_words(root)


def read_page(root: etree._Element, notes: set[str]) -> PageText:
    """Reads a page.

    Args:
      notes: ids on this page that are targets of reference marks anywhere in the book.
    """
    reader = _Reader(_note_blocks(root, notes))
    body = next((node for node in root.iter(etree.Element) if tag_of(node) == "body"), root)
    reader.read(body)
    reader.flush()
    return reader.page


class _Reader:
    """Walks a page's tree and collects its paragraphs."""

    def __init__(self, notes: list[etree._Element]) -> None:
        self.page = PageText()
        self._notes = notes
        self._parts: list[str] = []
        self._ids: list[str] = []
        self._level = 0
        self._capital = ""  # a drop capital that waits for the rest of its word
        self._picture = False  # whether the paragraph opens with a picture without a letter

    def read(self, node: etree._Element) -> None:
        tag = tag_of(node)
        reason = self._reason(node, tag)
        if reason:
            words = count_words(node)
            if words and reason != "head":
                self.page.left_out.append((len(self.page.paragraphs), words, reason))
            return
        ids = [value for name, value in node.attrib.items() if value and str(name).rpartition("}")[2] in ("id", "name")]
        level = int(tag[1]) if re.fullmatch("h[1-6]", tag) else 0
        block = level > 0 or tag in _BLOCKS
        if block:
            self.flush()
        self._ids += map(str, ids)
        if tag == "br":
            self._parts.append("\n")
        elif tag == "hr":
            self.flush()
            self._add(_BREAK)
        elif tag in ("img", "image"):
            self._image(node)
        elif tag == "table" and not any(tag_of(n) in ("p", "div", "li") for n in node.iter(etree.Element)):
            self._rows(node)
        else:
            if block:
                self._level = level or (7 if _is_headline(node) else 0)
            if is_drop_capital(node):
                self._capital = plain(node)
            else:
                self._text(node.text, keep=tag == "pre")
                for child in node:
                    self.read(child)
                    self._text(child.tail, keep=tag == "pre")
        if block:
            self.flush()

    def flush(self) -> None:
        """Closes the current paragraph."""
        text = "".join(self._parts)
        self._parts.clear()
        level, self._level = self._level, 0
        for piece in _EMPTY_LINE.split(text):
            lines = [" ".join(line.split()) for line in normalise(piece.replace("\xad", "")).split("\n")]
            lines = [line for line in lines if line]
            if lines:
                self._add((" " if level else "\n").join(lines), level)
                level = 0

    def _add(self, text: str, level: int = 0) -> None:
        if self._capital and not level and text != _BREAK:
            text, self._capital = self._capital + text, ""
        self.page.paragraphs.append(PageParagraph(text, level if level < 7 else 2, tuple(self._ids)))
        self._ids.clear()
        self._picture = False

    def _text(self, text: str | None, keep: bool) -> None:
        if not text:
            return
        text = text.replace("\xa0", " ")
        if self._capital and text.strip():
            text, self._capital = joins_capital(self._capital, text), ""
        elif self._picture and text.strip() and not self._pending():
            if text[:1].islower():
                self.page.lost_capitals.append(" ".join(text.split()[:4]))
            self._picture = False
        self._parts.append(text if keep else re.sub(r"\s+", " ", text))

    def _image(self, node: etree._Element) -> None:
        """Reads a picture: a drop capital at the start of a paragraph, or a heading's words; others are skipped."""
        alt = " ".join(str(node.get("alt") or "").split())
        if self._level and alt and not self._pending():
            self._parts.append(f" {alt} ")
        elif not self._pending():
            letter = image_letter(alt, str(node.get("src") or ""), str(node.tail or ""))
            self._capital = letter or self._capital
            self._picture = not letter

    def _pending(self) -> bool:
        return any(part.strip() for part in self._parts)

    def _rows(self, table: etree._Element) -> None:
        """A table as one paragraph with a line per row."""
        rows = [row for row in table.iter(etree.Element) if tag_of(row) == "tr"]
        for row in rows:
            cells = [plain(cell) for cell in row]
            self._parts.append(" ".join(cell for cell in cells if cell) + "\n")

    def _reason(self, node: etree._Element, tag: str) -> str:
        """Why an element is left out; '' if it is part of the text, ``head`` if it holds no words of the book."""
        if node in self._notes:
            return "footnotes"
        kind = " ".join(str(v) for k, v in node.attrib.items() if str(k).endswith("type") or str(k) == "role")
        found = _SKIP_TYPES.search(kind.replace("doc-", "")) if kind else None
        if found and not _holds_story(node):
            return _REASONS.get(found[0], found[0])
        if tag in _SKIP_TAGS:
            return {"nav": "contents page", "figcaption": "caption", "svg": "picture"}.get(tag, "head")
        style = str(node.get("class") or "")
        if style and _PAGE_CLASS.search(style) and len(plain(node)) <= 16:
            return "page number"
        if tag == "a" and node.get("href") and _is_reference(node):
            return "footnote mark"
        if tag == "sup" and _NOTE_REF.fullmatch(plain(node)) and not plain(node).isalpha() and not self._after_digit():
            return "footnote mark"
        if tag in ("table", "ul", "ol", "dl") and is_contents(node):
            return "contents page"
        return ""

    def _after_digit(self) -> bool:
        return "".join(self._parts)[-1:].isdigit()


def _holds_story(node: etree._Element) -> bool:
    """Whether an element marked as apparatus is far too long for it, such as a whole book in a wrong element."""
    return count_words(node) > 20_000


def _is_headline(node: etree._Element) -> bool:
    """Whether an element's class calls it a chapter's heading and it is as short as one."""
    style = str(node.get("class") or "")
    if not style or not _HEAD_CLASS.search(style) or tag_of(node) not in ("p", "div", "center"):
        return False
    return len(plain(node)) <= _MAX_HEAD and not any(tag_of(n) in _BLOCKS for n in node.iterdescendants(etree.Element))


def _is_reference(node: etree._Element) -> bool:
    """Whether a link is a note mark: a number or sign, raised or after a word."""
    href = str(node.get("href") or "")
    if "#" not in href or not _NOTE_REF.fullmatch(plain(node)):
        return False
    kind = " ".join(str(v) for k, v in node.attrib.items() if str(k).endswith(("type", "role", "class")))
    raised = any(tag_of(n) == "sup" for n in [*node.iterdescendants(etree.Element), *_first(node.iterancestors(), 1)])
    if raised or "note" in kind.lower() or plain(node)[:1] in "[({*†‡":
        return True
    before = node.getprevious()
    text = (before.tail if before is not None else node.getparent().text if node.getparent() is not None else "") or ""
    return bool(text.strip()) and not text[-1:].isspace()


def _first(nodes: Iterator[etree._Element], count: int) -> list[etree._Element]:
    return [node for node, _ in zip(nodes, range(count), strict=False)]


def _note_blocks(root: etree._Element, notes: set[str]) -> list[etree._Element]:
    """The blocks that hold notes: those that begin with an id which reference marks point to."""
    found: list[etree._Element] = []
    if not notes:
        return found
    for node in root.iter(etree.Element):
        if not notes.intersection(str(value) for value in node.attrib.values()):
            continue
        block = node
        while tag_of(block) not in _BLOCKS and block.getparent() is not None:
            block = block.getparent()
        if node is not block and (block.text or "").strip():
            continue  # an id inside a paragraph marks the reference, not the note
        while (above := block.getparent()) is not None and _NOTE_CLASS.search(str(above.get("class") or "")):
            block = above
        headed = any(re.fullmatch("h[1-6]", tag_of(n)) for n in block.iter(etree.Element))
        if tag_of(block) not in ("body", "html") and not headed and count_words(block) <= _MAX_NOTE_WORDS:
            found.append(block)
    return found

"""The members of an EPUB archive and their XML, read on request; a missing or damaged member is a ``Missing`` error."""

import posixpath
import re
import zipfile
import zlib
from html.entities import html5
from urllib.parse import unquote

from lxml import etree, html

from polaris_jax.library.encoding import NotText, decode

_MAX_MEMBER = 64 << 20
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_DOCTYPE = re.compile(r"<!DOCTYPE[^\[>]*(?:\[.*?\]\s*)?>", re.S | re.I)
_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]*);")
_XML_ENTITIES = {"amp", "lt", "gt", "quot", "apos"}
_DECLARED = re.compile(rb"""(?:<\?xml[^>]*?encoding|<meta[^>]*?charset)\s*=\s*["']?\s*([\w.:-]+)""", re.I)


class BrokenEpub(ValueError):
    """The archive is not a readable EPUB."""


class Missing(ValueError):
    """A member does not exist or cannot be read; the message says which and why."""


class Archive:
    """The open zip file.

    Args:
      file: open for reading.
    """

    def __init__(self, file: zipfile.ZipFile):
        self._file = file
        self._names = {name.casefold(): name for name in file.namelist()}

    def names(self, suffix: str) -> list[str]:
        """Members whose names end in ``suffix``, in the order of the archive."""
        return [name for name in self._file.namelist() if name.casefold().endswith(suffix)]

    def read(self, name: str) -> bytes:
        """Reads one member; the case of its name does not matter.

        Raises:
          Missing: the member does not exist, or is damaged, encrypted, or larger than 64 MiB.
        """
        found = self._names.get(name.casefold())
        if found is None:
            raise Missing(f"{name} is not in the archive")
        if self._file.getinfo(found).file_size > _MAX_MEMBER:
            raise Missing(f"{name} is larger than {_MAX_MEMBER >> 20} MiB")
        try:
            return self._file.read(found)
        except RuntimeError as error:  # zipfile raises this for a password
            raise Missing(f"{name} is encrypted") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise Missing(f"{name} is damaged ({error})") from error


def resolve(base: str, href: str) -> tuple[str, str]:
    """The (member, fragment) that a reference in the member ``base`` points to."""
    path, _, fragment = href.partition("#")
    name = posixpath.normpath(posixpath.join(posixpath.dirname(base), unquote(path))) if path else base
    return name.lstrip("/"), unquote(fragment)


def page_text(data: bytes) -> str:
    """The text of one page. A declared encoding is used only if the bytes are not UTF-8.

    Raises:
      Missing: the bytes are not text in any encoding.
    """
    declared = _DECLARED.search(data[:2_000])
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        if declared and declared[1].lower() not in (b"utf-8", b"utf8", b"utf-16", b"utf16"):
            try:
                return data.decode(declared[1].decode("ascii"))
            except (LookupError, UnicodeDecodeError):
                pass
    try:
        return decode(data)[0] if data.strip() else ""
    except NotText as error:
        raise Missing(f"no text ({error})") from error


def parse(data: bytes) -> etree._Element | None:
    """The root element of a page or document, parsed as XML if well-formed, else as HTML; None if empty.

    Raises:
      Missing: the bytes are not text in any encoding.
    """
    text = _DOCTYPE.sub("", _DECLARATION.sub("", page_text(data)), count=1).strip()
    if not text:
        return None
    try:
        parser = etree.XMLParser(
            resolve_entities=False, no_network=True, huge_tree=True, remove_comments=True, remove_pis=True
        )
        return etree.fromstring(_ENTITY.sub(_character, text), parser)
    except etree.XMLSyntaxError:
        pass
    try:
        return html.document_fromstring(text, html.HTMLParser(remove_comments=True, remove_pis=True))
    except (etree.ParserError, ValueError):
        return None


def _character(match: re.Match) -> str:
    """The character of an HTML entity, which XML does not know."""
    name = match[1]
    return match[0] if name in _XML_ENTITIES else html5.get(f"{name};", match[0])


def tag_of(node: etree._Element) -> str:
    """Local name in lower case, '' for comments and processing instructions."""
    tag = node.tag
    return tag.rpartition("}")[2].lower() if isinstance(tag, str) else ""


def plain(node: etree._Element) -> str:
    """All text below an element, with single spaces."""
    return " ".join("".join(map(str, node.itertext())).split())


def count_words(node: etree._Element) -> int:
    """Number of words below an element; a word never spans two elements."""
    return sum(len(str(text).split()) for text in node.itertext())

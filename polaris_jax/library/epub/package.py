"""The package document of an EPUB: its pages in order, its metadata, and its table of contents."""

import re
from dataclasses import dataclass, field

from lxml import etree

from polaris_jax.library.epub.archive import Archive, BrokenEpub, Missing, parse, plain, resolve, tag_of

_CONTAINER = "META-INF/container.xml"
_ROLES = {"aut": "author", "trl": "translator"}
_PAGE = re.compile(r"x?html|xml|text", re.I)
_GUIDE = {
    "toc": "contents page",
    "cover": "cover",
    "title-page": "title page",
    "copyright-page": "copyright page",
    "loi": "list of illustrations",
    "lot": "list of tables",
    "index": "index",
    "notes": "notes",
    "bibliography": "bibliography",
    "colophon": "colophon",
}


@dataclass(frozen=True)
class Target:
    """An entry of the table of contents.

    Attributes:
      title: as printed there.
      page, fragment: the member it points to and the id inside it ('' for the top of the page).
      depth: 0 for the outermost entries.
    """

    title: str
    page: str
    fragment: str
    depth: int


@dataclass
class Package:
    """The contents of a package document.

    Attributes:
      pages: members of the spine in reading order, without pages outside the linear order.
      aside: members of the spine that are marked as outside that order.
      guide: member → reason to leave the page out, from the EPUB 2 guide.
      contents: the table of contents, from the navigation document or else the NCX.
      metadata: title, author, translator, edition, language; '' where nothing is declared.
      warnings: things that are declared but missing.
    """

    pages: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)
    guide: dict[str, str] = field(default_factory=dict)
    contents: list[Target] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def read_package(archive: Archive) -> Package:
    """Reads container, package document and table of contents.

    Raises:
      BrokenEpub: no package document, or an empty spine.
    """
    name = _package_name(archive)
    try:
        root = parse(archive.read(name))
    except Missing as error:
        raise BrokenEpub(str(error)) from error
    if root is None or not len(root):
        raise BrokenEpub(f"{name} is empty")
    items = {item.get("id", ""): item for item in _all(root, "item") if item.get("href")}
    package = Package(metadata=_metadata(root))
    navigation = ""
    for item in items.values():
        if "nav" in item.get("properties", "").split():
            navigation = resolve(name, item.get("href", ""))[0]
    for ref in _all(root, "itemref"):
        item = items.get(ref.get("idref", ""))
        if item is None:
            package.warnings.append(f"The spine names {ref.get('idref')!r}, which the manifest does not list.")
            continue
        member = resolve(name, item.get("href", ""))[0]
        kind = item.get("media-type", "")
        if member != navigation and (_PAGE.search(kind) or "/" not in kind):
            (package.aside if ref.get("linear") == "no" else package.pages).append(member)
    if not package.pages:
        raise BrokenEpub("the spine is empty")
    for ref in _all(root, "reference"):
        member, fragment = resolve(name, ref.get("href", ""))
        if not fragment and (reason := _GUIDE.get(ref.get("type", "").lower())):
            package.guide.setdefault(member, reason)
    ncx = next((i for i in items.values() if "dtbncx" in i.get("media-type", "")), None)
    sources = [(navigation, _nav_entries)] if navigation else []
    if ncx is not None:
        sources.append((resolve(name, ncx.get("href", ""))[0], _ncx_entries))
    for member, entries in sources:
        try:
            document = parse(archive.read(member))
        except Missing as error:
            package.warnings.append(f"The table of contents cannot be read: {error}.")
            continue
        if document is not None and not package.contents:
            package.contents = entries(document, member)
    return package


def _package_name(archive: Archive) -> str:
    """The package document that the container names, or the only one in the archive."""
    try:
        container = parse(archive.read(_CONTAINER))
        names = [node.get("full-path", "") for node in _all(container, "rootfile")] if container is not None else []
    except Missing:
        names = []
    names = [resolve("", name)[0] for name in names if name] or archive.names(".opf")
    if not names:
        raise BrokenEpub("the container names no package document")
    return names[0]


def _all(root: etree._Element, tag: str) -> list[etree._Element]:
    return [node for node in root.iter(etree.Element) if tag_of(node) == tag]


def _metadata(root: etree._Element) -> dict[str, str]:
    """Title, people by role, edition and language. Roles are attributes (OPF 2) or refining ``meta`` (EPUB 3)."""
    nodes = [node for block in _all(root, "metadata") for node in block.iter(etree.Element)]
    refined: dict[tuple[str, str], list[str]] = {}  # a person may have several roles
    for node in nodes:
        if tag_of(node) == "meta" and node.get("refines") and node.get("property"):
            place = (node.get("refines", "").lstrip("#"), node.get("property", ""))
            refined.setdefault(place, []).append(plain(node))
    found: dict[str, list[str]] = {}
    for node in nodes:
        tag, text = tag_of(node), plain(node)
        if not text:
            continue
        own = node.get("id", "")
        roles = refined.get((own, "role")) or [str(v) for k, v in node.attrib.items() if str(k).endswith("role")]
        if tag in ("creator", "contributor"):
            known = next((_ROLES[role] for role in roles if role in _ROLES), "")
            kind = known or ("author" if tag == "creator" and not roles else "")
        elif tag == "title" and "main" not in refined.get((own, "title-type"), ["main"]):
            kind = ""
        elif tag == "meta" and node.get("property") == "schema:bookEdition":
            kind = "edition"
        else:
            kind = tag if tag in ("title", "language", "publisher", "date") else ""
        if kind:
            found.setdefault(kind, []).append(text)
    year = re.search(r"\b1[5-9]\d\d\b|\b20\d\d\b", " ".join(found.get("date", [])))
    edition = found.get("edition") or [", ".join([*found.get("publisher", [])[:1], *([year[0]] if year else [])])]
    return {
        "title": found.get("title", [""])[0],
        "author": " and ".join(dict.fromkeys(found.get("author", []))),
        "translator": " and ".join(dict.fromkeys(found.get("translator", []))),
        "edition": edition[0],
        "language": found.get("language", [""])[0],
    }


def _nav_entries(document: etree._Element, member: str) -> list[Target]:
    """The list in the navigation element of type ``toc`` (EPUB 3.3, section 7)."""
    navs = _all(document, "nav")
    toc = next((nav for nav in navs if "toc" in [str(value) for value in nav.attrib.values()]), None)
    toc = toc if toc is not None else next(iter(navs), None)
    entries: list[Target] = []
    for link in _all(toc, "a") if toc is not None else []:
        lists = sum(tag_of(above) == "ol" for above in link.iterancestors())
        if link.get("href") and (title := plain(link)):
            entries.append(Target(title, *resolve(member, link.get("href", "")), max(0, lists - 1)))
    return entries


def _ncx_entries(document: etree._Element, member: str) -> list[Target]:
    entries: list[Target] = []
    for point in _all(document, "navpoint"):
        label = next((plain(node) for node in point if tag_of(node) == "navlabel"), "")
        source = next((node.get("src", "") for node in point if tag_of(node) == "content"), "")
        depth = sum(tag_of(above) == "navpoint" for above in point.iterancestors())
        if label and source:
            entries.append(Target(label, *resolve(member, source), depth))
    return entries

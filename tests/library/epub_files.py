"""EPUB files for tests, page by page, in the habits of various producers."""

import zipfile
from pathlib import Path

CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="OPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
)
METADATA = "<dc:title>The Grey Horse</dc:title><dc:creator>A. Writer</dc:creator><dc:language>en</dc:language>"


def page(body: str, attributes: str = "") -> str:
    """A page of XHTML."""
    return (
        '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops">'
        f"<head><title/></head><body{attributes}>{body}</body></html>"
    )


def paragraphs(text: str) -> str:
    """Blank-line paragraphs as ``p`` elements."""
    return "".join(f"<p>{' '.join(p.split())}</p>" for p in text.split("\n\n"))


def write_epub(
    path: Path,
    pages: dict[str, str | bytes | None],
    *,
    metadata: str = METADATA,
    nav: str = "",
    ncx: str = "",
    extra: dict[str, bytes] | None = None,
    guide: str = "",
) -> Path:
    """Write an EPUB.

    Args:
      pages: in spine order; None stands in the spine and is not in the archive.
      nav: items of the table of contents in a navigation document; ncx: the same as navPoints.
      extra: members that the manifest does not need.
      guide: reference elements of an EPUB 2 guide.
    """
    items = [f'<item id="i{n}" href="{name}" media-type="application/xhtml+xml"/>' for n, name in enumerate(pages)]
    refs = [f'<itemref idref="i{n}"/>' for n in range(len(pages))]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("META-INF/container.xml", CONTAINER)
        if nav:
            items.append('<item id="nav" href="nav.xhtml" properties="nav" media-type="application/xhtml+xml"/>')
            archive.writestr("OPS/nav.xhtml", page(f'<nav epub:type="toc"><ol>{nav}</ol></nav>'))
        if ncx:
            items.append('<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/>')
            archive.writestr(
                "OPS/toc.ncx",
                f'<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap>{ncx}</navMap></ncx>',
            )
        archive.writestr(
            "OPS/book.opf",
            '<package xmlns="http://www.idpf.org/2007/opf" xmlns:opf="http://www.idpf.org/2007/opf" '
            f'xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>{metadata}</metadata>'
            f"<manifest>{''.join(items)}</manifest><spine>{''.join(refs)}</spine><guide>{guide}</guide></package>",
        )
        for name, content in pages.items():
            if content is not None:
                archive.writestr(f"OPS/{name}", content)
        for name, data in (extra or {}).items():
            archive.writestr(name, data)
    return path

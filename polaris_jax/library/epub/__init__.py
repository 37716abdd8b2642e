"""EPUB books as marked text: pages in spine order, ``#`` before headings, a line per paragraph, ``* * *`` for rules.

``archive`` reads members of the zip file one at a time, so images are never loaded. ``package`` reads the package
document (spine, metadata, navigation; EPUB 3.3, sections 5 and 7, and OPF 2.0). ``page`` turns one page into
paragraphs. ``marks`` marks the paragraphs that the navigation names as headings. ``book`` combines all this. lxml
parses XML and HTML. EbookLib is not used: it loads every member of the archive, refuses a book with one member
missing, and its licence (AGPL 3) would bind everyone who serves a model with this package.
"""

from polaris_jax.library.epub.archive import BrokenEpub
from polaris_jax.library.epub.book import EpubText, NavEntry, read_epub

__all__ = ["BrokenEpub", "EpubText", "NavEntry", "read_epub"]

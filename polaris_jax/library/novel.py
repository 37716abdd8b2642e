"""The result of reading a novel: clean chapters and scenes, or the reason for a rejection."""

from dataclasses import dataclass

from polaris_jax.library.account import Account


@dataclass(frozen=True)
class NovelChapter:
    """One narrative unit.

    Attributes:
      name: the heading as a single line (``Chapter I: The Door``), unique in the book.
      kind: chapter, letter, section, narrative, prologue or epilogue.
      part: the part/book/volume it belongs to, or None.
      line: 1-based line of the heading in the file (CRLF read as LF, byte order mark dropped).
      text: clean prose, paragraphs separated by one blank line, no trailing whitespace.
      scenes: strings whose concatenation is exactly ``text``.
    """

    name: str
    kind: str
    part: str | None
    line: int
    text: str
    scenes: tuple[str, ...]


@dataclass(frozen=True)
class Novel:
    """A book that was read. If it is not a novel, ``accepted`` is False and ``reason`` is one sentence.

    ``account`` says where every word of the file went (None for a novel that was not read from a file).
    """

    path: str
    title: str
    author: str
    language: str
    encoding: str
    accepted: bool
    reason: str
    structure: str
    chapters: tuple[NovelChapter, ...]
    account: Account | None = None
    translator: str = ""
    edition: str = ""


def word_count(chapter: NovelChapter) -> int:
    """Whitespace-separated words of a chapter (clean text has single spaces, so separators can be counted)."""
    text = chapter.text
    return text.count(" ") + text.count("\n") - text.count("\n\n") + bool(text)

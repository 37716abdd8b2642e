"""The account of a book: where every word of the file went, and how sure the reader is of the chapters it found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Dropped:
    """A stretch of the file that is in no chapter.

    Attributes:
      first_line, last_line: 1-based lines of the decoded file, both inclusive.
      words: whitespace-separated words of the stretch that were left out.
      reason: why, as a noun phrase (``title page``, ``contents page``, ``footnote``).
    """

    first_line: int
    last_line: int
    words: int
    reason: str


@dataclass(frozen=True)
class Account:
    """Every word of a file: in a chapter, in a heading, or dropped for a reason.

    Attributes:
      words: whitespace-separated words of the decoded file.
      in_chapters: words of the chapters' clean text.
      dropped: what is in no chapter, in the order of the file.
      warnings: sentences about what disagrees (contents page, numbering, EPUB navigation) or was lost.
      confidence: how well the evidence supports the chapters, 0 (a guess) to 1.
    """

    words: int
    in_chapters: int
    dropped: tuple[Dropped, ...]
    warnings: tuple[str, ...]
    confidence: float

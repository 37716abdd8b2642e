"""The account of a book: where every word of the file went, and how certain the chapters are."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Dropped:
    """Lines of the file that are in no chapter.

    Attributes:
      first_line, last_line: 1-based lines of the decoded file, both inclusive.
      words: number of whitespace-separated words that were left out.
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
      dropped: the parts that are in no chapter, in the order of the file.
      warnings: sentences about disagreements (contents page, numbering, EPUB navigation) and losses.
      confidence: how well the evidence supports the chapters, 0 (a guess) to 1.
    """

    words: int
    in_chapters: int
    dropped: tuple[Dropped, ...]
    warnings: tuple[str, ...]
    confidence: float

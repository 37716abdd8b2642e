"""One edition per work (trajectory specification 2.1): same author and title, or nearly the same word 5-grams."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from datasketch import MinHash, MinHashLSH

PERMUTATIONS = 256  # the standard error of a similarity of 0.7 is then 0.03
NGRAM = 5
SAME_WORK = 0.7  # two books of one author with at least this similarity are one work
EDITION = 0.2  # unrelated novels share less than 0.01; a revised or abridged edition shares far more
_WORD = re.compile(r"[^\W_]+")
_BATCH = 1 << 16  # n-grams at a time: 64 MiB of permuted hashes


@dataclass(frozen=True)
class Duplicate:
    """A book that is left out because of another one: the positions of both, and why."""

    index: int
    of: int
    why: str


def signature(texts: Iterable[str]) -> bytes:
    """MinHash of the word 5-grams of a book: always 256 little-endian uint32.

    Case, punctuation and line breaks do not count.
    """
    numbers: dict[str, int] = {}
    ids = np.array(
        [numbers.setdefault(word, len(numbers)) for text in texts for word in _WORD.findall(text.lower())], np.int64
    )
    hashes = np.array(
        [int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little") for word in numbers] or [0],
        np.uint64,
    )
    words = hashes[ids]
    grams = np.zeros(max(len(words) - NGRAM + 1, 0), np.uint64)
    for place in range(NGRAM):  # a polynomial in an odd base, modulo 2^64: order matters, sums wrap
        grams = grams * np.uint64(0x9E3779B97F4A7C15) + words[place : place + len(grams)]
    grams = np.unique((grams ^ (grams >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9) >> np.uint64(32))
    sketch = MinHash(PERMUTATIONS, hashfunc=int)
    for start in range(0, len(grams), _BATCH):
        sketch.update_batch(grams[start : start + _BATCH].tolist())
    return sketch.hashvalues.astype("<u4").tobytes()


def similarity(one: bytes, other: bytes) -> float:
    """Estimated Jaccard similarity of two signatures, 0 to 1."""
    return float(np.mean(np.frombuffer(one, "<u4") == np.frombuffer(other, "<u4")))


class Works:
    """The works seen so far; the first edition of each is kept.

    An edition of a work is recognised by author and title, or by its text. If the authors are written differently or
    missing, less common text is required, because the editions would get into different splits by author.

    Args:
      least: two books with at least this similarity are one work.
    """

    def __init__(self, least: float):
        self._least = least
        # 128 bands of 2: 99 % of the pairs that share EDITION of their n-grams become candidates; the estimate decides.
        self._index = MinHashLSH(num_perm=PERMUTATIONS, params=(PERMUTATIONS // 2, 2))
        self._works: dict[str, int] = {}
        self._books: list[tuple[str, bytes]] = []

    def add(self, author: str, title: str, sketch: bytes) -> Duplicate | None:
        """The work that the next book is a copy of, or None if the book is new.

        Args:
          author, title: normalised keys; '' for an unknown author.
          sketch: signature of the text.
        """
        number = len(self._books)
        self._books.append((author, sketch))
        hashed = MinHash(hashvalues=np.frombuffer(sketch, "<u4"), scheme="affine32")
        near = [(similarity(sketch, self._books[other][1]), -other) for other in self._index.query(hashed)]
        best, other = max(near, default=(0.0, 0))
        work = f"{author} / {title}" if author else ""
        if work and work in self._works:
            return Duplicate(number, self._works[work], "same author and title")
        split_apart = bool(near) and (not author or author != self._books[-other][0])
        if near and (best >= self._least or (split_apart and best >= EDITION)):
            return Duplicate(number, -other, f"{best:.0%} of the word 5-grams are shared")
        self._index.insert(number, hashed)
        if work:
            self._works[work] = number
        return None


def find_duplicates(
    authors: Sequence[str], titles: Sequence[str], signatures: Sequence[bytes], least: float
) -> list[Duplicate]:
    """The books to leave out, given all books in order of preference; the fields are the arguments of ``Works.add``."""
    works = Works(least)
    found = (works.add(*book) for book in zip(authors, titles, signatures, strict=True))
    return [copy for copy in found if copy is not None]

"""One edition per work (trajectory specification 2.1): same author and title, or nearly the same word 5-grams."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from datasketch import MinHash, MinHashLSH

PERMUTATIONS = 256  # the standard error of a similarity of 0.7 is then 0.03
NGRAM = 5
_WORD = re.compile(r"[^\W_]+")
_BATCH = 1 << 16  # n-grams at a time: 64 MiB of permuted hashes


@dataclass(frozen=True)
class Copy:
    """A book that another one makes superfluous: positions of both, and why."""

    index: int
    of: int
    why: str


def signature(texts: Iterable[str]) -> bytes:
    """MinHash of the word 5-grams of a book: 256 little-endian uint32, whatever its length.

    Case, punctuation and line breaks do not count.
    """
    numbers: dict[str, int] = {}
    ids = np.array([numbers.setdefault(word, len(numbers)) for text in texts for word in _WORD.findall(text.lower())],
                   np.int64)  # fmt: skip
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


def find_copies(works: Sequence[str], signatures: Sequence[bytes], least: float) -> list[Copy]:
    """Books that are left out, given all books in order of preference.

    Args:
      works: what names the work (author and title), '' when the author is unknown.
      signatures: of the same books.
      least: similarity from which two books are one work.
    """
    index = MinHashLSH(threshold=max(0.05, least - 0.15), num_perm=PERMUTATIONS)  # candidates; the estimate decides
    kept_works: dict[str, int] = {}
    copies = []
    for number, (work, sketch) in enumerate(zip(works, signatures, strict=True)):
        hashed = MinHash(hashvalues=np.frombuffer(sketch, "<u4"), scheme="affine32")
        near = [(similarity(sketch, signatures[other]), -other) for other in index.query(hashed)]
        best, other = max(near, default=(0.0, 0))
        if work and work in kept_works:
            copies.append(Copy(number, kept_works[work], "same author and title"))
        elif near and best >= least:
            copies.append(Copy(number, -other, f"{best:.0%} of the word 5-grams are shared"))
        else:
            index.insert(number, hashed)
            if work:
                kept_works[work] = number
    return copies

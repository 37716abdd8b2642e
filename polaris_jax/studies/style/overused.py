"""Over-used n-grams: phrases of two to four words that a group uses more often than a human baseline.

Weighted log-odds with an informative Dirichlet prior (Monroe, Colaresi and Quinn, 2008), on the number of *passages*
that contain the phrase, so that one looping text cannot fill the list. To compare groups, the list is learnt on one
half of the authors and counted on the other, and vice versa: no text is measured with a list learnt from its author.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from polaris_jax.studies.style.stories import Passage

SIZES = (2, 3, 4)
LEAST_PASSAGES = 4
LEAST_Z = 3.0
MAX_PHRASES = 200


@dataclass(frozen=True)
class Overused:
    """A phrase, its z-score, and the share of passages with it in the group and in the baseline."""

    phrase: str
    z: float
    share: float
    baseline: float


def phrases(passage: Passage) -> set[str]:
    """All phrases of ``SIZES`` words in a passage."""
    words = passage.words
    return {" ".join(words[i : i + n]) for n in SIZES for i in range(len(words) - n + 1)}


def overused(group: Sequence[Passage], baseline: Sequence[Passage], most: int = MAX_PHRASES) -> list[Overused]:
    """The phrases that the group over-uses most, by z-score; only those in at least ``LEAST_PASSAGES`` passages."""
    ours, theirs = _counts(group), _counts(baseline)
    total = sum(ours.values()) + sum(theirs.values())
    n_ours, n_theirs = sum(ours.values()), sum(theirs.values())
    # The prior is the counts of both groups together, scaled to a tenth.
    strength = total / 10
    found = []
    for phrase, count in ours.items():
        if count < LEAST_PASSAGES:
            continue
        other = theirs[phrase]
        prior = strength * (count + other) / total
        odds_ours = np.log((count + prior) / (n_ours + strength - count - prior))
        odds_theirs = np.log((other + prior) / (n_theirs + strength - other - prior))
        z = (odds_ours - odds_theirs) / np.sqrt(1 / (count + prior) + 1 / (other + prior))
        if z >= LEAST_Z:
            found.append(Overused(phrase, float(z), count / len(group), other / max(1, len(baseline))))
    return sorted(found, key=lambda one: (-one.z, one.phrase))[:most]


def rates(a: Sequence[Passage], b: Sequence[Passage]) -> tuple[list[float], list[float]]:
    """Per passage of ``a`` and of ``b``: occurrences per 1,000 words of phrases that ``a`` over-uses against ``b``.

    The phrases come from the half that the passage's author is not in.
    """
    halves_a, halves_b = [_half(p.author) for p in a], [_half(p.author) for p in b]
    lists = []
    for half in (0, 1):
        mine = [p for p, side in zip(a, halves_a, strict=True) if side == half]
        other = [p for p, side in zip(b, halves_b, strict=True) if side == half]
        lists.append({one.phrase for one in overused(mine, other)})
    return (
        [_rate(p, lists[1 - side]) for p, side in zip(a, halves_a, strict=True)],
        [_rate(p, lists[1 - side]) for p, side in zip(b, halves_b, strict=True)],
    )


def _rate(passage: Passage, listed: set[str]) -> float:
    words = passage.words
    hits = sum(" ".join(words[i : i + n]) in listed for n in SIZES for i in range(len(words) - n + 1))
    return 1000 * hits / max(1, len(words))


def _counts(passages: Iterable[Passage]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for passage in passages:
        counts.update(phrases(passage))
    return counts


def _half(author: str) -> int:
    return hashlib.sha256(author.encode()).digest()[0] & 1

"""Requested and written length: bands, buckets, the length score, and slopes of a score over the requested length.

The bands are those of the published test set (POLARIS, 180 prompts of 1k to 12k words). A length outside them is shown
as a range of words.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from polaris_jax.rewards import requested_words as requested_words

BANDS = (("1-4k", 0, 4_000), ("4-8k", 4_000, 8_000), ("8-12k", 8_000, 12_000))
SHORTEST, LONGEST = 1_000, 12_000  # of the published test set
BUCKET = 2_000  # words; six buckets up to 12k; the published slope is per bucket


def band_of(target_words: int) -> str:
    """The published band of a requested length. The upper edge belongs to the band, shorter lengths to the first."""
    return next((name for name, low, high in BANDS if low < target_words <= high), ">12k")


def length_groups(targets: Iterable[int]) -> dict[int, str]:
    """The group of every requested length, from short to long: a published band, or a range outside all bands
    (``60-240 words``)."""
    lengths = sorted(set(targets))
    below = [length for length in lengths if length < SHORTEST]
    beyond = [length for length in lengths if length > LONGEST]
    return {
        length: _span(below) if length < SHORTEST else _span(beyond) if length > LONGEST else band_of(length)
        for length in lengths
    }


def _span(lengths: Sequence[int]) -> str:
    return f"{lengths[0]:,} words" if len(lengths) == 1 else f"{lengths[0]:,}-{lengths[-1]:,} words"


def bucket_of(target_words: float, width: int = BUCKET) -> int:
    """Bucket number from 0: (0, width], (width, 2*width], ..."""
    return max(0, int(-(-target_words // width)) - 1)


def length_score(target_words: int, words: int) -> float:
    """The length score of the published Story Quality evaluation: 1 within ``max(50, 10 %)`` of the target.

    Below this range it falls to 0 at no words; above it, to 0 at twice the upper edge.
    """
    tolerance = max(50, int(0.1 * target_words))
    low, high = target_words - tolerance, target_words + tolerance
    if low <= words <= high:
        return 1.0
    if words < low:
        return words / low
    return max(0.0, 2.0 - words / high)


def slope_per_bucket(
    targets: Sequence[float] | np.ndarray, scores: Sequence[float] | np.ndarray, width: int = BUCKET
) -> float | None:
    """Least-squares slope of the buckets' mean scores over the bucket number; None with fewer than two buckets.

    Every bucket has the same weight, for any number of stories in it.
    """
    buckets = np.array([bucket_of(target, width) for target in targets])
    values = np.asarray(scores, float)
    numbers = np.unique(buckets)
    if len(numbers) < 2:
        return None
    means = [values[buckets == number].mean() for number in numbers]
    return float(np.polyfit(numbers, means, 1)[0])

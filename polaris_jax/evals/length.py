"""How long a story was asked to be and how long it became: ratios, bands, buckets, and quality as a function of length.

Bands and the 1k-12k range are those of the published test set (POLARIS, 180 prompts): 1k-4k words is what its models
were trained on, 4k-8k and 8k-12k are longer than anything they saw.
"""

import re
from collections.abc import Sequence

import numpy as np

from polaris_jax import rewards

BANDS = (("1-4k", 0, 4_000), ("4-8k", 4_000, 8_000), ("8-12k", 8_000, 12_000))
TRAINED = (1_000, 4_000)
LONGEST = 12_000
BUCKET = 2_000  # words; six buckets up to 12k, the published slope is per bucket
_MENTION = re.compile(r"(\d{1,3}(?:,\d{3})+|\d+)[\s-]+words?\b", re.IGNORECASE)


def requested_words(prompt: str) -> int | None:
    """The length that a prompt asks for (``about 2,500 words long``, ``a 400-word letter``), or None.

    ``N words long`` is preferred to any other mention.
    """
    asked = rewards.length.requested_words(prompt)
    if asked is None and (mentioned := _MENTION.search(prompt)):
        asked = int(mentioned[1].replace(",", ""))
    return asked or None


def band_of(target_words: int) -> str:
    """Name of the band that a requested length falls into; the upper edge belongs to it."""
    return next((name for name, low, high in BANDS if low < target_words <= high), ">12k")


def bucket_of(target_words: int, width: int = BUCKET) -> int:
    """Bucket number from 0: (0, width], (width, 2*width], ..."""
    return max(0, -(-target_words // width) - 1)


def published_bucket(target_words: int) -> str:
    """The published evaluation's bucket name: ``1k`` to ``8k``, then ``>8k``."""
    thousands = max(1, -(-target_words // 1_000))
    return f"{thousands}k" if thousands <= 8 else ">8k"


def length_score(target_words: int, words: int) -> float:
    """The published Story Quality evaluation's length score: 1 within ``max(50, 10 %)`` of the target.

    Below it falls to 0 at no words; above it falls to 0 at twice the upper edge.
    """
    tolerance = max(50, int(0.1 * target_words))
    low, high = target_words - tolerance, target_words + tolerance
    if low <= words <= high:
        return 1.0
    if words < low:
        return words / low
    return max(0.0, 2.0 - words / high)


def slope_per_bucket(targets: Sequence[int], scores: Sequence[float], width: int = BUCKET) -> float | None:
    """Least-squares slope of the buckets' mean scores over the bucket number; None with fewer than two buckets.

    Every bucket counts alike, however many stories it holds.
    """
    buckets = np.array([bucket_of(target, width) for target in targets])
    values = np.asarray(scores, float)
    numbers = np.unique(buckets)
    if len(numbers) < 2:
        return None
    means = [values[buckets == number].mean() for number in numbers]
    return float(np.polyfit(numbers, means, 1)[0])


def slope_per_thousand(targets: Sequence[int], scores: Sequence[float]) -> float | None:
    """Least-squares slope of the scores per 1,000 requested words; None when all stories were asked the same length."""
    thousands = np.asarray(targets, float) / 1_000
    if len(thousands) < 2 or np.ptp(thousands) == 0:
        return None
    return float(np.polyfit(thousands, np.asarray(scores, float), 1)[0])

"""Burrows' Delta: distance of a sample's frequencies of the commonest words from those of human authors.

Delta (Burrows, 2002) is the mean absolute difference of z-scored frequencies of the most frequent words. Here a sample
is compared with the mean of the human authors *other than its own*, z-scored by their spread, so that the deltas of
novelists and of a model can be compared. A few hundred words are too few to estimate frequencies: passages of one
author are first joined to samples of ``SAMPLE_WORDS``.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polaris_jax.studies.style.contrast import Sample
from polaris_jax.studies.style.stories import Passage

SAMPLE_WORDS = 2_000
COMMONEST = 150


@dataclass(frozen=True)
class WordSample:
    """Words of one author; the sample is compared with all other authors."""

    words: tuple[str, ...]
    author: str


def samples(passages: Sequence[Passage], *, pooled: bool, size: int = SAMPLE_WORDS) -> list[WordSample]:
    """Passages joined to samples of at least ``size`` words; the remainder is left out.

    Args:
      pooled: join passages of different authors (generations, each too short); every sample is then an author.
    """
    found: list[WordSample] = []
    open_samples: dict[str, list[str]] = {}
    for passage in passages:
        key = "" if pooled else passage.author
        taken = open_samples.setdefault(key, [])
        taken += passage.words
        if len(taken) >= size:
            found.append(WordSample(tuple(taken), f"sample {len(found)}" if pooled else passage.author))
            open_samples[key] = []
    return found


class BurrowsDelta:
    """Frequency profiles of human authors over the commonest words, and the delta of samples from them.

    Args:
      texts: samples of human authors, at least three authors.
      commonest: number of words.
    """

    def __init__(self, texts: Sequence[WordSample], commonest: int = COMMONEST):
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(text.words)
        self.vocabulary = [word for word, _ in counts.most_common(commonest)]
        self.authors = list(dict.fromkeys(text.author for text in texts))
        self._profiles = np.array(
            [
                np.mean([self.profile(text.words) for text in texts if text.author == author], axis=0)
                for author in self.authors
            ]
        )

    def profile(self, words: Sequence[str]) -> np.ndarray:
        """``[commonest]``: relative frequencies."""
        counts = Counter(words)
        return np.array([counts[word] for word in self.vocabulary]) / max(1, len(words))

    def delta(self, text: WordSample) -> float:
        """Distance of a sample from the mean of the other human authors, in their standard deviations."""
        others = self._profiles[[author != text.author for author in self.authors]]
        spread = np.maximum(others.std(axis=0), 1e-9)
        return float(np.mean(np.abs(self.profile(text.words) - others.mean(axis=0)) / spread))

    def deltas(self, texts: Sequence[WordSample]) -> Sample:
        """Deltas of samples, clustered by author."""
        return Sample.of([self.delta(text) for text in texts], [text.author for text in texts])

"""Burrows' Delta: how far a sample's use of the commonest words lies from that of human authors.

Delta (Burrows, 2002) is the mean absolute difference of z-scored frequencies of the most frequent words. Here a sample
is measured against the mean of the human authors *other than its own*, z-scores by their spread, so that a novelist's
own delta is a fair yardstick for a machine's. A few hundred words say little about frequencies: passages of one author
are joined to samples of ``SAMPLE_WORDS`` first.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polaris_jax.evals.style.contrast import Sample
from polaris_jax.evals.style.stories import Passage

SAMPLE_WORDS = 2_000
COMMONEST = 150


@dataclass(frozen=True)
class Text:
    """A sample: its words, and whose they are. ``author`` also names who must not serve as its yardstick."""

    words: tuple[str, ...]
    author: str


def samples(passages: Sequence[Passage], *, pooled: bool, size: int = SAMPLE_WORDS) -> list[Text]:
    """Passages joined to samples of at least ``size`` words; what is left over is left out.

    Args:
      pooled: join passages of different authors (generations, each too short alone); every sample is then an author.
    """
    found: list[Text] = []
    open_samples: dict[str, list[str]] = {}
    for passage in passages:
        key = "" if pooled else passage.author
        taken = open_samples.setdefault(key, [])
        taken += passage.words
        if len(taken) >= size:
            found.append(Text(tuple(taken), f"sample {len(found)}" if pooled else passage.author))
            open_samples[key] = []
    return found


class Yardstick:
    """Human authors as points in the space of the commonest words.

    Args:
      texts: samples of human authors, at least three authors.
      commonest: words of the space.
    """

    def __init__(self, texts: Sequence[Text], commonest: int = COMMONEST):
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(text.words)
        self.vocabulary = [word for word, _ in counts.most_common(commonest)]
        self.authors = list(dict.fromkeys(text.author for text in texts))
        self._profiles = np.array([
            np.mean([self.profile(text.words) for text in texts if text.author == author], axis=0)
            for author in self.authors
        ])  # fmt: skip

    def profile(self, words: Sequence[str]) -> np.ndarray:
        """``[commonest]``: relative frequencies."""
        counts = Counter(words)
        return np.array([counts[word] for word in self.vocabulary]) / max(1, len(words))

    def delta(self, text: Text) -> float:
        """Distance of a sample from the mean of the other human authors, in their standard deviations."""
        others = self._profiles[[author != text.author for author in self.authors]]
        spread = np.maximum(others.std(axis=0), 1e-9)
        return float(np.mean(np.abs(self.profile(text.words) - others.mean(axis=0)) / spread))

    def deltas(self, texts: Sequence[Text]) -> Sample:
        """Deltas of samples, clustered by author."""
        return Sample.of([self.delta(text) for text in texts], [text.author for text in texts])

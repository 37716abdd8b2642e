"""The measures: one number per passage or story, each with the direction that is claimed for assistant prose.

``CANDIDATES`` were validated on texts with a known answer (``benchmarks/style_validation.py``). ``MEASURES`` passed:
they distinguish novels from an instruct model's stories in the expected direction, and find no difference between two
halves of one author's books.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from polaris_jax.scaffold.analysis.sentences import dialogue_share, words
from polaris_jax.studies.style.lexicons import (
    ABSTRACT,
    ABSTRACT_SUFFIX,
    CONCRETE,
    CONNECTIVES,
    HEDGES,
    MORALS,
    NOT_ABSTRACT,
    STOCK,
)
from polaris_jax.studies.style.repetition import distinct, loop_start, repeated_share
from polaris_jax.studies.style.stories import PASSAGE_WORDS, Passage, Story, plain

CLOSING_WORDS = 60
STORY_WORDS = 300  # words of every story that are searched for loops
_WINDOW = 50


@dataclass(frozen=True)
class Measure:
    """A measure.

    Attributes:
      name, unit: name and unit in tables.
      of: ``Passage`` or ``Story``, by ``level`` → float; NaN where the text has no value.
      level: what ``of`` takes.
      expected: sign of (assistant prose - novels), 0 when none is claimed.
      order: whether it depends on the order of words, so that shuffling them must change it.
    """

    name: str
    unit: str
    of: Callable[[Any], float]
    level: Literal["passage", "story"] = "passage"
    expected: int = 0
    order: bool = False


def per_thousand(pattern) -> Callable[[Passage], float]:
    """Rate of a pattern per 1,000 words."""
    return lambda passage: 1000 * len(pattern.findall(" ".join(passage.plain.split()))) / max(1, len(passage.words))


def concreteness(passage: Passage) -> float:
    """Concrete nouns among concrete and abstract ones (0-1)."""
    concrete = sum(word in CONCRETE for word in passage.words)
    abstract = sum(
        word in ABSTRACT or (ABSTRACT_SUFFIX.match(word) is not None and word not in NOT_ABSTRACT)
        for word in passage.words
    )
    return concrete / (concrete + abstract) if concrete + abstract else math.nan


def closing_morals(story: Story) -> float:
    """Moralising phrases per 1,000 words in the last ``CLOSING_WORDS`` words; NaN for a story that was cut off."""
    if not story.finished:
        return math.nan
    last = " ".join(plain(story.text).split()[-CLOSING_WORDS:])
    return 1000 * len(MORALS.findall(last)) / max(1, len(words(last)))


def _lengths(passage: Passage) -> np.ndarray:
    return np.array([len(words(sentence.text)) for sentence in passage.sentences], float)


def sentence_length(passage: Passage) -> float:
    """Mean words per sentence."""
    return float(_lengths(passage).mean())


def sentence_variation(passage: Passage) -> float:
    """Standard deviation of the sentence lengths over their mean: variation of the rhythm."""
    lengths = _lengths(passage)
    return float(lengths.std() / lengths.mean()) if len(lengths) > 2 else math.nan


def short_sentences(passage: Passage) -> float:
    """Share of sentences of at most six words."""
    return float((_lengths(passage) <= 6).mean())


def word_length(passage: Passage) -> float:
    """Mean letters per word."""
    return float(np.mean([len(word) for word in passage.words]))


def moving_types(passage: Passage) -> float:
    """Moving-average type-token ratio over windows of 50 words (Covington and McFall, 2010)."""
    text = passage.words
    if len(text) < _WINDOW:
        return math.nan
    return float(np.mean([len(set(text[i : i + _WINDOW])) / _WINDOW for i in range(len(text) - _WINDOW + 1)]))


def once_words(passage: Passage) -> float:
    """Share of the first ``PASSAGE_WORDS`` words that occur once (hapax legomena)."""
    counts = Counter(passage.words[:PASSAGE_WORDS])
    return sum(count == 1 for count in counts.values()) / max(1, sum(counts.values()))


def _distinct(n: int) -> Callable[[Passage], float]:
    return lambda passage: distinct(passage.words[:PASSAGE_WORDS], n)


CANDIDATES = (
    Measure("dialogue share", "share of words", lambda p: dialogue_share(p.text, p.quotes), expected=-1, order=True),
    Measure("concreteness", "share of nouns", concreteness, expected=-1),
    Measure("connectives", "per 1,000 words", per_thousand(CONNECTIVES), expected=1, order=True),
    Measure("hedges", "per 1,000 words", per_thousand(HEDGES), expected=1, order=True),
    Measure("stock phrases", "per 1,000 words", per_thousand(STOCK), expected=1, order=True),
    Measure("closing morals", "per 1,000 words", closing_morals, "story", expected=1, order=True),
    Measure("sentence length", "words", sentence_length),
    Measure("sentence variation", "sd / mean", sentence_variation, expected=-1),
    Measure("short sentences", "share", short_sentences),
    Measure("word length", "letters", word_length, expected=1),
    Measure("vocabulary", "types / 50 words", moving_types, expected=-1, order=True),
    Measure("words used once", "share", once_words, expected=-1),
    Measure("distinct-2", "share", _distinct(2), expected=-1, order=True),
    Measure("distinct-4", "share", _distinct(4), expected=-1, order=True),
    Measure(
        "repeated 12-grams",
        "share of words",
        lambda s: repeated_share(s.words[:STORY_WORDS]),
        "story",
        expected=1,
        order=True,
    ),
    Measure(
        "loop position", "share of text", lambda s: loop_start(s.words[:STORY_WORDS]), "story", expected=-1, order=True
    ),
)
# Reasons about SmolLM2-135M-Instruct; ``benchmarks/style_validation.py`` validates against another model.
_NOT_APART, _WRONG_WAY = "does not tell its stories from novels", "its stories have less, not more"
DROPPED: dict[str, str] = {
    "dialogue share": _NOT_APART,
    "concreteness": _NOT_APART,
    "connectives": _NOT_APART,
    "sentence length": _NOT_APART,
    "hedges": _WRONG_WAY,
    "word length": _WRONG_WAY,
}
MEASURES = tuple(measure for measure in CANDIDATES if measure.name not in DROPPED)

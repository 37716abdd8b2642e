"""Can a classifier tell two groups apart? Folds are disjoint by author, so that it cannot learn the authors.

Two views of a passage, both free of typography (lower case, typewriter quotes):

- ``words``: unigrams and bigrams of all words, tf-idf. It may use subject and period.
- ``form``: function words and punctuation, every other word replaced by ``*`` (text distortion, Stamatatos, 2017), as
  n-grams of up to four. What remains is sentence structure.

An accuracy near 50 % means that generations cannot be told from the novels. It is balanced over the two groups.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from polaris_jax.errors import InputError
from polaris_jax.evals.intervals import percentiles
from polaris_jax.scaffold.analysis.lexicons import FUNCTION_WORDS
from polaris_jax.studies.style.stories import Passage

FOLDS = 5
RESAMPLES = 2_000
_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[^\w\s]")
_WORD_START = re.compile(r"\w")


@dataclass(frozen=True)
class Accuracy:
    """Balanced accuracy on held-out authors, its 95 % interval, and the numbers of passages and folds."""

    value: float
    low: float
    high: float
    passages: int
    folds: int


def words_view(passage: Passage) -> str:
    """All words, without punctuation."""
    return " ".join(passage.words)


def form_view(passage: Passage) -> str:
    """Function words and punctuation as they are, other words as ``*``."""
    tokens = _TOKEN.findall(passage.plain)
    return " ".join(token if token in FUNCTION_WORDS or not _WORD_START.match(token) else "*" for token in tokens)


VIEWS: dict[str, tuple[Callable[[Passage], str], tuple[int, int]]] = {
    "words": (words_view, (1, 2)),
    "form": (form_view, (1, 4)),
}


def accuracy(
    a: Sequence[Passage],
    b: Sequence[Passage],
    view: str = "form",
    *,
    groups_a: Sequence[str] | None = None,
    groups_b: Sequence[str] | None = None,
    seed: int = 0,
) -> Accuracy:
    """Held-out balanced accuracy of logistic regression between two groups of passages.

    Args:
      view: ``words`` or ``form``.
      groups_a, groups_b: labels that no fold may split; default the authors.

    Raises:
      InputError: fewer than two authors (or labels) in a group, or scikit-learn is not installed.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedGroupKFold
        from sklearn.pipeline import make_pipeline
    except ImportError:
        raise InputError("scikit-learn", None, "the classifier needs it: pip install polaris-jax[evals]") from None

    read, ngrams = VIEWS[view]
    texts = [read(p) for p in (*a, *b)]
    truth = np.array([1] * len(a) + [0] * len(b))
    groups = np.array([*(groups_a or [p.author for p in a]), *(groups_b or [p.author for p in b])], object)
    fewest = min(len(set(groups[truth == side].tolist())) for side in (0, 1))
    if fewest < 2:
        raise InputError("passages", fewest, "author-disjoint folds need at least two authors in each group")
    folds = min(FOLDS, fewest)
    right = np.zeros(len(texts), bool)
    ids = np.unique(groups, return_inverse=True)[1]
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for train, test in splitter.split(texts, truth, ids):
        model = make_pipeline(
            TfidfVectorizer(token_pattern=r"\S+", ngram_range=ngrams, sublinear_tf=True, min_df=2, max_features=30_000),
            LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000),
        )
        model.fit([texts[i] for i in train], truth[train])
        right[test] = model.predict([texts[i] for i in test]) == truth[test]
    return _balanced(right, truth, ids, folds, seed)


def _balanced(right: np.ndarray, truth: np.ndarray, ids: np.ndarray, folds: int, seed: int) -> Accuracy:
    rng = np.random.default_rng(seed)
    value, draws = 0.0, np.zeros(RESAMPLES)
    for side in (0, 1):
        mine = ids[truth == side]
        names = np.unique(mine)
        hits = np.array([right[(ids == name) & (truth == side)].sum() for name in names], float)
        sizes = np.array([(mine == name).sum() for name in names], float)
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES)
        value += 0.5 * float(hits.sum() / sizes.sum())
        draws += 0.5 * (drawn @ hits) / (drawn @ sizes)
    return Accuracy(value, *percentiles(draws, 0.95, value), len(right), folds)

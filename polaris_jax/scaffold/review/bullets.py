"""The verdict on one bullet: its score from 0 to 1, and its faults."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from polaris_jax.scaffold.analysis.lexicons import FUNCTION_WORDS
from polaris_jax.scaffold.analysis.novel_stats import NovelStats
from polaris_jax.scaffold.analysis.sentences import WORD
from polaris_jax.scaffold.llm import prompts
from polaris_jax.scaffold.review.grammar import mistakes
from polaris_jax.scaffold.review.support import root, support

GOOD = 0.5  # a bullet with a lower score is bad
_SAME = 0.8  # share of common words from which on two bullets say the same
# What the comparison of words is worth by itself, on the labels for development: of 51 bullets without a fault of
# support 43 are good, of 23 with a plain one one is.
_WORTH = (0.05, 0.8)
_MODEL_WORTH = (0.06, 0.94)  # a sure model overrules words that find nothing, but not a plain fault
ABOUT_SUPPORT = ("unsupported", "referent", "gender", "negation")  # kinds of faults
_VAGUE_OPENINGS = ("it ", "this ", "that ", "these ", "neither ", "such ")


@dataclass(frozen=True)
class BulletVerdict:
    """The verdict on a bullet.

    Attributes:
      line: the bullet.
      score: 0-1; below ``GOOD`` it should not be trained on.
      faults: kind -> how sure it is, 0-1: ``grammar``, ``duplicate``, ``unsupported``, ``referent``, ``gender``,
        ``negation``, ``vague``, ``copied``, ``entailment`` (a model: the passage does not support it).
      supported: 0-1, whether the prose says it, by the comparison of words and the model, if one was asked.
      why: the most certain fault in words, or empty.
    """

    line: str
    score: float
    faults: dict[str, float]
    supported: float
    why: str = ""


@lru_cache(maxsize=1 << 14)
def content_roots(line: str) -> frozenset[str]:
    """The roots of a bullet's content words, for comparing bullets."""
    return frozenset(root(word.lower()) for word in WORD.findall(line) if word.lower() not in FUNCTION_WORDS)


def alike(mine: frozenset[str], other: frozenset[str]) -> float:
    """Similarity of two bullets, 0-1: the share of common words, by their roots."""
    return len(mine & other) / len(mine | other) if mine | other else 0.0


def judge_bullet(
    line: str, scene: str, stats: NovelStats, beside: Sequence[str] = (), entailed: float | None = None
) -> BulletVerdict:
    """Judges a bullet by the prose it is about.

    The score is the product of ``1 - fault`` over all faults. If a model was asked, the faults of support (unsupported,
    referent, gender, negation) first become one probability, which is pooled with the model's (``pooled``).

    Args:
      scene: that prose.
      stats: measurements of the whole novel.
      beside: the other bullets of the card; two that say the same are both duplicates.
      entailed: a model's probability that the scene supports the bullet; None if it gave none.
    """
    found = support(line, scene, stats)
    wrong = mistakes(line, stats)
    mine = content_roots(line)
    same = max((alike(mine, content_roots(other)) for other in beside), default=0.0)
    faults = {
        "grammar": 0.8 if wrong else 0.0,
        "duplicate": min(1.0, same / _SAME) ** 4 if same > 0.5 else 0.0,
        "unsupported": 0.9 if found.unknown else _unsupported(found.words, found.scene, found.stranger),
        "referent": found.referent,
        "gender": found.gender,
        "negation": 0.9 * found.denial,
        "vague": _vague(line, mine, stats),
        "copied": 0.6 if stats.copies(line) is not None else 0.0,
    }
    supported = math.prod(1.0 - faults[kind] for kind in ABOUT_SUPPORT)
    others = math.prod(1.0 - sure for kind, sure in faults.items() if kind not in ABOUT_SUPPORT)
    if entailed is not None:
        supported = pooled(supported, entailed)
        faults["entailment"] = 1.0 - entailed
    worst = max(faults, key=faults.__getitem__)
    detail = f": {wrong[0]}" if worst == "grammar" and wrong else ""
    why = f"{worst}{detail}" if faults[worst] >= 0.3 else ""
    return BulletVerdict(
        line, supported * others, {kind: one for kind, one in faults.items() if one > 0}, supported, why
    )


def pooled(compared: float, entailed: float) -> float:
    """Joins two probabilities of support by the sum of their log-odds, each within what it is worth.

    Args:
      compared: by the comparison of words. entailed: by a model.
    """
    return 1.0 / (1.0 + math.exp(-_log_odds(compared, _WORTH) - _log_odds(entailed, _MODEL_WORTH)))


def _log_odds(probability: float, worth: tuple[float, float]) -> float:
    least, most = worth
    inside = min(most, max(least, probability))
    return math.log(inside / (1.0 - inside))


def _unsupported(near: float, scene: float, stranger: float) -> float:
    """How sure it is that the scene does not say it, by the bullet's words that the scene lacks."""
    return min(1.0, max(0.0, 0.45 * stranger + (0.32 - 0.5 * (near + scene)) / 0.2, 0.45 * stranger))


def _vague(line: str, mine: frozenset[str], stats: NovelStats) -> float:
    """How sure it is that the bullet would fit any book."""
    low = line.lower()
    if any(phrase in low for phrase in prompts.forbidden()):
        return 0.9
    words = [word.lower() for word in WORD.findall(line)]
    told = sum(stats.weight(word) > 0 or word not in stats.vocabulary for word in set(words) - FUNCTION_WORDS)
    if line.startswith("“"):
        said = [word.lower() for word in WORD.findall(line.partition("”")[0])]
        speaker = not {"says", "asks"}.isdisjoint(words)
        if not any(stats.weight(word) > 0 for word in said) or (told < 2 and not speaker):
            return 0.6
    if low.startswith(_VAGUE_OPENINGS) and not stats.mentions(line):
        return 0.5
    return 0.5 if told < 2 else 0.0

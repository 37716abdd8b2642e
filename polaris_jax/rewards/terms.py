"""The terms of the reward in one table: name, weight, title, and how a term is measured.

``score`` adds them up, ``metrics.jsonl`` and the report name them, and ``rl.auto_weights`` changes their weights. All
read this table, so a new term is one row here and one weight in ``RewardSpec``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from polaris_jax.rewards.length import Length
from polaris_jax.rewards.repetition import Repetition
from polaris_jax.rewards.spec import RewardSpec


@dataclass(frozen=True)
class MeasuredStory:
    """The input of a term: the story without its thinking, its prompt, and measurements that all terms share."""

    story: str
    prompt: str
    repetition: Repetition
    length: Length


@dataclass(frozen=True)
class RewardTerm:
    """One term.

    Attributes:
      name: the component's name in a ``RewardBreakdown`` and in ``metrics.jsonl``.
      weight: the field of ``RewardSpec`` that it is multiplied by.
      title: the name in reports.
      measure: computes its value before the weight; None for the judge's term.
      penalty: whether it is subtracted.
    """

    name: str
    weight: str
    title: str
    measure: Callable[[MeasuredStory], float] | None
    penalty: bool = False


QUALITY = RewardTerm("story_quality", "quality_weight", "Story Quality (judge)", None)
TERMS: tuple[RewardTerm, ...] = (
    QUALITY,
    RewardTerm(
        "self_rep", "repetition_weight", "self-repetition penalty", lambda story: story.repetition.penalty, penalty=True
    ),
    RewardTerm(
        "length_pen", "length_weight", "length penalty", lambda story: story.length.length_penalty, penalty=True
    ),
    RewardTerm("blank_pen", "blank_weight", "blank penalty", lambda story: story.length.blank_penalty, penalty=True),
    RewardTerm("length_reward", "length_reward_weight", "length reward", lambda story: story.length.length_reward),
)
COMPONENTS: tuple[str, ...] = tuple(term.name for term in TERMS)
WEIGHTS: dict[str, str] = {term.name: term.weight for term in TERMS}


def measure(story: MeasuredStory) -> dict[str, float]:
    """The value of every term except the judge's, before its weight."""
    return {term.name: term.measure(story) for term in TERMS if term.measure is not None}


def weighted(measured: Mapping[str, float], spec: RewardSpec) -> float:
    """The weighted sum of the measured terms; penalties are subtracted."""
    gains = penalties = 0.0
    for term in TERMS:
        if term.name in measured:
            value = getattr(spec, term.weight) * measured[term.name]
            gains, penalties = (gains, penalties + value) if term.penalty else (gains + value, penalties)
    return gains - penalties

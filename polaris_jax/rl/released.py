"""The released trainer's update, defects included, for comparison with the intended one (``rl.as_released``).

``released_trainer`` switches off the corrections that the released trainer lacks. ``GroupRules`` defines how a step's
rows count in the loss as intended, ``ReleasedRules`` as released: human references have an empty mask, so they are
inert; a failed judgement is a score of 0; and the loss depends on which rows share a micro-batch. ``rewards.released``
does the same for the reward.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from polaris_jax.rl.aggregation import aggregation_weights
from polaris_jax.rl.schedules import WeightSchedule

if TYPE_CHECKING:
    from polaris_jax.rl.config import RlConfig
    from polaris_jax.rl.groups import Member

MICRO_ROWS = 2  # rows per micro-batch


def released_trainer(config: "RlConfig") -> "RlConfig":
    """``config`` without what the released trainer lacks: floors, limits, corrections and cloning."""
    absent: dict[str, Any] = dict.fromkeys(("std_floor", "human_reference_limit", "correction_limit"), 0.0)
    absent |= {"human_reference_floor": None, "cloning": WeightSchedule(0.0)}
    return replace(config, rl=replace(config.rl, **absent))


class GroupRules:
    """As intended: a row without a scalar counts in no statistic and has no share of the loss."""

    keeps_rows_without_advantage = False

    def order(self, members: Sequence["Member"], seed: int, step: int) -> list["Member"]:
        """The order of the members in the loss; as intended it makes no difference."""
        return list(members)

    def score(self, member: "Member") -> float:
        """The member's score for the group's statistics; it counts only when ``valid``."""
        return 0.0 if member.scalar is None else member.scalar

    def valid(self, member: "Member") -> bool:
        """Whether its score is in the group's statistics."""
        return member.scalar is not None

    def counts(self, member: "Member") -> bool:
        """Whether its tokens are in the loss."""
        return member.scalar is not None

    def shares(self, mask: np.ndarray, config: "RlConfig") -> np.ndarray:
        """The share of every token in the loss, ``[B, T] float32``, from its mask."""
        return aggregation_weights(mask, config.rl.aggregation, width=config.rollout.max_tokens)


class ReleasedRules(GroupRules):
    """As released; see the module."""

    keeps_rows_without_advantage = True

    def order(self, members: Sequence["Member"], seed: int, step: int) -> list["Member"]:
        """A random order: the released length balancer chooses who shares a micro-batch practically by chance."""
        return [members[index] for index in np.random.default_rng([seed, step]).permutation(len(members))]

    def score(self, member: "Member") -> float:
        """A failed judgement and a human reference score 0."""
        return 0.0 if member.scalar is None or member.is_human_reference else member.scalar

    def valid(self, member: "Member") -> bool:
        """Every row."""
        return True

    def counts(self, member: "Member") -> bool:
        """Rollouts."""
        return not member.is_human_reference

    def shares(self, mask: np.ndarray, config: "RlConfig") -> np.ndarray:
        """See ``micro_batch_weights``."""
        return micro_batch_weights(mask, MICRO_ROWS)


def group_rules(config: "RlConfig") -> GroupRules:
    """The rules that ``rl.as_released`` chooses."""
    return ReleasedRules() if config.rl.as_released else GroupRules()


def micro_batch_weights(mask: np.ndarray, rows: int) -> np.ndarray:
    """Token shares for the mean, over micro-batches of ``rows`` rows, of their token means.

    The loss then depends on which rows share a micro-batch. A micro-batch without any token is 0/0: its shares are NaN,
    and so is the step's loss.
    """
    mask = np.asarray(mask, np.float64)
    parts = np.split(mask, range(rows, len(mask), rows))
    with np.errstate(invalid="ignore"):
        return np.concatenate([part / np.float64(part.sum()) for part in parts]).astype(np.float32) / len(parts)

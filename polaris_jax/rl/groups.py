"""A step's groups: who is in them, what their rows weigh, and the batch that the learner gets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ml_collections import ConfigDict

from polaris_jax.rl.advantages import group_advantages
from polaris_jax.rl.aggregation import aggregation_weights, micro_batch_weights
from polaris_jax.rl.journal import Reward, Rollout
from polaris_jax.rl.objective import FIELDS
from polaris_jax.rl.rollouts import Wanted
from polaris_jax.rl.rows import Row

RELEASED_MICRO_ROWS = 2  # rows per micro-batch of the released trainer


@dataclass(frozen=True)
class Member:
    """One row of a group: a rollout with its reward, or (``rollout`` None) the reference with its own."""

    wanted: Wanted
    rollout: Rollout | None
    reward: Reward | None

    @property
    def is_reference(self) -> bool:
        """Whether a human wrote it."""
        return self.rollout is None

    @property
    def row(self) -> Row:
        """Its tokens."""
        response = self.wanted.task.reference if self.rollout is None else self.rollout.tokens
        return Row(self.wanted.prompt, response)

    @property
    def scalar(self) -> float | None:
        """Its reward; None when the judgement failed."""
        return None if self.reward is None else self.reward.scalar


@dataclass(frozen=True)
class Batch:
    """What the learner gets: rows and, per row and field of ``objective.FIELDS``, one number per response token."""

    rows: list[Row]
    fields: dict[str, list[np.ndarray]]


def wanted_rows(tasks: Sequence, config: ConfigDict, references: bool) -> tuple[list[Wanted], list[Wanted]]:
    """Who is to be in the groups of a step: rollouts, and references (member -1)."""
    rollouts, found = [], []
    for place, task in enumerate(tasks):
        group = f"{place}/{task.uid}"
        size = config.rl.group_size
        if references and task.reference is not None:
            found.append(Wanted(group, -1, task))
            size -= 1
        prefixed = config.rl.think_prefix if task.thoughts is not None else 0
        rollouts += [Wanted(group, member, task, member >= size - prefixed) for member in range(size)]
    return rollouts, found


def member_advantages(members: Sequence[Member], config: ConfigDict, reference_weight: float) -> np.ndarray:
    """``[B] float32``: advantages within the groups, those of references times their weight."""
    released = config.rl.as_released
    scores = [0.0 if member.scalar is None or (released and member.is_reference) else member.scalar
              for member in members]
    reference = np.array([member.is_reference for member in members])
    advantages = group_advantages(
        scores, [member.wanted.group for member in members], reference=reference,
        valid=[released or member.scalar is not None for member in members],
        exclude_references=config.rl.exclude_references, normalise=config.rl.normalise,
        std_floor=0.0 if released else config.rl.std_floor,
        reference_limit=0.0 if released else config.rl.reference_limit)
    return advantages * np.where(reference, reference_weight, 1.0).astype(np.float32)


def make_batch(
    members: Sequence[Member], advantages: np.ndarray, config: ConfigDict, *, cloning: float = 0.0,
    old: Sequence[np.ndarray] | None = None, anchor: Sequence[np.ndarray] | None = None,
) -> Batch:
    """The batch of an update. Shares of the loss are fixed here, over all of ``members``.

    As released, references have an empty mask: no share, and a micro-batch of two of them is 0/0.

    Args:
      advantages: ``[B]``. cloning: coefficient of the references' negative log-likelihood.
      old, anchor: per member, log-probabilities of its response under the policy before the step's first update, and
        under the reference policy.
    """
    released, reference = config.rl.as_released, [member.is_reference for member in members]
    lengths = [len(member.row.response) for member in members]
    mask = np.zeros((len(members), max(lengths)), np.float32)
    for index, member in enumerate(members):
        counts = not reference[index] if released else member.scalar is not None
        # References without a weight are in the batch for cloning alone.
        mask[index, :lengths[index]] = counts and not (reference[index] and cloning and advantages[index] == 0)
    shares = (micro_batch_weights(mask, RELEASED_MICRO_ROWS) if released
              else aggregation_weights(mask, config.rl.aggregation, width=config.rollout.max_tokens))
    cloned = np.zeros_like(mask)
    if cloning and not released:  # the released trainer has no such term
        for index, member in enumerate(members):
            cloned[index, :lengths[index]] = member.is_reference
        cloned = cloning * aggregation_weights(cloned)
    keep = [index for index in range(len(members))
            if (not np.all(shares[index] == 0) and (advantages[index] != 0 or config.rl.kl_coef or released))
            or cloned[index].any()] or [0]

    def row_fields(index: int) -> dict[str, np.ndarray]:
        length, rollout = lengths[index], members[index].rollout
        zeros = np.zeros(length, np.float32)
        return {
            "weights": shares[index, :length],
            "advantages": np.full(length, advantages[index], np.float32),
            "old": zeros if old is None else old[index],
            "drawn": zeros if rollout is None else zeros + 1,
            "behaviour": zeros if rollout is None else rollout.logprobs,
            "cloning": cloned[index, :length],
            "anchor": zeros if anchor is None else anchor[index],
        }

    rows = [row_fields(index) for index in keep]
    return Batch([members[index].row for index in keep], {name: [row[name] for row in rows] for name in FIELDS})


def group_metrics(members: Sequence[Member], advantages: np.ndarray) -> dict[str, float]:
    """What the rewards of a step look like; means over rows that have a scalar."""
    policy = [member for member in members if not member.is_reference]
    metrics = {"reward/failed": float(sum(member.scalar is None for member in members)),
               "rollout/tokens": float(np.mean([len(member.rollout.tokens) for member in policy])),
               "rollout/cut_off": float(np.mean([member.rollout.finish == "length" for member in policy]))}
    for name, rows in (("reward/policy", policy),
                       ("reward/reference", [member for member in members if member.is_reference])):
        scored = [member.reward for member in rows if member.scalar is not None]
        if not scored:
            continue
        metrics[name] = float(np.mean([reward.scalar for reward in scored]))
        for part in scored[0].breakdown["components"]:
            values = [reward.breakdown["components"][part] for reward in scored]
            if None not in values:
                metrics[f"{name}/{part}"] = float(np.mean(values))
    errors = [error for member in policy if member.reward and (error := length_error(member.reward)) is not None]
    if errors:
        metrics["length/error"] = float(np.mean(errors))
    ahead = []
    for label in {member.wanted.group for member in members}:
        group = [member for member in members if member.wanted.group == label and member.scalar is not None]
        best = [m.scalar for m in group if not m.is_reference]
        ahead += [m.scalar > max(best) for m in group if m.is_reference and best]
    if ahead:
        metrics["reference/best"] = float(np.mean(ahead))
        metrics["reference/advantage"] = float(np.mean([
            a for a, member in zip(advantages, members, strict=True) if member.is_reference]))
    return metrics


def length_error(reward: Reward) -> float | None:
    """``|log(words / target)|`` of a response (an empty one counts as one word); None as released."""
    said = reward.breakdown["diagnostics"]
    if "words" not in said:
        return None
    return float(abs(np.log(max(said["words"], 1) / max(said["target_words"], 1))))

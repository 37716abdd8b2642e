"""A step's groups: their members, the weights of their rows, and the batch for the learner."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polaris_jax.rl.advantages import group_advantages
from polaris_jax.rl.aggregation import aggregation_weights
from polaris_jax.rl.config import RlConfig
from polaris_jax.rl.journal import Reward, Rollout
from polaris_jax.rl.objective import FIELDS
from polaris_jax.rl.released import group_rules
from polaris_jax.rl.rollouts import RolloutRequest
from polaris_jax.rl.rows import TrainingRow
from polaris_jax.rl.tasks import RlTask


@dataclass(frozen=True)
class Member:
    """One row of a group: a rollout with its reward, or (``rollout`` is None) the human reference with its reward."""

    request: RolloutRequest
    rollout: Rollout | None
    reward: Reward | None

    @property
    def is_human_reference(self) -> bool:
        """Whether a human wrote it."""
        return self.rollout is None

    @property
    def row(self) -> TrainingRow:
        """Its tokens."""
        response = self.request.task.human_reference if self.rollout is None else self.rollout.tokens
        if response is None:
            raise ValueError(f"{self.request.group}: neither a rollout nor a human reference")
        return TrainingRow(self.request.prompt, response)

    @property
    def scalar(self) -> float | None:
        """Its reward; None when the judgement failed."""
        return None if self.reward is None else self.reward.scalar


@dataclass(frozen=True)
class UpdateBatch:
    """The batch of an update: rows and, per row and field of ``objective.FIELDS``, one number per response token.

    ``empty``: no row has anything to learn (all advantages are 0, and there is no cloning); one row stands for all.
    """

    rows: list[TrainingRow]
    fields: dict[str, list[np.ndarray]]
    empty: bool = False


def group_requests(
    tasks: Sequence[RlTask], config: RlConfig, human_references: bool
) -> tuple[list[RolloutRequest], list[RolloutRequest]]:
    """The members of a step's groups: rollouts to write, and human references (member -1)."""
    rollouts: list[RolloutRequest] = []
    found: list[RolloutRequest] = []
    for place, task in enumerate(tasks):
        group = f"{place}/{task.uid}"
        size = config.rl.group_size
        if human_references and task.human_reference is not None:
            found.append(RolloutRequest(group, -1, task))
            size -= 1
        prefixed = config.rl.think_prefix if task.thoughts is not None else 0
        rollouts += [RolloutRequest(group, member, task, member >= size - prefixed) for member in range(size)]
    return rollouts, found


def member_advantages(members: Sequence[Member], config: RlConfig, human_reference_weight: float) -> np.ndarray:
    """``[B] float32``: advantages within the groups. Those of human references are multiplied by their weight (HRI)."""
    rules = group_rules(config)
    human = np.array([member.is_human_reference for member in members])
    advantages = group_advantages(
        [rules.score(member) for member in members],
        [member.request.group for member in members],
        human_reference=human,
        valid=[rules.valid(member) for member in members],
        exclude_human_references=config.rl.exclude_human_references,
        normalise=config.rl.normalise,
        std_floor=config.rl.std_floor,
        human_reference_limit=config.rl.human_reference_limit,
        human_reference_floor=config.rl.human_reference_floor,
    )
    return advantages * np.where(human, human_reference_weight, 1.0).astype(np.float32)


def judged_groups(members: Sequence[Member]) -> tuple[int, int]:
    """The number of groups with at least two judged rollouts (they can be compared), and of all groups."""
    judged: Counter[str] = Counter()
    for member in members:
        judged[member.request.group] += (
            not member.is_human_reference and member.reward is not None and member.reward.failed is None
        )
    return sum(count >= 2 for count in judged.values()), len(judged)


def reference_corrections(members: Sequence[Member], limit: float) -> np.ndarray:
    """``[B] float32``: the mean importance weight of the group's sampled tokens, for human references; 1 for rollouts.

    The objective weighs a sampled token by ``min(pi/mu, limit)``. Top-k, top-p and a repetition penalty push this below
    1 (the recipe's filters to a mean of 0.95, others to 0.08). A human reference has no such weights. Multiplied by
    their mean, it has the weight beside its group that its schedule gives.

    Here ``pi`` is the sampler's model: the learner's differs from it by rounding, and would need a forward pass of its
    own before the update.
    """
    weights: dict[str, list[np.ndarray]] = {}
    for member in members:
        if member.rollout is not None and member.scalar is not None:
            ratio = np.exp(np.asarray(member.rollout.model_logprobs, np.float64) - member.rollout.logprobs)
            weights.setdefault(member.request.group, []).append(np.minimum(ratio, limit))
    means = {group: float(np.mean(np.concatenate(parts))) for group, parts in weights.items()}
    return np.array(
        [means.get(member.request.group, 1.0) if member.is_human_reference else 1.0 for member in members], np.float32
    )


def make_batch(
    members: Sequence[Member],
    advantages: np.ndarray,
    config: RlConfig,
    *,
    cloning: float = 0.0,
    old: Sequence[np.ndarray] | None = None,
    reference_logprobs: Sequence[np.ndarray] | None = None,
) -> UpdateBatch:
    """Builds the batch of an update. Shares of the loss are fixed here, over all ``members``.

    Args:
      advantages: ``[B]``. cloning: coefficient of the human references' negative log-likelihood.
      old, reference_logprobs: per member, log-probabilities (nats) of its response under the policy before the step's
        first update, and under the reference policy.
    """
    rules, human = group_rules(config), [member.is_human_reference for member in members]
    lengths = [len(member.row.response) for member in members]
    mask = np.zeros((len(members), max(lengths)), np.float32)
    for index, member in enumerate(members):
        # Human references without a weight are in the batch only for cloning.
        mask[index, : lengths[index]] = rules.counts(member) and not (
            human[index] and cloning and advantages[index] == 0
        )
    shares = rules.shares(mask, config)
    cloned = np.zeros_like(mask)
    if cloning:
        for index, member in enumerate(members):
            cloned[index, : lengths[index]] = member.is_human_reference
        cloned = np.float32(cloning) * aggregation_weights(cloned)
    keep = [
        index
        for index in range(len(members))
        if (
            not np.all(shares[index] == 0)
            and (advantages[index] != 0 or config.rl.kl_coef or rules.keeps_rows_without_advantage)
        )
        or cloned[index].any()
    ]

    def row_fields(index: int) -> dict[str, np.ndarray]:
        length, rollout = lengths[index], members[index].rollout
        zeros = np.zeros(length, np.float32)
        return {
            "weights": shares[index, :length],
            "advantages": np.full(length, advantages[index], np.float32),
            "old": zeros if old is None else old[index],
            "sampled": zeros if rollout is None else zeros + 1,
            "behaviour": zeros if rollout is None else rollout.logprobs,
            "cloning": cloned[index, :length],
            "reference_logprobs": zeros if reference_logprobs is None else reference_logprobs[index],
        }

    shown = keep or [0]
    rows = [row_fields(index) for index in shown]
    fields = {name: [row[name] for row in rows] for name in FIELDS}
    return UpdateBatch([members[index].row for index in shown], fields, empty=not keep)


def group_metrics(members: Sequence[Member], advantages: np.ndarray) -> dict[str, float]:
    """Statistics of a step's rewards; means are over rows that have a scalar."""
    rollouts = [member.rollout for member in members if member.rollout is not None]
    policy = [member.reward for member in members if not member.is_human_reference]
    human = [member.reward for member in members if member.is_human_reference]
    kinds = Counter(member.reward.failed for member in members if member.reward is not None and member.reward.failed)
    judged, groups = judged_groups(members)
    metrics = {
        "reward/failed": float(sum(member.scalar is None for member in members)),
        **{f"judge/failed/{kind}": float(count) for kind, count in sorted(kinds.items())},
        "judge/groups": judged / groups,
        "rollout/tokens": float(np.mean([len(rollout.tokens) for rollout in rollouts])),
        "rollout/cut_off": float(np.mean([rollout.finish == "length" for rollout in rollouts])),
    }
    for name, rewards in (("reward/policy", policy), ("reward/reference", human)):
        scored = [(reward, reward.scalar) for reward in rewards if reward is not None and reward.scalar is not None]
        if not scored:
            continue
        metrics[name] = float(np.mean([scalar for _, scalar in scored]))
        for part in scored[0][0].breakdown["components"]:
            values = [reward.breakdown["components"][part] for reward, _ in scored]
            if None not in values:
                metrics[f"{name}/{part}"] = float(np.mean(values))
    errors = [error for reward in policy if reward is not None and (error := length_error(reward)) is not None]
    if errors:
        metrics["length/error"] = float(np.mean(errors))
    for name, rewards, field in (
        ("length/words", policy, "words"),
        ("length/target", policy, "target_words"),
        ("length/reference", human, "words"),
    ):
        said = [reward.breakdown["diagnostics"].get(field) for reward in rewards if reward is not None]
        if counted := [value for value in said if value is not None]:
            metrics[name] = float(np.mean(counted))
    ahead: list[bool] = []
    for label in {member.request.group for member in members}:
        scores = [
            (member.scalar, member.is_human_reference)
            for member in members
            if member.request.group == label and member.scalar is not None
        ]
        best = [scalar for scalar, by_human in scores if not by_human]
        ahead += [scalar > max(best) for scalar, by_human in scores if by_human and best]
    if ahead:
        metrics["reference/best"] = float(np.mean(ahead))
        metrics["reference/advantage"] = float(
            np.mean([a for a, member in zip(advantages, members, strict=True) if member.is_human_reference])
        )
    return metrics


def length_error(reward: Reward) -> float | None:
    """``|log(words / target)|`` of a response (an empty one is one word); None as released or without a target."""
    said = reward.breakdown["diagnostics"]
    if "words" not in said or said["target_words"] is None:
        return None
    return float(abs(np.log(max(said["words"], 1) / max(said["target_words"], 1))))

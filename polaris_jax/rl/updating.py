"""From a step's groups to new weights: the policy update (GRPO) and the preference update (ORPO)."""

from typing import Any

import numpy as np
from ml_collections import ConfigDict

from polaris_jax.errors import InputError
from polaris_jax.rl.groups import Member, group_metrics, make_batch, member_advantages
from polaris_jax.rl.learner import Learner, Objective
from polaris_jax.rl.objective import GrpoOptions, linear, readable
from polaris_jax.rl.preference import cotangents
from polaris_jax.training import TrainState

_KEPT = ("loss", "grad_norm", "update_norm", "learning_rate", "skipped_steps")


def grpo_options(config: ConfigDict) -> GrpoOptions:
    """The objective's constants; as released the ratio is 1 whatever the configuration, and nothing is corrected."""
    rl = config.rl
    return GrpoOptions(
        on_policy=rl.epochs * rl.minibatches == 1, clip_low=rl.clip_low, clip_high=rl.clip_high,
        dual_clip=rl.dual_clip, correction_limit=0.0 if rl.as_released else rl.correction_limit,
        kl_coef=rl.kl_coef, kl_estimator=rl.kl_estimator)


def policy_update(
    learner: Learner, state: TrainState, members: list[Member], objective: Objective, *, step: int,
    reference_weight: float, cloning: float, anchor: Any = None,
) -> tuple[TrainState, dict[str, float]]:
    """``epochs x minibatches`` updates on a step's groups; ``state`` is donated.

    With more than one, the ratio's old log-probabilities come from the learner before the first. An update whose
    gradients are not finite changes nothing and is counted (``skipped_steps``).

    Args:
      objective: ``objective.grpo(grpo_options(config))``, made once.
      anchor: weights of the reference policy, needed when ``kl_coef`` is not 0.
    """
    config = learner.config
    if config.rl.as_released:  # its length balancer decides who shares a micro-batch: as good as at random
        order = np.random.default_rng([config.seed, step]).permutation(len(members))
        members = [members[index] for index in order]
    advantages = member_advantages(members, config, reference_weight)
    metrics = group_metrics(members, advantages)
    once = config.rl.epochs * config.rl.minibatches == 1
    rows = None if once and not config.rl.kl_coef else learner.pack([member.row for member in members])
    old = None if once else learner.logprobs(learner.working(state), rows)
    reference = learner.logprobs(anchor, rows) if config.rl.kl_coef else None
    labels = list(dict.fromkeys(member.wanted.group for member in members))
    updates = []
    for epoch in range(config.rl.epochs):
        order = np.random.default_rng([config.seed, step, epoch]).permutation(len(labels))
        for part in np.array_split(order, config.rl.minibatches):
            chosen = {labels[index] for index in part}
            here = [i for i, member in enumerate(members) if member.wanted.group in chosen]
            batch = make_batch([members[i] for i in here], advantages[here], config, cloning=cloning,
                               old=old and [old[i] for i in here], anchor=reference and [reference[i] for i in here])
            packed = learner.pack(batch.rows).with_fields(batch.fields)
            state, numbers = learner.update(state, packed, objective)
            updates.append(readable(numbers) | {name: numbers[name] for name in _KEPT} | {
                "batch/fill": packed.plan.fill})
    return state, metrics | {name: float(np.mean([update[name] for update in updates])) for name in updates[0]}


def preference_update(
    learner: Learner, state: TrainState, members: list[Member],
) -> tuple[TrainState, dict[str, float]]:
    """One ORPO update: in every group the reference is preferred over each draft; ``state`` is donated.

    Raises:
      InputError: no group has a reference.
    """
    human = {member.wanted.group: i for i, member in enumerate(members) if member.is_reference}
    pairs = [(human[member.wanted.group], i) for i, member in enumerate(members)
             if not member.is_reference and member.wanted.group in human]
    if not pairs:
        raise InputError("config.rl.objective", "orpo", "no task of this step has a human text to prefer")
    packed = learner.pack([member.row for member in members])
    logprobs = learner.logprobs(learner.working(state), packed)
    metrics, weights = cotangents(logprobs, *zip(*pairs, strict=True), learner.config.rl.orpo_beta)
    state, numbers = learner.update(state, packed.with_fields({"cotangents": weights}), linear)
    numbers |= {"loss": metrics["loss"]}
    drafts = [member.rollout for member in members if not member.is_reference]
    return state, {f"orpo/{name}": value for name, value in metrics.items()} | numbers | {
        "batch/fill": packed.plan.fill, "tokens": float(sum(map(len, logprobs))),
        "rollout/tokens": float(np.mean([len(draft.tokens) for draft in drafts]))}

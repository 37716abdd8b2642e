"""Updates the weights from a step's groups: the policy update (GRPO) and the preference update (ORPO)."""

from typing import Any

import numpy as np

from polaris_jax.rl.config import RlConfig
from polaris_jax.rl.groups import Member, group_metrics, make_batch, member_advantages, reference_corrections
from polaris_jax.rl.learner import Learner
from polaris_jax.rl.objective import SUMS, GrpoOptions, linear, readable
from polaris_jax.rl.preference import cotangents
from polaris_jax.rl.released import group_rules
from polaris_jax.training import TrainState
from polaris_jax.training.step import Objective

SKIPPED = ("skipped_steps", "skipped_in_a_row")  # counters, not means
# Metrics of a step without an update.
NO_UPDATE = {"loss": 0.0, "grad_norm": 0.0, "update_norm": 0.0, "tokens": 0.0, "skipped_in_a_row": 0.0}


def grpo_options(config: RlConfig) -> GrpoOptions:
    """The objective's constants."""
    rl = config.rl
    return GrpoOptions(
        on_policy=rl.epochs * rl.minibatches == 1,
        clip_low=rl.clip_low,
        clip_high=rl.clip_high,
        dual_clip=rl.dual_clip,
        correction_limit=rl.correction_limit,
        kl_coef=rl.kl_coef,
        kl_estimator=rl.kl_estimator,
    )


def policy_update(
    learner: Learner,
    state: TrainState,
    members: list[Member],
    objective: Objective,
    *,
    step: int,
    human_reference_weight: float,
    cloning: float,
    reference_params: Any = None,
) -> tuple[TrainState, dict[str, float]]:
    """``epochs x minibatches`` updates on a step's groups; ``state`` is donated.

    With more than one, the learner computes the ratio's old log-probabilities before the first. An update with
    non-finite gradients changes nothing and is counted (``skipped_steps``). ``update/empty`` is the share of updates
    in which no row has anything to learn.

    Args:
      objective: ``objective.grpo(grpo_options(config))``, made once.
      reference_params: weights of the reference policy, needed when ``kl_coef`` is not 0.
    """
    config = learner.config
    members = group_rules(config).order(members, config.seed, step)
    advantages = member_advantages(members, config, human_reference_weight)
    metrics = group_metrics(members, advantages)
    once = config.rl.epochs * config.rl.minibatches == 1
    old = reference = None
    corrected = bool(config.rl.correction_limit) and any(
        member.is_human_reference and a for member, a in zip(members, advantages, strict=True)
    )
    if corrected:
        shares = reference_corrections(members, config.rl.correction_limit)
        human = [share for share, member in zip(shares, members, strict=True) if member.is_human_reference]
        metrics["reference/correction"] = float(np.mean(human))
        advantages = advantages * shares
    if config.rl.kl_coef or not once:
        rows = learner.pack([member.row for member in members])
        old = None if once else learner.logprobs(learner.working(state), rows, state.frozen)
        reference = learner.logprobs(reference_params, rows, state.frozen) if config.rl.kl_coef else None
    labels = list(dict.fromkeys(member.request.group for member in members))
    updates, empty = [], []
    for epoch in range(config.rl.epochs):
        order = np.random.default_rng([config.seed, step, epoch]).permutation(len(labels))
        for part in np.array_split(order, config.rl.minibatches):
            chosen = {labels[index] for index in part}
            here = [i for i, member in enumerate(members) if member.request.group in chosen]
            batch = make_batch(
                [members[i] for i in here],
                advantages[here],
                config,
                cloning=cloning,
                old=old and [old[i] for i in here],
                reference_logprobs=reference and [reference[i] for i in here],
            )
            empty.append(batch.empty)
            packed = learner.pack(batch.rows).with_fields(batch.fields)
            state, numbers = learner.update(state, packed, objective)
            others = {name: value for name, value in numbers.items() if name not in SUMS}
            updates.append(readable(numbers) | others | {"batch/fill": packed.plan.fill})
    metrics["update/empty"] = float(np.mean(empty))
    means = {name: float(np.mean([update[name] for update in updates])) for name in updates[0]}
    return state, metrics | means | {name: updates[-1][name] for name in SKIPPED}


def preference_update(
    learner: Learner,
    state: TrainState,
    members: list[Member],
) -> tuple[TrainState, dict[str, float]]:
    """One ORPO update: every group's human reference is preferred over each draft; ``state`` is donated.

    If no group of a step has a human reference, there is no update and ``orpo/pairs`` is 0.
    """
    human = {member.request.group: i for i, member in enumerate(members) if member.is_human_reference}
    pairs = [
        (human[member.request.group], i)
        for i, member in enumerate(members)
        if not member.is_human_reference and member.request.group in human
    ]
    drafts = [member.rollout for member in members if member.rollout is not None]
    about = {
        "orpo/pairs": float(len(pairs)),
        "rollout/tokens": float(np.mean([len(draft.tokens) for draft in drafts])),
        "rollout/cut_off": float(np.mean([draft.finish == "length" for draft in drafts])),
    }
    if not pairs:
        return state, about | NO_UPDATE | {"update/empty": 1.0}
    packed = learner.pack([member.row for member in members])
    logprobs = learner.logprobs(learner.working(state), packed, state.frozen)
    chosen, rejected = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    metrics, weights = cotangents(logprobs, chosen, rejected, learner.config.rl.orpo_beta)
    state, numbers = learner.update(state, packed.with_fields({"cotangents": weights}), linear)
    numbers |= {"loss": metrics["loss"]}
    return state, {f"orpo/{name}": value for name, value in metrics.items()} | numbers | about | {
        "batch/fill": packed.plan.fill,
        "tokens": float(sum(map(len, logprobs))),
        "update/empty": 0.0,
    }

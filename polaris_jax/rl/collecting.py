"""A step's groups, complete: responses written, rewards in, everything on disk; judging overlaps writing."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from ml_collections import ConfigDict

from polaris_jax.rewards import RewardSpec, TokenCounts
from polaris_jax.rl.groups import Member, wanted_rows
from polaris_jax.rl.journal import Journal, Rollout
from polaris_jax.rl.rewarding import Rewarder
from polaris_jax.rl.rollouts import Wanted, Writing, seed_of, write_rollouts
from polaris_jax.rl.tasks import Task, count_thoughts, decode_response
from polaris_jax.sampling import Engine, SamplingOptions
from polaris_jax.training.stopping import Stop


class Stopped(Exception):
    """The run was asked to stop while a step was being collected; what was written is on disk."""


@dataclass(frozen=True)
class Collected:
    """What a step learns from, and what getting it took.

    Attributes:
      members: of all groups, the rollouts first, then the references.
      writing: of the rollouts that were not on disk already (``resumed`` were).
      waited: seconds after the last token until the last reward; judged: seconds that threads spent on rewards.
    """

    members: list[Member]
    writing: Writing
    waited: float
    judged: float
    resumed: int


def sampling_options(config: ConfigDict, prefix: str = "") -> SamplingOptions:
    """Of training rollouts, or with the prefix ``validation_`` of those."""
    rollout = config.rollout
    return SamplingOptions(
        temperature=rollout[f"{prefix}temperature"], top_k=rollout[f"{prefix}top_k"],
        top_p=rollout[f"{prefix}top_p"], repetition_penalty=rollout[f"{prefix}repetition_penalty"])


def collect(
    config: ConfigDict, step: int, tasks: Sequence[Task], journal: Journal, engine: Engine,
    rewarder: Rewarder | None, spec: RewardSpec, *, references: bool, options: SamplingOptions | None = None,
    stop: Stop | None = None,
) -> Collected:
    """Writes and scores what ``journal`` does not hold yet.

    Args:
      step: part of every seed.
      rewarder: None: nothing is scored (ORPO needs no rewards).
      references: the human texts join their groups.
      options: of sampling; default the training ones.
      stop: looked at after every rollout.

    Raises:
      Stopped: ``stop`` was asked for.
      BudgetSpent, InputError: from the judge; what is done is on disk.
    """
    rollouts, human = wanted_rows(tasks, config, references)
    tokenizer, pending = engine.sampler.tokenizer, []
    pieces = tokenizer.token_bytes()
    busy = 0.0 if rewarder is None else rewarder.busy

    def ask(item: Wanted, text: str, counts: TokenCounts | None) -> None:
        if rewarder is not None and (item.group, item.member) not in journal.rewards:
            pending.append(rewarder.submit(item.group, item.member, item.task, text, spec, tokens=counts,
                                           done=journal.add))

    def scored(item: Wanted, rollout: Rollout) -> None:
        before = decode_response(tokenizer, item.task.thoughts) if item.prefixed else ""
        given = len(item.task.thoughts) if item.prefixed else 0
        ask(item, before + rollout.text, TokenCounts(
            given + len(rollout.tokens), given or count_thoughts(pieces, rollout.tokens), rollout.finish == "stop"))

    def written(item: Wanted, rollout: Rollout) -> None:
        journal.add(rollout)
        if stop is not None and stop.number:
            raise Stopped
        scored(item, rollout)

    for item in human:
        ask(item, item.task.reference_text, None)
    missing = []
    for number, item in enumerate(rollouts):
        found = journal.rollouts.get((item.group, item.member))
        if found is None:
            missing.append((item, seed_of(config.seed, step, number)))
        else:
            scored(item, found)
    writing = write_rollouts(engine, missing, options or sampling_options(config), config.rollout.max_tokens, written)
    begun = time.perf_counter()
    for future in pending:
        future.result()
    members = [Member(item, journal.rollouts.get((item.group, item.member)),
                      journal.rewards.get((item.group, item.member))) for item in (*rollouts, *human)]
    return Collected(members, writing, time.perf_counter() - begun, 0.0 if rewarder is None else rewarder.busy - busy,
                     len(rollouts) - len(missing))

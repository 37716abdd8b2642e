"""Collects a step's groups: responses, their rewards, and both on disk. Judging overlaps writing.

In a run of several processes, all write the same responses together, on one mesh. Only the first keeps the journal and
asks the judge. It sends the rewards to the others, and an error in it stops all.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from dataclasses import dataclass

from polaris_jax.rewards import RewardSpec, TokenCounts
from polaris_jax.rl.config import RlConfig
from polaris_jax.rl.groups import Member, group_requests
from polaris_jax.rl.journal import Journal, Rollout
from polaris_jax.rl.rewarding import Rewarder
from polaris_jax.rl.rollouts import RolloutRequest, RolloutStats, seed_of, write_rollouts
from polaris_jax.rl.tasks import RlTask, count_thoughts, decode_response
from polaris_jax.sampling import Engine, SamplingOptions
from polaris_jax.training import cluster
from polaris_jax.training.stopping import Stop

_collections = itertools.count()  # equal in all processes, because they collect together
_LOOK = 0.2  # seconds between two checks for a request to stop


class Stopped(Exception):
    """The run was asked to stop while a step was being collected. What was written is on disk."""


@dataclass(frozen=True)
class Collected:
    """The members that a step learns from, and the time it took to collect them.

    Attributes:
      members: the members of all groups: rollouts first, then human references.
      stats: of the rollouts that were not on disk yet; ``resumed`` counts those that were.
      waited: seconds from the last token to the last reward; judged: seconds that threads spent on rewards.
    """

    members: list[Member]
    stats: RolloutStats
    waited: float
    judged: float
    resumed: int


def sampling_options(config: RlConfig, prefix: str = "") -> SamplingOptions:
    """Sampling options of training rollouts; with the prefix ``validation_``, those of validation."""
    names = ("temperature", "top_k", "top_p", "repetition_penalty")
    return SamplingOptions(**{name: getattr(config.rollout, f"{prefix}{name}") for name in names})


def collect(
    config: RlConfig,
    step: int,
    tasks: Sequence[RlTask],
    journal: Journal,
    engine: Engine,
    rewarder: Rewarder | None,
    spec: RewardSpec,
    *,
    human_references: bool,
    options: SamplingOptions | None = None,
    stop: Stop | None = None,
) -> Collected:
    """Writes and scores what ``journal`` does not hold yet.

    Args:
      step: part of every seed.
      rewarder: None scores nothing (ORPO needs no rewards, and of several processes only the first scores).
      human_references: whether the human texts join their groups (HRI).
      options: sampling options; default: those of training.
      stop: checked after every rollout, and while waiting for rewards.

    Raises:
      Stopped: a stop was requested.
      BudgetSpent, InputError, RunError: from the judge; finished work is on disk.
    """
    rollouts, human = group_requests(tasks, config, human_references)
    tokenizer, pending = engine.sampler.tokenizer, []
    pieces = tokenizer.token_bytes()
    busy = 0.0 if rewarder is None else rewarder.busy

    def ask(item: RolloutRequest, text: str, counts: TokenCounts | None) -> None:
        if rewarder is not None and (item.group, item.member) not in journal.rewards:
            pending.append(
                rewarder.submit(item.group, item.member, item.task, text, spec, tokens=counts, done=journal.add)
            )

    def scored(item: RolloutRequest, rollout: Rollout) -> None:
        given, written = len(item.given), len(rollout.tokens)
        thoughts = given or count_thoughts(pieces, rollout.tokens)
        text = decode_response(tokenizer, item.given) + rollout.text
        ask(item, text, TokenCounts(given + written, thoughts, rollout.finish == "stop"))

    def written(item: RolloutRequest, rollout: Rollout) -> None:
        journal.add(rollout)
        _together(look)
        scored(item, rollout)

    def look() -> None:
        if stop is not None and stop.number:
            raise Stopped
        for future in pending:  # a judge that cannot be asked must not waste more rollouts
            if future.done():
                future.result()

    for item in human:
        ask(item, item.task.human_reference_text, None)
    missing = []
    for number, item in enumerate(rollouts):
        found = journal.rollouts.get((item.group, item.member))
        if found is None:
            missing.append((item, seed_of(config.seed, step, number)))
        else:
            scored(item, found)
    stats = write_rollouts(engine, missing, options or sampling_options(config), config.rollout.max_tokens, written)
    begun = time.perf_counter()
    _together(lambda: _wait(pending, stop), patience=config.judge.pause.patience + config.judge.timeout)
    journal.take(cluster.from_first([reward.to_json() for reward in journal.rewards.values()]))
    members = [
        Member(item, journal.rollouts.get((item.group, item.member)), journal.rewards.get((item.group, item.member)))
        for item in (*rollouts, *human)
    ]
    return Collected(
        members,
        stats,
        time.perf_counter() - begun,
        0.0 if rewarder is None else rewarder.busy - busy,
        len(rollouts) - len(missing),
    )


def _together(do: Callable[[], None], patience: float = 0.0) -> None:
    """Runs ``do`` in every process. An error in one process is raised in all.

    Args:
      patience: seconds by which the first process may be slower than the others.
    """
    problem: Exception | None = None
    try:
        do()
    except Exception as error:
        problem = error
    if patience:
        cluster.wait_for_all(f"rewards of collection {next(_collections)}", patience)
    if cluster.all_max(int(isinstance(problem, Stopped))):
        raise Stopped
    cluster.raise_together(problem, "the step")


def _wait(pending: Sequence[Future], stop: Stop | None) -> None:
    """Waits until all rewards are in; re-raises an error as soon as one has it."""
    left = set(pending)
    while left:
        done, left = wait(left, timeout=None if stop is None else _LOOK, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
        if left and stop is not None and stop.number:
            raise Stopped

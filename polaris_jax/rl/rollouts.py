"""Rollouts from the project's own sampler: the learner's weights on the learner's mesh, slots refilled as they free up.

No second engine and no copy of the weights: the sampler is handed the arrays that the last update wrote.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from polaris_jax.rl.journal import Rollout
from polaris_jax.rl.tasks import Task, decode_response
from polaris_jax.sampling import Completion, Engine, GenerationRequest, SamplingOptions, TokenEvent


@dataclass(frozen=True)
class Wanted:
    """A response to be written: ``group`` is its group's label within the step, ``member`` its place in it."""

    group: str
    member: int
    task: Task
    prefixed: bool = False

    @property
    def prompt(self) -> np.ndarray:
        """What the policy continues: the task's prompt, and the reference's reasoning if it is to start from that."""
        return np.concatenate([self.task.prompt, self.task.thoughts]) if self.prefixed else self.task.prompt


@dataclass(frozen=True)
class Writing:
    """How it went: seconds, tokens, and the share of slots that had something to write, 0 to 1."""

    seconds: float
    tokens: int
    occupancy: float


def seed_of(*numbers: int) -> int:
    """A seed of 32 bits from any numbers (run, step, place, member)."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def write_rollouts(
    engine: Engine, wanted: Sequence[tuple[Wanted, int]], options: SamplingOptions, max_tokens: int,
    on_rollout: Callable[[Wanted, Rollout], None],
) -> Writing:
    """Writes responses; each is handed over as soon as it ends, while the others are still being written.

    Args:
      wanted: responses with their seeds.
      max_tokens: of a response, a reasoning prefix included.
    """
    started, tokens, busy, rounds = time.perf_counter(), 0, 0, 0
    running: dict[int, tuple[Wanted, GenerationRequest, list[TokenEvent]]] = {}
    for item, seed in wanted:
        given = len(item.task.thoughts) if item.prefixed else 0
        request = GenerationRequest(item.prompt.tolist(), options, seed, max(1, max_tokens - given),
                                    stop_token_ids=(item.task.end_id,))
        running[engine.submit(request)] = item, request, []
    slots = len(engine.session.tokens)
    while running:
        busy, rounds = busy + min(len(running), slots), rounds + 1
        for event in engine.step():
            item, request, events = running[event.request]
            events.append(event)
            if event.finish_reason:
                del running[event.request]
                rollout = _rollout(engine, item, Completion.of(events, engine.end_tokens(request)))
                tokens += len(rollout.tokens)
                on_rollout(item, rollout)
    return Writing(time.perf_counter() - started, tokens, busy / (rounds * slots) if rounds else 0.0)


def _rollout(engine: Engine, item: Wanted, done: Completion) -> Rollout:
    tokens, logprobs = list(done.tokens), done.logprobs
    if done.stop_token is not None:
        tokens, logprobs = [*tokens, done.stop_token], np.append(logprobs, done.stop_logprob)
    return Rollout(item.group, item.member, np.array(tokens, np.int32), np.asarray(logprobs, np.float32),
                   decode_response(engine.sampler.tokenizer, done.tokens), done.finish_reason, item.prefixed)

"""Rollouts from the project's own sampler, with the learner's weights on the learner's devices. A free slot is refilled
at once. The weights come laid out for decoding (``rollout_weights``).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from polaris_jax.rl.journal import Rollout
from polaris_jax.rl.tasks import RlTask, decode_response
from polaris_jax.sampling import Completion, Engine, GenerationRequest, SamplingOptions, TokenEvent


@dataclass(frozen=True)
class RolloutRequest:
    """A response to write: ``group`` is its group's label within the step, ``member`` its place in the group."""

    group: str
    member: int
    task: RlTask
    prefixed: bool = False

    @property
    def given(self) -> np.ndarray:
        """``[G] int32``: the human reference's reasoning if the response starts from it, else empty."""
        thoughts = self.task.thoughts if self.prefixed else None
        return np.zeros(0, np.int32) if thoughts is None else thoughts

    @property
    def prompt(self) -> np.ndarray:
        """``[P + G] int32``: the tokens that the policy continues: the task's prompt and ``given``."""
        return np.concatenate([self.task.prompt, self.given])


@dataclass(frozen=True)
class RolloutStats:
    """Statistics of writing: seconds, tokens, and the share of busy slots, 0 to 1."""

    seconds: float
    tokens: int
    occupancy: float


def seed_of(*numbers: int) -> int:
    """A 32-bit seed from any numbers (run, step, place, member)."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def write_rollouts(
    engine: Engine,
    requests: Sequence[tuple[RolloutRequest, int]],
    options: SamplingOptions,
    max_tokens: int,
    on_rollout: Callable[[RolloutRequest, Rollout], None],
) -> RolloutStats:
    """Writes responses; each is passed on as soon as it ends, while the others are still being written.

    Args:
      requests: responses with their seeds.
      max_tokens: the most tokens of a response, including a reasoning prefix.
    """
    started, tokens, busy, rounds = time.perf_counter(), 0, 0, 0
    running: dict[int, tuple[RolloutRequest, GenerationRequest, list[TokenEvent]]] = {}
    for item, seed in requests:
        left = max(1, max_tokens - len(item.given))
        request = GenerationRequest(item.prompt.tolist(), options, seed, left, stop_token_ids=(item.task.end_id,))
        running[engine.submit(request)] = item, request, []
    slots = engine.slots
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
    return RolloutStats(time.perf_counter() - started, tokens, busy / (rounds * slots) if rounds else 0.0)


def _rollout(engine: Engine, item: RolloutRequest, done: Completion) -> Rollout:
    tokens, logprobs, model_logprobs = list(done.tokens), done.logprobs, done.model_logprobs
    if done.stop_token is not None:
        tokens, logprobs = [*tokens, done.stop_token], np.append(logprobs, done.stop_logprob)
        model_logprobs = np.append(model_logprobs, done.stop_model_logprob)
    return Rollout(
        item.group,
        item.member,
        np.array(tokens, np.int32),
        np.asarray(logprobs, np.float32),
        np.asarray(model_logprobs, np.float32),
        decode_response(engine.sampler.tokenizer, done.tokens),
        done.finish_reason,
        item.prefixed,
    )

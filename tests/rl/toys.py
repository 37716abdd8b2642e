"""Groups with known rewards, for the tests of this room."""

import numpy as np

from polaris_jax.rl.groups import Member
from polaris_jax.rl.journal import Reward, Rollout
from polaris_jax.rl.rollouts import RolloutRequest
from polaris_jax.rl.tasks import RlTask


def reward(group, member, scalar, **diagnostics):
    """A reward with a scalar, or (None) a failed judgement."""
    failed = None if scalar is not None else "server"
    breakdown = {"scalar": scalar, "failed": failed, "components": {}, "diagnostics": diagnostics}
    return Reward(group, member, breakdown, None)


def groups(scalars, seed=0, vocab=200, human_reference_scalar=0.9):
    """A group per row of ``scalars``, random tokens of different lengths, each with a reference if it has a scalar."""
    draw = np.random.default_rng(seed)

    def tokens(low, high):
        return draw.integers(10, vocab, draw.integers(low, high)).astype(np.int32)

    rollouts, human = [], []
    for place, row in enumerate(scalars):
        task = RlTask(f"t{place}", tokens(3, 9), "tell a story", 2, 10, tokens(4, 14), "a story")
        label = f"{place}/{task.uid}"
        for member, scalar in enumerate(row):
            response = tokens(2, 16)
            logprobs = np.log(draw.uniform(0.2, 0.9, len(response))).astype(np.float32)
            rollout = Rollout(label, member, response, logprobs, logprobs, "story", "stop")
            rollouts.append(Member(RolloutRequest(label, member, task), rollout, reward(label, member, scalar)))
        if human_reference_scalar is not None:
            human.append(Member(RolloutRequest(label, -1, task), None, reward(label, -1, human_reference_scalar)))
    return rollouts + human

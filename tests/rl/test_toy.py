"""A policy whose optimum is known: one token for ever. GRPO finds it, and with the human reference it finds it faster."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polaris_jax.data import load_tokenizer
from polaris_jax.models import from_pretrained
from polaris_jax.rl.groups import Member, wanted_rows
from polaris_jax.rl.journal import Reward
from polaris_jax.rl.objective import grpo
from polaris_jax.rl.opening import open_run
from polaris_jax.rl.rollouts import seed_of, write_rollouts
from polaris_jax.rl.tasks import Task
from polaris_jax.rl.updating import grpo_options, policy_update
from polaris_jax.sampling import Engine, Sampler, SamplingOptions
from polaris_jax.training.state import initial_state

STEPS, LENGTH = 24, 8


def learn(config, *, references: bool, task: Task, wished: int, monkeypatch, steps: int = STEPS) -> list[float]:
    """Mean share of the wished token among the policy's, step by step."""
    monkeypatch.setattr("polaris_jax.rl.opening._tasks", lambda *_: ([task], {}))
    config.data.train = "toy"
    config.rollout.max_tokens = LENGTH
    run = open_run(config, jax.devices()[:1])
    params = from_pretrained(config.model.path, mesh=run.learner.mesh).params
    state = initial_state(params, run.optimizer, run.abstract)
    engine = Engine(Sampler(state.params, run.learner.model, run.tokenizer, max_length=64), slots=8)
    objective, curve = grpo(grpo_options(config)), []
    for step in range(steps):
        rollouts, human = wanted_rows([task] * config.rl.prompts_per_step, config, references)
        members = []

        def worth(tokens):
            return float(np.mean([token == wished for token in tokens[:LENGTH]]))

        def done(item, rollout, members=members):
            members.append(Member(item, rollout, Reward(item.group, item.member, breakdown(worth(rollout.tokens)), None)))

        write_rollouts(engine, [(item, seed_of(step, number)) for number, item in enumerate(rollouts)],
                       SamplingOptions(), LENGTH, done)
        curve.append(float(np.mean([member.scalar for member in members])))
        members += [Member(item, None, Reward(item.group, -1, breakdown(worth(task.reference)), None)) for item in human]
        state, _ = policy_update(run.learner, state, members, objective, step=step,
                                 reference_weight=0.4 if references else 0.0, cloning=0.0)
        engine.set_params(state.params)
    return curve


def breakdown(scalar: float) -> dict:
    return {"scalar": scalar, "failed": None, "components": {}, "diagnostics": {}}


@pytest.fixture
def toy(policy):
    tokenizer = load_tokenizer(policy)
    wished = int(tokenizer.encode("lamp")[0])
    prompt = np.append(tokenizer.encode("the river"), tokenizer.start_header_id).astype(np.int32)
    task = Task("toy", prompt, "toy", tokenizer.eot_id, reference=np.full(LENGTH, wished, np.int32))
    return {"task": task, "wished": wished}


def test_the_policy_finds_the_optimum_and_a_reference_shows_the_way(make_config, toy, monkeypatch):
    alone = learn(make_config(), references=False, monkeypatch=monkeypatch, **toy)
    shown = learn(make_config(), references=True, monkeypatch=monkeypatch, **toy)
    print(np.round(alone, 2), np.round(shown, 2))
    assert shown[-1] > 0.9
    assert np.mean(shown) > np.mean(alone) + 0.2

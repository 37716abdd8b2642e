"""A policy with a known optimum, one token repeated: GRPO nears it, and a human reference leads to it unless inert."""

import jax
import numpy as np
import pytest
from toys import reward

from polaris_jax.data import load_tokenizer
from polaris_jax.models import from_pretrained
from polaris_jax.rl.config import rl_config
from polaris_jax.rl.groups import Member, group_requests
from polaris_jax.rl.objective import grpo
from polaris_jax.rl.rollouts import seed_of, write_rollouts
from polaris_jax.rl.run_factory import make_run
from polaris_jax.rl.tasks import RlTask
from polaris_jax.rl.updating import grpo_options, policy_update
from polaris_jax.sampling import Engine, Sampler, SamplingOptions
from polaris_jax.training.state import initial_state
from polaris_jax.trajectory import START

STEPS, LENGTH = 24, 8


def worth(tokens, wished) -> float:
    """1 for the target token at every place; its neighbours in the vocabulary count half, so that rewards differ."""
    apart = np.abs(np.asarray(tokens, int) - wished)
    return float(np.mean(np.where(apart == 0, 1.0, np.where(apart < 60, 0.5, 0.0))))


@pytest.fixture
def learn(make_config, policy, monkeypatch):
    """``learn(references, token of the reference, as_released=...)``: mean worth of the policy's rows, step by step."""
    tokenizer = load_tokenizer(policy)
    wished = int(tokenizer.encode("lamp")[0])
    prompt = np.append(tokenizer.encode("the river"), tokenizer.control_tokens[START]).astype(np.int32)

    def run_it(references: bool, shift: int = 0, as_released: bool = False, steps: int = STEPS) -> np.ndarray:
        config = make_config()
        config.data.train = "toy"
        config.rollout.max_tokens = LENGTH
        config.rl.group_size = 8
        config.rl.as_released = as_released
        config = rl_config(config)
        task = RlTask("toy", prompt, "toy", tokenizer.eot_id, human_reference=np.full(LENGTH, wished + shift, np.int32))
        monkeypatch.setattr("polaris_jax.rl.run_factory._tasks", lambda *_: ([task], {}))
        run = make_run(config, jax.devices()[:1])
        state = initial_state(
            from_pretrained(config.model.path, mesh=run.learner.mesh).params, run.setup.optimizer, run.setup.abstract
        )
        engine = Engine(Sampler(state.params, run.learner.model, run.tokenizer, max_length=64), slots=16)
        objective, curve = grpo(grpo_options(config)), []
        for step in range(steps):
            rollouts, human = group_requests([task] * config.rl.prompts_per_step, config, references)
            members = []

            def done(item, rollout, members=members):
                found = reward(item.group, item.member, worth(rollout.tokens, wished))
                members.append(Member(item, rollout, found))

            write_rollouts(
                engine,
                [(item, seed_of(step, number)) for number, item in enumerate(rollouts)],
                SamplingOptions(),
                LENGTH,
                done,
            )
            curve.append(np.mean([member.scalar for member in members]))
            members += [
                Member(item, None, reward(item.group, -1, worth(task.human_reference, wished))) for item in human
            ]
            state, _ = policy_update(
                run.learner,
                state,
                members,
                objective,
                step=step,
                human_reference_weight=0.4 if references else 0.0,
                cloning=0.0,
            )
            engine.set_params(state.params)
        return np.array(curve)

    return run_it


def test_the_policy_nears_the_optimum_and_a_reference_shows_the_way(learn):
    alone, shown = learn(False), learn(True)
    print(alone.round(2), shown.round(2))
    assert alone[-3:].mean() > alone[:3].mean() + 0.2
    assert shown[-3:].mean() > 0.9
    assert shown.mean() > alone.mean() + 0.1


def test_as_released_a_reference_has_no_effect(learn):
    good, other = learn(True, as_released=True, steps=8), learn(True, shift=5, as_released=True, steps=8)
    np.testing.assert_array_equal(good, other)  # whatever the reference says
    assert good.max() < learn(True, steps=8).max() + 0.1

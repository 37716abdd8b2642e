"""A policy over three stories finds the best, never sampled, from a human reference; a worse reference fades."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polaris_jax.rl import WeightSchedule, aggregation_weights, group_advantages
from polaris_jax.rl.objective import GrpoOptions, grpo

ROLLOUTS, ROWS, RATE = 5, 7, 0.2


@pytest.fixture(scope="module")
def gradient():
    """Gradient of the objective in three logits: ``gradient(logits, arms, advantages, weights, drawn, behaviour)``."""
    objective = grpo(GrpoOptions())

    def loss(logits, arms, advantages, weights, drawn, behaviour):
        nll = -jax.nn.log_softmax(logits)[arms][None]
        nothing = jnp.zeros_like(nll)
        batch = {
            "weights": weights[None],
            "advantages": advantages[None],
            "old": nothing,
            "sampled": drawn[None],
            "behaviour": behaviour[None],
            "cloning": nothing,
            "reference_logprobs": nothing,
        }
        return objective(nll, nll, batch, 1.0)[0]

    return jax.jit(jax.grad(loss))


def learn(gradient, logits, rewards, reference, reference_reward, *, steps, seed=0):
    """Probabilities of the three arms, step by step; ``reference`` None: rollouts alone."""
    rng, weight_of, curve = np.random.default_rng(seed), WeightSchedule(0.4, 0, 15), []
    logits = jnp.asarray(logits)
    for step in range(steps):
        probabilities = np.asarray(jax.nn.softmax(logits), np.float64)
        curve.append(probabilities)
        weight = 0.0 if reference is None else weight_of(step)
        drawn = ROLLOUTS + (weight == 0)  # without a reference there is one more rollout
        arms = np.zeros(ROWS, int)
        arms[:drawn] = rng.choice(3, drawn, p=probabilities / probabilities.sum())
        scores = np.asarray(rewards)[arms]
        human = np.zeros(ROWS, bool)
        if weight:
            arms[drawn], scores[drawn], human[drawn] = reference, reference_reward, True
        valid = np.arange(ROWS) < drawn + (weight > 0)
        advantages = group_advantages(
            scores, [0] * ROWS, human_reference=human, valid=valid, std_floor=0.02, human_reference_limit=10.0
        )
        advantages = np.where(human, weight * advantages, advantages)
        shares = aggregation_weights(valid[:, None].astype(float))[:, 0]
        behaviour = np.log(probabilities)[arms]
        numbers = (jnp.asarray(x, jnp.float32) for x in (advantages, shares, ~human & valid, behaviour))
        logits -= RATE * gradient(logits, jnp.asarray(arms), *numbers)
    return np.array(curve)


@pytest.mark.parametrize("seed", range(3))
def test_the_best_arm_is_found_from_its_reference_alone(gradient, seed):
    """At e^-9 it is drawn once in twenty thousand; the other two are worth 0.2 and 0.1."""
    case = (gradient, (1.0, 0.0, -9.0), (0.2, 0.1, 1.0))
    assert learn(*case, None, 0.0, steps=200, seed=seed)[-1][2] < 0.01
    assert learn(*case, 2, 1.0, steps=300, seed=seed)[-1][2] > 0.9


@pytest.mark.parametrize("worse", [0.3, 0.03])
def test_a_reference_below_equal_rollouts_fades_the_faster_the_worse_it_is(gradient, worse):
    curve = learn(gradient, (1.0, 1.0, 1.0), (0.6, 0.6, 0.6 - worse), 2, 0.6 - worse, steps=120)[:, 2]
    assert curve[60] < curve[0] / 2
    assert curve[-1] < (1e-6 if worse > 0.1 else 0.1)

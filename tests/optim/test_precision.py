"""The three precision recipes: what is stored and computed with, and that small updates survive without masters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polaris_jax.errors import InputError
from polaris_jax.optim import (
    RECIPES,
    apply_updates,
    label_params,
    make_optimizer,
    make_schedule,
    stored_dtype,
    working_copy,
)

KEY = jax.random.key(3)


def test_small_updates_survive_in_every_recipe():
    for recipe in RECIPES:
        params = {"w": jnp.ones((40, 50), stored_dtype(recipe))}
        for step in range(100):
            updates = {"w": jnp.full((40, 50), -1e-4)}
            params = apply_updates(recipe, params, updates, jax.random.fold_in(KEY, step))
        assert float(params["w"].astype(jnp.float32).mean()) == pytest.approx(0.99, abs=1e-3), recipe


def test_working_copies():
    params = {"a": jax.random.normal(KEY, (300, 300))}
    nearest = working_copy("fp32_master", params, KEY, 1.0, jnp.bfloat16)["a"]
    np.testing.assert_array_equal(nearest, params["a"].astype(jnp.bfloat16))
    cold = working_copy("stochastic_downcast", params, KEY, 0.0, jnp.bfloat16)["a"]
    np.testing.assert_array_equal(cold, nearest)
    hot = working_copy("stochastic_downcast", params, KEY, 1.0, jnp.bfloat16)["a"]
    error = (hot.astype(jnp.float32) - params["a"]) / jnp.abs(params["a"])
    assert abs(float(error.mean())) < 2e-5  # unbiased; one unit in the last place is up to 8e-3
    assert float(jnp.mean(hot != nearest)) > 0.1


def test_unknown_recipe_names_the_three():
    with pytest.raises(InputError, match="fp32_master, stochastic_downcast, bf16_stochastic"):
        stored_dtype("fp16")


def start(recipe):
    dtype = stored_dtype(recipe)
    params = {
        "blocks": {"0": {"mlp": {"up": jax.random.normal(KEY, (4, 32, 64)).astype(dtype)}}},
        "embed": {"embedding": jax.random.normal(KEY, (64, 32)).astype(dtype)},
    }
    optimizer = make_optimizer(label_params(params), make_schedule("cosine", 0.01, 6, 2), state_dtype=dtype)

    @jax.jit
    def step(number, params, state):
        noise, rounding = jax.random.split(jax.random.fold_in(KEY, number))
        copy = working_copy(recipe, params, noise, 0.5, jnp.bfloat16)
        gradients = jax.tree.map(lambda c, p: jnp.sin(c.astype(jnp.float32) * number).astype(p.dtype), copy, params)
        updates, state = optimizer.update(gradients, state, params)
        return apply_updates(recipe, params, updates, rounding), state

    return params, optimizer.init(params), step


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_continued_from_its_stored_state_has_the_same_bits(recipe):
    """By the same program on the same machine: what a restart compiles again."""
    params, state, step = start(recipe)
    for number in range(6):
        if number == 3:
            held = jax.tree.map(np.asarray, (params, state))  # what a checkpoint holds
        params, state = step(number, params, state)
    _, _, step = start(recipe)
    resumed = jax.tree.map(jnp.asarray, held)
    for number in range(3, 6):
        resumed = step(number, *resumed)
    jax.tree.map(np.testing.assert_array_equal, resumed, (params, state))


@pytest.mark.parametrize(
    ("recipe", "matrices", "others"),
    [("fp32_master", 8, 12), ("stochastic_downcast", 8, 12), ("bf16_stochastic", 4, 6)],
)
def test_bytes_per_parameter_between_steps(recipe, matrices, others):
    """Weight and momentum for Muon's matrices; weight and two moments for AdamW's parameters."""
    params, state, step = start(recipe)
    params, state = step(0, params, state)
    live = [leaf for leaf in jax.tree.leaves((params, state)) if leaf.ndim]
    for size, expected in ((4 * 32 * 64, matrices), (64 * 32, others)):
        assert sum(leaf.nbytes for leaf in live if leaf.size == size) == expected * size


def test_weights_that_a_model_keeps_in_float32_stay_so():
    params = {"w": jnp.ones((4, 4), jnp.bfloat16), "A_log": jnp.ones(4)}
    after = apply_updates("bf16_stochastic", params, jax.tree.map(lambda p: jnp.full(p.shape, 1e-5), params), KEY)
    assert after["w"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(after["A_log"], jnp.ones(4) + 1e-5)

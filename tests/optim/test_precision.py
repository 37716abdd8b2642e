"""The three precision recipes: what is stored and computed with, and that small updates survive without masters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polaris_jax.errors import InputError
from polaris_jax.optim import apply_updates, stored_dtype, working_copy

KEY = jax.random.key(3)


def test_small_updates_survive_in_every_recipe():
    for recipe in ("fp32_master", "stochastic_downcast", "bf16_stochastic"):
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

"""Weights that a model declares as float32 reach its forward pass in float32, whatever the precision recipe."""

import jax
import jax.numpy as jnp
import pytest
from small_models import small_config

from polaris_jax.models import init_params
from polaris_jax.models.weights import table_tree, weight_table
from polaris_jax.optim import RECIPES, stored_dtype, working_copy

MODEL = small_config(64, "qwen3_5_text")


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_the_table_of_weights_declares_is_what_the_model_gets(recipe):
    def forward_weights():
        params = init_params(MODEL, jax.random.key(0), stored_dtype(recipe))
        exact = table_tree(weight_table(MODEL), lambda _, weight: weight.float32)
        return working_copy(recipe, params, jax.random.key(1), jnp.float32(1.0), jnp.bfloat16, exact)

    copy = jax.eval_shape(forward_weights)
    declared = {path: jnp.float32 if weight.float32 else jnp.bfloat16 for path, weight in weight_table(MODEL).items()}
    assert jnp.float32 in declared.values()
    found = {tuple(key.key for key in path): leaf.dtype for path, leaf in jax.tree_util.tree_leaves_with_path(copy)}
    assert found == declared

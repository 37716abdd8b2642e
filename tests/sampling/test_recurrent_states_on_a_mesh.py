"""The memories of recurrent layers are sharded over ``tensor`` by heads, and no token gathers them."""

import math
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tolerances
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from small_models import small_config

from polaris_jax.models import init_params, param_shardings
from polaris_jax.models.cache import init_cache
from polaris_jax.sampling.programs import DecodeState, append, state_sharding
from polaris_jax.sharding import make_mesh

TEXTS, LENGTH = 4, 64


@pytest.fixture(scope="module")
def model():
    config = small_config(96, "qwen3_5_text")
    config = replace(config, linear=replace(config.delta_rule, key_heads=2, value_heads=4, key_dim=16, value_dim=16))
    return config, init_params(config, jax.random.key(0))


def read(model, mesh, tokens):
    """``(lowered append, its arguments)`` of a new cache for four texts."""
    config, params = model
    state = DecodeState(init_cache(config, TEXTS, LENGTH), jnp.zeros((TEXTS, config.vocab_size)))
    if mesh is not None:
        params = jax.device_put(params, param_shardings(config, mesh))
        state = jax.device_put(state, state_sharding(mesh, state))
        tokens = jax.device_put(tokens, NamedSharding(mesh, P()))
    how = {"config": config, "compute_dtype": jnp.dtype("float32"), "mesh": mesh}
    return how, (params, state, tokens, jnp.full((TEXTS,), tokens.shape[1], jnp.int32), None)


@pytest.mark.parametrize("sizes", [{"tensor": 4}, {"data": 2, "tensor": 2}], ids=str)
def test_states_stay_where_their_heads_are(model, sizes):
    mesh = make_mesh(sizes, devices=jax.devices()[:4])
    how, arguments = read(model, mesh, jnp.zeros((TEXTS, 1), jnp.int32))
    compiled = append.lower(*arguments, **how).compile()
    memory = arguments[1].cache["blocks"]["0"]["memory"]
    assert memory.sharding.shard_shape(memory.shape)[2] == 4 // sizes["tensor"]
    gathered = re.findall(r"= \w+\[([\d,]+)\]\S* all-gather\(", compiled.as_text())
    largest = max((math.prod(map(int, shape.split(","))) for shape in gathered), default=0)
    assert largest < math.prod(memory.sharding.shard_shape(memory.shape))


def test_a_prompt_and_a_token_give_the_same_logits_as_on_one_device(model):
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 96, (TEXTS, 24)), jnp.int32)
    found = []
    for mesh in (None, make_mesh({"data": 2, "tensor": 2}, devices=jax.devices()[:4])):
        how, (params, state, *_) = read(model, mesh, tokens)
        for part in (tokens[:, :23], tokens[:, 23:]):
            valid = jnp.full((TEXTS,), part.shape[1], jnp.int32)
            state = append(params, state, part, valid, None, **how)
        found.append(np.asarray(state.logits))
    np.testing.assert_allclose(found[1], found[0], atol=tolerances.sums(64, in_a_row=40) * np.abs(found[0]).max())

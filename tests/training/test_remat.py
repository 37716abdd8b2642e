"""Saving the attention output and its log-sum-exp spares the backward pass a second ring; gradients do not change."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polaris_jax.models import ModelConfig, hidden, init_params
from polaris_jax.ops import ring_attention
from polaris_jax.sharding import make_mesh

CONFIG = ModelConfig.from_hf(
    {
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 64,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "tie_word_embeddings": True,
        "max_position_embeddings": 256,
    }
)
MESH = make_mesh({"context": 4}, devices=jax.devices()[:4])


@pytest.fixture(scope="module")
def compiled():
    """Per remat mode: the compiled program's text and the gradient."""
    params = init_params(CONFIG, jax.random.key(0), jnp.float32, MESH)
    tokens = jnp.arange(64, dtype=jnp.int32)[None] % CONFIG.vocab_size
    attend = partial(ring_attention, mesh=MESH, block=8)
    found = {}
    for remat in ("none", "full", "attention", "dots"):
        program = (
            jax.jit(
                jax.grad(lambda p, remat=remat: jnp.square(hidden(p, CONFIG, tokens, attend=attend, remat=remat)).sum())
            )
            .lower(params)
            .compile()
        )
        found[remat] = program.as_text(), program(params)
    return found


def test_the_ring_runs_once_unless_everything_is_recomputed(compiled):
    hops = {remat: text.count(" collective-permute(") for remat, (text, _) in compiled.items()}
    assert hops["attention"] == hops["dots"] == hops["none"] < hops["full"]


def test_gradients_are_the_same_whatever_is_saved(compiled):
    want = jax.tree.leaves(compiled["none"][1])
    for remat in ("full", "attention", "dots"):
        for ours, theirs in zip(jax.tree.leaves(compiled[remat][1]), want, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4, err_msg=remat)

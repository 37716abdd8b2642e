"""A whole recurrent layer by the TPU kernels, interpreted on the CPU, against the portable one: value and gradients."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import small_config

from polaris_jax.models.config import LinearAttention
from polaris_jax.models.layers import linear_attention
from polaris_jax.models.weights import init_params
from polaris_jax.ops.recurrence import whole_rows
from polaris_jax.ops.recurrent_backend import XLA, recurrent_backend
from polaris_jax.sharding import make_mesh

TOKENS = 144


@pytest.fixture(scope="module")
def gradients():
    """Loss and gradients of weights and activations: kernels in bfloat16, portable in bfloat16 and in float32."""
    config = replace(small_config(64, "qwen3_5_text"), linear=LinearAttention(1, 2, 128, 128, 4))
    w = jax.tree.map(lambda x: x[0], init_params(config, jax.random.key(0))["blocks"]["0"]["linear_attention"])
    u = jax.random.normal(jax.random.key(1), (1, TOKENS, config.hidden_size))
    segments = jnp.asarray(np.repeat([1, 2], [37, TOKENS - 37])[None], jnp.int32)
    wanted = jax.random.normal(jax.random.key(2), u.shape)

    def run(backend, dtype):
        def loss(w, u):
            out = linear_attention(config, w, u.astype(dtype), whole_rows(segments, backend))
            return jnp.sum(out.astype(jnp.float32) * wanted)

        return jax.jit(jax.grad(loss, argnums=(0, 1)))(w, u)

    kernels = recurrent_backend(make_mesh({"fsdp": 1}, devices=jax.devices()[:1]), "pallas_interpret")
    return run(kernels, jnp.bfloat16), run(XLA, jnp.bfloat16), run(XLA, jnp.float32)


def test_the_kernels_round_no_more_than_bfloat16_activations_do(gradients):
    kernels, portable, exact = gradients
    error = lambda a, b: float(jnp.sqrt(jnp.mean((a - b) ** 2) / jnp.mean(b**2)))  # noqa: E731
    named = jax.tree_util.tree_leaves_with_path(exact)
    for (path, b), ours, theirs in zip(named, jax.tree.leaves(kernels), jax.tree.leaves(portable), strict=True):
        # The rule's own products add about as much again as the roundings between the steps.
        assert error(ours, b) < 1.5 * error(theirs, b) + 0.01, (path, error(ours, b), error(theirs, b))

"""Gains and biases: their gradients, sums over all tokens, are rounded once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polaris_jax.ops.linear import scaled, shifted


@pytest.mark.parametrize(
    ("op", "term"), [(scaled, lambda x, dy: x * dy), (shifted, lambda x, dy: dy)], ids=["scaled", "shifted"]
)
def test_a_vectors_gradient_over_many_tokens_has_one_rounding(op, term):
    tokens, width = (16, 4096), 8
    x, dy = (
        jax.random.uniform(key, (*tokens, width), jnp.bfloat16, 0.5, 1.5) for key in jax.random.split(jax.random.key(0))
    )
    vector = jnp.linspace(0.5, 2.0, width, dtype=jnp.bfloat16)
    y, back = jax.vjp(op, x, vector)
    dx, gradient = back(dy)
    assert (y.dtype, dx.dtype, gradient.dtype) == (jnp.bfloat16,) * 3
    exact = term(np.asarray(x, np.float64), np.asarray(dy, np.float64)).sum((0, 1))
    # Half a unit in the last of bfloat16's eight places, and what a float32 sum of positive terms may lose.
    most = 2.0**-9 + np.prod(tokens) * 2.0**-24
    assert np.abs(np.asarray(gradient, np.float64) / exact - 1).max() <= most

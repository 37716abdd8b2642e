"""Stochastic rounding is unbiased, exact where it can be, and the same on any mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from polaris_jax.ops import stochastic_round
from polaris_jax.ops.rounding import scaled_stochastic_round
from polaris_jax.sharding import make_mesh

KEY = jax.random.key(7)


def neighbours(x):
    """The bfloat16 at or towards zero from ``x`` and the next one away from zero, as float64."""
    low = np.asarray(x, np.float32).view(np.uint32) & 0xFFFF0000
    return low.view(np.float32).astype(np.float64), (low + 0x10000).view(np.float32).astype(np.float64)


@pytest.mark.parametrize("value", [1.001, -1.001, 3.14159e-3, 1.99999, -65000.7, 1e-39, 255.99], ids=str)
def test_mean_is_the_value_and_only_neighbours_occur(value):
    n = 200_000
    x = np.full(n, value, np.float32)
    got = np.asarray(stochastic_round(KEY, x), np.float64)
    low, high = neighbours(x[:1])
    assert set(np.unique(got)) <= {low[0], high[0]}
    spacing = abs(high[0] - low[0])
    assert abs(got.mean() - float(x[0])) < 5 * spacing / 2 / np.sqrt(n)


def test_representable_values_infinities_and_nan_are_kept():
    x = jnp.asarray([0.0, -0.0, 1.0, -2.5, 2.0**-130, 3.3895314e38, jnp.inf, -jnp.inf, jnp.nan], jnp.float32)
    for seed in range(20):
        got = stochastic_round(jax.random.key(seed), x)
        np.testing.assert_array_equal(got.astype(jnp.float32), x)


def test_updates_below_half_a_unit_survive():
    steps, size = 200, 1e-4
    nearest = jnp.ones(1000, jnp.bfloat16)
    stochastic = jnp.ones(1000, jnp.bfloat16)
    for step in range(steps):
        nearest = (nearest.astype(jnp.float32) - size).astype(jnp.bfloat16)
        stochastic = stochastic_round(jax.random.fold_in(KEY, step), stochastic.astype(jnp.float32) - size)
    assert float(nearest.astype(jnp.float32).mean()) == 1.0
    assert abs(float(stochastic.astype(jnp.float32).mean()) - (1 - steps * size)) < 1e-3


def test_same_bits_on_any_mesh():
    x = jax.random.normal(KEY, (16, 32))
    alone = stochastic_round(KEY, x)
    for shape, spec in (({"data": 8}, P("data")), ({"fsdp": 2, "context": 4}, P("fsdp", "context"))):
        placed = jax.device_put(x, NamedSharding(make_mesh(shape), spec))
        np.testing.assert_array_equal(jax.jit(stochastic_round)(KEY, placed), alone)


def test_scaled_rounding_spans_from_nearest_to_stochastic():
    x = jax.random.normal(KEY, (50_000,))
    # Ties aside (none here: normal variates have low bits set), scale 0 is nearest rounding.
    np.testing.assert_array_equal(scaled_stochastic_round(KEY, x, 0.0), x.astype(jnp.bfloat16))
    ones = jnp.full(200_000, 1.0 + 2.0**-9, jnp.float32)  # a quarter of a unit above 1
    share = {a: float((scaled_stochastic_round(KEY, ones, a) > 1).mean()) for a in (0.0, 0.5, 0.75, 1.0)}
    assert share[0.0] == share[0.5] == 0.0  # the noise does not yet reach the midpoint
    assert abs(share[1.0] - 0.25) < 0.01
    assert 0.1 < share[0.75] < 0.25
    with pytest.raises(TypeError, match="bfloat16"):
        stochastic_round(KEY, x, jnp.float16)

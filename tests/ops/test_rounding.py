"""Stochastic rounding is unbiased, exact where it can be, and the same on any mesh."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from polaris_jax.ops import stochastic_round
from polaris_jax.ops.rounding import scaled_stochastic_round
from polaris_jax.planner.compile import ENVIRONMENT
from polaris_jax.sharding import make_mesh

KEY = jax.random.key(7)


def neighbours(x):
    """The bfloat16 at or towards zero from ``x`` and the next one away from zero, as float64."""
    low = np.asarray(x, np.float32).view(np.uint32) & 0xFFFF0000
    return low.view(np.float32).astype(np.float64), (low + 0x10000).view(np.float32).astype(np.float64)


# Among them: just below a change of exponent (1.99999, 255.99), subnormal as float32 and bfloat16, negative.
@pytest.mark.parametrize("value", [1.001, -1.001, 3.14159e-3, 1.99999, -65000.7, 1e-39, -3e-40, 255.99], ids=str)
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
    """Noise and cut are integer arithmetic, which no compiler rounds."""
    x = jax.random.normal(KEY, (16, 32))
    alone = stochastic_round(KEY, x)
    for shape, spec in (({"data": 8}, P("data")), ({"fsdp": 2, "context": 4}, P("fsdp", "context"))):
        placed = jax.device_put(x, NamedSharding(make_mesh(shape), spec))
        np.testing.assert_array_equal(jax.jit(stochastic_round)(KEY, placed), alone)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_noise_is_uniform_and_does_not_repeat_over_places_or_keys(impl):
    """Each of the 65,536 values comes about equally often; neighbours and successive keys are uncorrelated."""
    n = 1 << 20
    keys = [jax.random.fold_in(jax.random.key(3, impl=impl), step) for step in range(8)]
    # Between 1 and its successor, 2^-7 apart, the result says whether the noise reached the complement of the low bits.
    low = np.arange(n, dtype=np.uint32) % 65536
    x = jnp.asarray((np.uint32(0x3F800000) + low).view(np.float32))
    up = np.stack([np.asarray(stochastic_round(key, x) > 1) for key in keys])
    expected = low / 65536
    z = (up.mean(0).reshape(-1, 65536).mean(0) - expected[:65536]) / np.sqrt(
        np.maximum(expected * (1 - expected), 1e-9)[:65536] / (n // 65536 * len(keys))
    )
    assert abs(z[1:].mean()) < 5 / 256  # mean of 65,535 standard normals
    assert abs(z[1:].var() - 1) < 0.03
    half = jnp.full(n, 1 + 2.0**-8, jnp.float32)
    coins = np.stack([np.asarray(stochastic_round(key, half) > 1, np.float64) for key in keys]) * 2 - 1
    for lag in (1, 2, 128, 1024, 4096):
        assert abs((coins[:, lag:] * coins[:, :-lag]).mean()) < 5 / np.sqrt(n * len(keys))
    between = coins @ coins.T / n - np.eye(len(keys))
    assert np.abs(between).max() < 5 / np.sqrt(n)


def test_a_batch_of_keys_and_of_arrays_gives_every_array_its_own_noise():
    keys, x = jax.random.split(KEY, 3), jnp.full((3, 1000), 1.001)
    together = jax.vmap(stochastic_round)(keys, x)
    apart = jnp.stack([stochastic_round(key, row) for key, row in zip(keys, x, strict=True)])
    np.testing.assert_array_equal(together, apart)
    assert float((together[0] != together[1]).mean()) > 0.1


UPDATE = """
import jax, jax.numpy as jnp
from polaris_jax.ops import stochastic_round

def update(key, weight, step):
    return stochastic_round(key, weight.astype(jnp.float32) - 1e-3 * step)

def arguments(sharding=None):
    array = lambda dtype: jax.ShapeDtypeStruct((64, 512, 1024), dtype, sharding=sharding)
    return jax.eval_shape(lambda: jax.random.key(0)), array(jnp.bfloat16), array(jnp.float32)
"""


def passes_over_memory(text: str) -> list[str]:
    """The entry's instructions that make an array of the weight's size."""
    entry = text[text.index("ENTRY") :]
    return [
        line
        for line in entry.splitlines()
        if "[64,512,1024]" in line.split(" = ")[-1].split("(")[0] and " parameter(" not in line
    ]


def test_an_update_and_its_rounding_are_one_pass_over_memory():
    space = {}
    exec(UPDATE, space)
    compiled = jax.jit(space["update"]).lower(*space["arguments"]()).compile()
    passes = passes_over_memory(compiled.as_text())
    assert len(passes) == 1, passes
    assert "bf16[64,512,1024]" in passes[0]
    assert compiled.memory_analysis().temp_size_in_bytes < 1024


@pytest.mark.slow
def test_the_tpu_compiler_makes_one_pass_of_it_too():
    pytest.importorskip("libtpu")
    script = (
        UPDATE
        + """
from jax.experimental import topologies
topology = topologies.get_topology_desc(platform="tpu", topology_name="v5:2x2x1")
place = jax.sharding.SingleDeviceSharding(topology.devices[0])
compiled = jax.jit(update).lower(*arguments(place)).compile()
print(compiled.memory_analysis().temp_size_in_bytes)
print(compiled.as_text())
"""
    )
    said = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | ENVIRONMENT | {"JAX_PLATFORMS": "cpu"},
    ).stdout
    temporaries, text = said.split("\n", 1)
    passes = passes_over_memory(text)
    assert len(passes) == 1, passes
    assert int(temporaries) < 64 * 512 * 1024  # less than a byte for every weight


def test_without_noise_scaled_rounding_is_nearest_to_even_for_every_kind_of_number():
    x = jnp.asarray(
        [
            1 + 2.0**-8,
            1 + 3 * 2.0**-8,
            -1 - 2.0**-8,
            1.999,
            2.0**-130 * 1.003,
            1e-39,
            3.4e38,
            jnp.inf,
            -jnp.inf,
            0.0,
            -0.0,
        ],
        jnp.float32,
    )  # the first three are ties
    np.testing.assert_array_equal(scaled_stochastic_round(KEY, x, 0.0), x.astype(jnp.bfloat16))
    assert jnp.isnan(scaled_stochastic_round(KEY, jnp.float32(jnp.nan), 0.5))


def test_scaled_rounding_spans_from_nearest_to_stochastic():
    x = jax.random.normal(KEY, (50_000,))
    np.testing.assert_array_equal(scaled_stochastic_round(KEY, x, 0.0), x.astype(jnp.bfloat16))
    ones = jnp.full(200_000, 1.0 + 2.0**-9, jnp.float32)  # a quarter of a unit above 1
    share = {a: float((scaled_stochastic_round(KEY, ones, a) > 1).mean()) for a in (0.0, 0.5, 0.75, 1.0)}
    assert share[0.0] == share[0.5] == 0.0  # the noise does not yet reach the midpoint
    assert abs(share[1.0] - 0.25) < 0.01
    assert 0.1 < share[0.75] < 0.25
    with pytest.raises(TypeError, match="bfloat16"):
        stochastic_round(KEY, x, jnp.float16)

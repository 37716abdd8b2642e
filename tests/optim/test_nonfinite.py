"""A step with infinite or NaN gradients changes no bit and is counted; the run then goes on as if it had paused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from polaris_jax.optim import apply_updates, label_params, make_optimizer, make_schedule, skipped_steps, stored_dtype
from polaris_jax.sharding import make_mesh

RECIPES = ("fp32_master", "bf16_stochastic")


def start(recipe, **options):
    dtype = stored_dtype(recipe)
    rng = np.random.default_rng(0)
    params = {
        "blocks": {
            "0": {
                "mlp": {"up": jnp.asarray(rng.normal(size=(2, 8, 16)), dtype)},
                "norm_in": {"scale": jnp.full((2, 8), -0.0, dtype)},
            }
        }
    }
    optimizer = make_optimizer(
        label_params(params), make_schedule("cosine", 0.1, 10, 0), state_dtype=dtype, weight_decay=0.1, **options
    )

    @jax.jit
    def step(params, state, gradients, number):
        updates, state = optimizer.update(gradients, state, params)
        return apply_updates(recipe, params, updates, jax.random.fold_in(jax.random.key(1), number)), state

    return params, optimizer.init(params), step


def gradients(params, number, bad=None):
    out = jax.tree.map(lambda p: jax.random.normal(jax.random.key(number), p.shape).astype(p.dtype), params)
    if bad is not None:
        out["blocks"]["0"]["norm_in"]["scale"] = out["blocks"]["0"]["norm_in"]["scale"].at[1, 3].set(bad)
    return out


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_and_momenta_keep_their_bits(recipe, bad):
    params, state, step = start(recipe)
    params, state = step(params, state, gradients(params, 0), 0)
    after, skipped = step(params, state, gradients(params, 1, bad), 1)
    assert bits(after) == bits(params)
    before, then = ([leaf for leaf in jax.tree.leaves(held) if leaf.ndim] for held in (state, skipped))
    assert bits(then) == bits(before)


def test_counters_count_and_a_good_step_ends_the_row():
    params, state, step = start("fp32_master")
    rows = []
    for number, bad in enumerate([None, np.nan, np.inf, None, np.nan]):
        params, state = step(params, state, gradients(params, number, bad), number)
        rows.append(tuple(int(count) for count in skipped_steps(state).values()))
    assert rows == [(0, 0), (1, 1), (2, 2), (2, 0), (3, 1)]
    assert all(np.isfinite(np.asarray(leaf, np.float32)).all() for leaf in jax.tree.leaves(params))


def test_the_learning_rate_goes_by_steps_of_the_run():
    """After nine steps of ten, skipped or not, the cosine is near zero."""
    moved = []
    for bad in (None, np.nan):
        params, state, step = start("fp32_master")
        for number in range(9):
            params, state = step(params, state, gradients(params, number, bad), number)
        after, _ = step(params, state, gradients(params, 9), 9)
        moved.append(
            max(
                float(jnp.abs(a - b).max())
                for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(params), strict=True)
            )
        )
    assert moved[1] == pytest.approx(moved[0], rel=1.0)
    assert moved[1] < 0.02  # 0.1 at the peak


def test_all_devices_skip_together():
    mesh = make_mesh({"fsdp": 8})
    params, state, step = start("fp32_master")
    placed = jax.tree.map(lambda p: jax.device_put(p, NamedSharding(mesh, P(None, "fsdp"))), params)
    bad = jax.device_put(gradients(params, 1, np.nan), jax.tree.map(lambda p: p.sharding, placed))
    after, skipped = step(placed, state, bad, 1)  # NaN lies on one device of eight
    assert bits(after) == bits(params)
    assert int(skipped.total) == 1

"""QK-clip brings every head's largest attention logit to the threshold and leaves the other heads as they were."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from polaris_jax.optim import qk_clip
from polaris_jax.sharding import make_mesh

KEY = jax.random.key(5)
REPEATS, WIDTH, HEADS, KV, D = 3, 16, 4, 2, 8


def model(seed=0, *, scale=6.0, kv=KV, normed=False, dtype=jnp.float32):
    rng = np.random.default_rng(seed)
    attention = {
        "q": scale * rng.normal(size=(REPEATS, WIDTH, HEADS * D)),
        "k": scale * rng.normal(size=(REPEATS, WIDTH, kv * D)),
        "v": rng.normal(size=(REPEATS, WIDTH, kv * D)),
    }
    if normed:
        attention |= {"q_norm": 2 + rng.random((REPEATS, D)), "k_norm": 2 + rng.random((REPEATS, D))}
    mlp = {"up": rng.normal(size=(REPEATS, WIDTH, 4))}
    return jax.tree.map(lambda a: jnp.asarray(a, dtype), {"blocks": {"0": {"attention": attention, "mlp": mlp}}})


def numpy_logits(params, x, *, shift=0.0):
    """Scaled logits ``[repeats, H, S, S]`` of activations ``x [S, WIDTH]``."""
    w = {name: np.asarray(leaf, np.float64) for name, leaf in params["blocks"]["0"]["attention"].items()}
    q = (x @ w["q"]).reshape(REPEATS, len(x), HEADS, D)
    k = (x @ w["k"]).reshape(REPEATS, len(x), -1, D)
    if "q_norm" in w:
        q, k = (
            t / np.sqrt((t**2).mean(-1, keepdims=True)) * (w[name] + shift)[:, None, None]
            for t, name in ((q, "q_norm"), (k, "k_norm"))
        )
    k = np.repeat(k, HEADS // k.shape[2], axis=2)
    return np.einsum("rshd,rthd->rhst", q, k) / np.sqrt(D)


@pytest.fixture
def x():
    return np.random.default_rng(9).normal(size=(12, WIDTH))


def test_one_key_head_per_query_head_is_the_formula_of_the_paper(x):
    params = model(kv=HEADS)
    largest = numpy_logits(params, x).max((2, 3))
    threshold = float(np.median(largest))
    clipped, stats = qk_clip(
        "fp32_master", params, {"0": jnp.asarray(largest, jnp.float32)}, KEY, threshold=threshold, alpha=0.25
    )
    gamma = np.minimum(1, threshold / largest)
    for name, power in (("q", 0.25), ("k", 0.75)):
        factor = np.repeat(gamma**power, D, axis=1)[:, None]
        np.testing.assert_allclose(
            clipped["blocks"]["0"]["attention"][name],
            np.asarray(params["blocks"]["0"]["attention"][name]) * factor,
            rtol=2e-6,
        )
    assert float(stats["qk_max_logit"]) == pytest.approx(largest.max())
    assert int(stats["qk_clipped_heads"]) == (largest > threshold).sum()
    assert float(stats["qk_smallest_factor"]) == pytest.approx(gamma.min())


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_with_shared_keys_every_head_shrinks_by_its_own_factor_only(x, alpha):
    params = model()
    before = numpy_logits(params, x)
    largest = before.max((2, 3))
    threshold = float(np.median(largest))
    clipped, _ = qk_clip(
        "fp32_master", params, {"0": jnp.asarray(largest, jnp.float32)}, KEY, threshold=threshold, alpha=alpha
    )
    gamma = np.minimum(1, threshold / largest)
    assert (gamma < 1).any()
    assert (gamma == 1).any()
    after = numpy_logits(clipped, x)
    np.testing.assert_allclose(after, before * gamma[:, :, None, None], rtol=1e-4, atol=1e-3)
    assert after.max() <= threshold * 1.0001
    keys = np.asarray(clipped["blocks"]["0"]["attention"]["k"]) / np.asarray(params["blocks"]["0"]["attention"]["k"])
    worst = gamma.reshape(REPEATS, KV, -1).min(-1)
    np.testing.assert_allclose(
        keys, np.broadcast_to(np.repeat(worst ** (1 - alpha), D, 1)[:, None], keys.shape), rtol=1e-5
    )


@pytest.mark.parametrize("zero_centred", [False, True])
def test_normed_queries_and_keys_are_clipped_through_their_gains(x, zero_centred):
    params, shift = model(normed=True, scale=1.0), float(zero_centred)
    before = numpy_logits(params, x, shift=shift)
    largest = before.max((2, 3))
    threshold = float(largest.max() * 0.8)
    clipped, _ = qk_clip(
        "fp32_master",
        params,
        {"0": jnp.asarray(largest, jnp.float32)},
        KEY,
        threshold=threshold,
        zero_centred_norm=zero_centred,
    )
    worst = np.minimum(1, threshold / largest.max(1))
    np.testing.assert_allclose(
        numpy_logits(clipped, x, shift=shift), before * worst[:, None, None, None], rtol=1e-4, atol=1e-4
    )
    np.testing.assert_array_equal(clipped["blocks"]["0"]["attention"]["q"], params["blocks"]["0"]["attention"]["q"])


def test_what_is_below_the_threshold_not_finite_or_frozen_keeps_its_bits():
    params = model(dtype=jnp.bfloat16)
    same = {"calm": jnp.full((REPEATS, HEADS), 84.9), "broken": jnp.full((REPEATS, HEADS), jnp.inf).at[0].set(jnp.nan)}
    for largest in same.values():
        clipped, stats = qk_clip("bf16_stochastic", params, {"0": largest}, KEY)
        assert int(stats["qk_clipped_heads"]) == 0
        jax.tree.map(np.testing.assert_array_equal, clipped, params)
    hot = {"0": jnp.full((REPEATS, HEADS), 100.0)}
    frozen = jax.tree.map(lambda _: "frozen", params)
    for options in ({"labels": frozen}, {"threshold": jnp.inf}):
        clipped, stats = qk_clip("bf16_stochastic", params, hot, KEY, **options)
        assert float(stats["qk_max_logit"]) == 100.0
        jax.tree.map(np.testing.assert_array_equal, clipped, params)


def test_bfloat16_weights_shrink_even_when_each_step_is_below_their_resolution():
    params = model(dtype=jnp.bfloat16)
    hot, steps = {"0": jnp.full((REPEATS, HEADS), 85.0 * 1.002)}, 40  # 0.1 % per step on each side
    for step in range(steps):
        params, _ = jax.jit(qk_clip, static_argnums=0)("bf16_stochastic", params, hot, jax.random.fold_in(KEY, step))
    shrunk = np.asarray(params["blocks"]["0"]["attention"]["q"], np.float32) / np.asarray(
        model(dtype=jnp.bfloat16)["blocks"]["0"]["attention"]["q"], np.float32
    )
    assert shrunk.mean() == pytest.approx(1.002 ** (-steps / 2), abs=2e-3)


def test_the_mesh_changes_neither_factors_nor_noise():
    """A factor's last bit may differ from program to program: then one weight in thousands is rounded the other way."""
    mesh = make_mesh({"fsdp": 2, "context": 2, "tensor": 2})
    params = model(dtype=jnp.bfloat16)
    largest = {"0": jnp.asarray(80 + 20 * np.random.default_rng(1).random((REPEATS, HEADS)), jnp.float32)}
    specs = {"q": P(None, ("fsdp", "context"), "tensor"), "k": P(None, ("fsdp", "context"), "tensor")}
    placed = jax.tree_util.tree_map_with_path(
        lambda path, a: jax.device_put(a, NamedSharding(mesh, specs.get(path[-1].key, P()))), params
    )
    clip = jax.jit(qk_clip, static_argnums=0)
    alone, spread = (clip("bf16_stochastic", tree, largest, KEY)[0] for tree in (params, placed))
    for here, there in zip(jax.tree.leaves(alone), jax.tree.leaves(spread), strict=True):
        one, other = (np.asarray(leaf, np.float32) for leaf in (here, there))
        np.testing.assert_allclose(one, other, rtol=2.0**-7)  # a unit in the last place of bfloat16
        # Noise has 16 bits: a factor that is off by 8 units of float32 changes 8 roundings in 65,536.
        assert (one != other).mean() < 0.01

"""Rotary frequencies and rotation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polaris_jax.ops.rotary import Rope, frequencies, rotate, rotate_by_halves, rotate_by_product, rotation

from .conftest import FAMILY, hf_config, tiny

YARN_OPTIONS = [{"attention_factor": 1.3}, {"mscale": 0.7}, {"truncate": False}, {"factor": 1.0}]


@pytest.mark.parametrize(
    ("family", "changes"), [(family, {}) for family in FAMILY] + [("ministral3", option) for option in YARN_OPTIONS]
)
def test_frequencies_and_gain_are_those_of_transformers(family, changes):
    transformers = pytest.importorskip("transformers")
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = hf_config(family)["rope_parameters"] | changes
    ours = tiny(family, rope_parameters=rope).rope
    theirs = transformers.AutoConfig.for_model(**hf_config(family, rope_parameters=dict(rope)))
    if ours.kind == "default":
        want, gain = ours.theta ** (-np.arange(0, ours.dim, 2) / ours.dim), 1.0
    else:
        want, gain = ROPE_INIT_FUNCTIONS[ours.kind](theirs, "cpu")
    np.testing.assert_allclose(frequencies(ours), np.asarray(want), rtol=1e-5)
    assert ours.gain == pytest.approx(gain)


def test_scores_depend_on_distance_only():
    rope = Rope(theta=10000.0, dim=8)
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 1, 12))

    def score(p_q, p_k):
        at = lambda x, p: rotate(x, *rotation(rope, jnp.array([[p]])))  # noqa: E731
        return float(jnp.sum(at(q, p_q) * at(k, p_k)))

    assert score(3, 1) == pytest.approx(score(103, 101), abs=1e-4)
    assert score(3, 1) != pytest.approx(score(4, 1), abs=1e-3)


def test_dims_beyond_the_rotary_ones_are_untouched():
    x = jax.random.normal(jax.random.key(0), (1, 5, 2, 12))
    turned = rotate(x, *rotation(Rope(theta=100.0, dim=4), jnp.arange(5)[None]))
    np.testing.assert_array_equal(turned[..., 4:], x[..., 4:])
    assert not np.allclose(turned[:, 1:, :, :4], x[:, 1:, :, :4])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_product_gives_what_the_halves_give(dtype):
    x, weight = jax.random.normal(jax.random.key(0), (2, 3, 7, 4, 24)).astype(dtype)
    angles = [a.astype(dtype) for a in rotation(Rope(theta=100.0, dim=8), jnp.arange(21).reshape(3, 7))]
    halves, product = (jax.jit(by) for by in (rotate_by_halves, rotate_by_product))
    np.testing.assert_allclose(  # a fused multiply-add may round once where the other rounds twice
        product(x, *angles).astype("float32"),
        halves(x, *angles).astype("float32"),
        rtol=0,
        atol=4 * jnp.finfo(dtype).eps,
    )
    slopes = [jax.grad(lambda x, by=by: jnp.sum(by(x, *angles) * weight))(x) for by in (halves, product)]
    bound = (
        4 * jnp.finfo(dtype).eps * np.abs(np.asarray(weight, "float32")).max()
    )  # two products, a sum, their rounding
    np.testing.assert_allclose(slopes[1].astype("float32"), slopes[0].astype("float32"), rtol=0, atol=bound)


def test_far_positions_keep_float32_angles():
    cos, sin = rotation(Rope(theta=1e4, dim=8), jnp.array([[200_001]]))
    want = 200_001 * frequencies(Rope(theta=1e4, dim=8))
    np.testing.assert_allclose(cos[0, 0, 0], np.cos(want), atol=2e-2)
    np.testing.assert_allclose(sin[0, 0, 0], np.sin(want), atol=2e-2)

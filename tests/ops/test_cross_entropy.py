"""The chunked loss equals the loss from full logits: values and gradients, on one device and on meshes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polaris_jax.ops import cross_entropy, linear_cross_entropy
from polaris_jax.ops.cross_entropy import reference_cross_entropy
from polaris_jax.sharding import make_mesh

B, S, D, V = 2, 24, 16, 52


def setup(seed=0):
    rng = np.random.default_rng(seed)
    hidden = jnp.asarray(rng.normal(size=(B, S, D)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(D, V)), jnp.float32)
    targets = jnp.asarray(rng.integers(0, V - 3, size=(B, S)), jnp.int32)
    weights = jnp.asarray(rng.uniform(size=(B, S)), jnp.float32)
    return hidden, kernel, targets, weights


def loss_and_gradients(fn, hidden, kernel, targets, weights, **options):
    def loss(hidden, kernel):
        nll, lse = fn(hidden, kernel, targets, **options)
        return (weights * (nll + 0.1 * lse**2)).sum(), nll

    (value, nll), gradients = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(hidden, kernel)
    return value, nll, *gradients


@pytest.mark.parametrize(
    "mesh_shape",
    [None, {"context": 4, "data": 2}, {"tensor": 4, "context": 2}, {"fsdp": 2, "context": 2, "tensor": 2}],
    ids=str,
)
@pytest.mark.parametrize("vocab_size", [V, V - 3])
@pytest.mark.parametrize("chunk", [5, 10_000])
def test_equals_full_logits(mesh_shape, vocab_size, chunk):
    arguments = setup()
    expected = loss_and_gradients(reference_cross_entropy, *arguments, vocab_size=vocab_size)
    mesh = None if mesh_shape is None else make_mesh(mesh_shape)
    got = jax.jit(
        lambda *a: loss_and_gradients(linear_cross_entropy, *a, mesh=mesh, chunk=chunk, vocab_size=vocab_size)
    )(*arguments)
    for name, want, have in zip(("loss", "nll", "dhidden", "dkernel"), expected, got, strict=True):
        np.testing.assert_allclose(have, want, rtol=2e-5, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("mesh_shape", [None, {"data": 2, "tensor": 2, "context": 2}], ids=str)
@pytest.mark.parametrize("learns", [True, False])
def test_vocabulary_in_slices_equals_full_logits(mesh_shape, learns):
    """Four chunks of tokens on one device share the buffer of one; the vocabulary comes in four slices, or in two."""
    hidden, _, targets, weights = setup()
    kernel = jnp.asarray(np.random.default_rng(1).normal(size=(D, 4 * 128)), jnp.float32)
    mesh = None if mesh_shape is None else make_mesh(mesh_shape)
    assert cross_entropy._slices(8, 4 * 128) == 4
    assert cross_entropy._slices(2, 2 * 128) == 2

    def results(fn, **options):
        def loss(hidden, kernel):
            nll, lse = fn(hidden, kernel, targets, vocab_size=4 * 128 - 5, soft_cap=3.0, **options)
            return (weights * (nll + 0.1 * lse**2)).sum(), (nll, lse)

        (_, found), gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1) if learns else (0,), has_aux=True))(
            hidden, kernel
        )
        return *found, *gradients

    expected = results(reference_cross_entropy)
    for want, have in zip(expected, results(linear_cross_entropy, mesh=mesh, chunk=6), strict=True):
        np.testing.assert_allclose(have, want, rtol=2e-5, atol=2e-5)


def test_logits_never_exceed_a_chunk():
    hidden, kernel, targets, weights = setup()
    text = (
        jax.jit(lambda *a: loss_and_gradients(linear_cross_entropy, *a, chunk=6))
        .lower(hidden, kernel, targets, weights)
        .compile()
        .as_text()
    )
    assert f"f32[6,{V}]" in text
    assert f"{S},{V}]" not in text
    assert f"{B * S},{V}]" not in text

"""The gated delta rule: chunks equal the plain recurrence, forward and backward, packed or continued."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tolerances

from polaris_jax.ops.delta_rule import (
    causal_convolution,
    gated_delta_rule,
    recurrent_delta_rule,
    unit_triangular_solve,
)

jax.config.update("jax_default_matmul_precision", "highest")


def draw(S, *, B=2, N=2, H=4, dk=6, dv=5, seed=0):
    keys = jax.random.split(jax.random.key(seed), 6)
    q, k = (jax.random.normal(key, (B, S, N, dk)) for key in keys[:2])
    v = jax.random.normal(keys[2], (B, S, H, dv))
    beta = jax.nn.sigmoid(jax.random.normal(keys[3], (B, S, H)))
    log_decay = -jax.nn.softplus(3 * jax.random.normal(keys[4], (B, S, H)))
    return (q, k, v), {"beta": beta, "log_decay": log_decay}, jax.random.normal(keys[5], (B, H, dk, dv))


def segments_of(lengths, rows=2):
    return jnp.asarray(np.tile(np.repeat(np.arange(1, len(lengths) + 1), lengths), (rows, 1)), jnp.int32)


@pytest.mark.parametrize(
    ("lengths", "chunk"),
    [
        ([40], 16),  # several chunks, the last one not full
        ([13, 27], 16),  # a boundary inside a chunk
        ([16, 16, 8], 16),  # boundaries between chunks
        ([3, 2, 1, 4, 30], 16),  # several documents in one chunk
        ([5, 35], 64),  # one chunk longer than the row
    ],
)
def test_chunks_equal_the_recurrence(lengths, chunk):
    qkv, gates, memory = draw(40)
    how = gates | {"segment_ids": segments_of(lengths), "initial": memory}
    want, last = recurrent_delta_rule(*qkv, **how)
    got, got_last = gated_delta_rule(*qkv, **how, chunk=chunk)
    np.testing.assert_allclose(got, want, atol=3e-5)
    np.testing.assert_allclose(got_last, last, atol=3e-5)


def test_gradients_equal_those_of_the_recurrence():
    qkv, gates, memory = draw(24)
    segments = segments_of([7, 17])

    def loss(rule, qkv, gates, memory, **how):
        out, last = rule(*qkv, **gates, segment_ids=segments, initial=memory, **how)
        return jnp.sum(jnp.sin(out)) + jnp.sum(last**2)

    grads = jax.grad(loss, argnums=(1, 2, 3))
    want = grads(recurrent_delta_rule, qkv, gates, memory)
    got = grads(gated_delta_rule, qkv, gates, memory, chunk=8)
    for ours, theirs in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4)


@pytest.mark.parametrize("C", [1, 2, 5, 37, 64])
def test_the_solve_and_its_gradients_are_those_of_the_solver_in_float64(C):
    """Keys correlated at 0.5 make a system whose condition number is some tens."""
    draw = np.random.default_rng(C)
    keys = draw.normal(size=(2, 3, C, 16)) + draw.normal(size=(2, 3, 1, 16))
    keys /= np.linalg.norm(keys, axis=-1, keepdims=True)
    lower, wanted = np.tril(keys @ keys.swapaxes(-1, -2), -1), draw.normal(size=(2, 3, C, 7))
    dsolved = draw.normal(size=wanted.shape)
    solved = np.linalg.solve(np.eye(C) + lower, wanted)
    dwanted = np.linalg.solve((np.eye(C) + lower).swapaxes(-1, -2), dsolved)
    found, pull = jax.vjp(unit_triangular_solve, jnp.float32(lower), jnp.float32(wanted))
    condition = np.linalg.cond(np.eye(C) + lower).max()
    expected = solved, -dwanted @ solved.swapaxes(-1, -2), dwanted
    for ours, theirs in zip((found, *pull(jnp.float32(dsolved))), expected, strict=True):
        error = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
        assert error < condition * tolerances.sums(2 * C, in_a_row=2 * C.bit_length())


def test_strong_decay_gives_finite_gradients():
    qkv, gates, _ = draw(32)
    gates["log_decay"] = jnp.full_like(gates["log_decay"], -80.0)
    grad = jax.grad(lambda g: gated_delta_rule(*qkv, beta=gates["beta"], log_decay=g)[0].sum())(gates["log_decay"])
    assert bool(jnp.isfinite(grad).all())


def test_packed_documents_equal_each_alone():
    qkv, gates, _ = draw(40)
    packed, _ = gated_delta_rule(*qkv, **gates, segment_ids=segments_of([11, 29]), chunk=16)
    alone, _ = gated_delta_rule(*(x[:, 11:] for x in qkv), **{n: x[:, 11:] for n, x in gates.items()}, chunk=16)
    np.testing.assert_allclose(packed[:, 11:], alone, atol=3e-5)


def test_reading_in_two_parts_equals_reading_at_once():
    qkv, gates, _ = draw(40)
    whole, last = gated_delta_rule(*qkv, **gates)
    # The first part is padded by five tokens that must not be remembered.
    part = lambda x: jnp.concatenate([x[:, :20], x[:, 30:35]], 1)  # noqa: E731
    first, memory = gated_delta_rule(*map(part, qkv), **jax.tree.map(part, gates), valid=jnp.array([20, 20]))
    rest = lambda x: x[:, 20:]  # noqa: E731
    second, end = gated_delta_rule(*map(rest, qkv), **jax.tree.map(rest, gates), initial=memory)
    np.testing.assert_allclose(jnp.concatenate([first[:, :20], second], 1), whole, atol=3e-5)
    np.testing.assert_allclose(end, last, atol=3e-5)


def test_convolution_sees_zeros_before_each_document():
    x = jax.random.normal(jax.random.key(0), (1, 9, 3))
    kernel = jax.random.normal(jax.random.key(1), (4, 3))
    packed, _ = causal_convolution(x, kernel, segment_ids=segments_of([5, 4], rows=1))
    for part in (slice(0, 5), slice(5, 9)):
        alone = np.pad(x[0, part], ((3, 0), (0, 0)))
        want = [sum(alone[t + j] * np.asarray(kernel[j]) for j in range(4)) for t in range(part.stop - part.start)]
        np.testing.assert_allclose(packed[0, part], np.stack(want), atol=1e-5)


@pytest.mark.parametrize("valid", [0, 1, 5])
def test_convolution_continues_from_its_tail(valid):
    x = jax.random.normal(jax.random.key(0), (1, 12, 3))
    kernel = jax.random.normal(jax.random.key(1), (4, 3))
    whole, _ = causal_convolution(x, kernel)
    _, tail = causal_convolution(x[:, :2], kernel)
    _, tail = causal_convolution(
        jnp.pad(x[:, 2 : 2 + valid], ((0, 0), (0, 6 - valid), (0, 0))), kernel, state=tail, valid=jnp.array([valid])
    )
    rest, _ = causal_convolution(x[:, 2 + valid :], kernel, state=tail)
    np.testing.assert_allclose(rest, whole[:, 2 + valid :], atol=1e-5)

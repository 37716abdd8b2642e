"""Rows spread over ``context``: convolution and delta rule equal the token-by-token recurrence of the whole row."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tolerances
from jax.sharding import PartitionSpec as P

from polaris_jax.data import zigzag_order
from polaris_jax.errors import InputError
from polaris_jax.ops.context_recurrence import ContextRecurrence, RowOrder
from polaris_jax.ops.delta_rule import causal_convolution, recurrent_delta_rule
from polaris_jax.sharding import make_mesh

jax.config.update("jax_default_matmul_precision", "highest")
LENGTH = 48
DOCUMENTS = {
    "one": [48],
    "short": [1, 2, 5, 3, 1, 1, 9, 2, 4, 3, 6, 2, 5, 4],
    "long": [3, 37, 8],  # over five of eight shards' halves
    "at cuts": [3, 3, 6, 12, 24],  # starts where halves start
    "padded": [29, 7, -12],  # padding is segment 0
}
# A token's output is a sum over all tokens before it, through four products of a chunk and one per hop.
TOLERANCE = tolerances.sums(LENGTH * 8, in_a_row=30)


def metadata(lengths):
    """``(positions, segments)``, each ``[length] int32`` in the order of the text."""
    positions = np.concatenate([np.arange(n) if n > 0 else np.zeros(-n) for n in lengths])
    segments = np.concatenate([np.full(abs(n), i + 1 if n > 0 else 0) for i, n in enumerate(lengths)])
    return positions.astype(np.int32), segments.astype(np.int32)


def draw(B=1, N=2, H=4, dk=6, dv=5, K=4):
    keys = jax.random.split(jax.random.key(0), 7)
    normal = lambda key, *shape: jax.random.normal(key, shape)  # noqa: E731
    return {
        "x": normal(keys[0], B, LENGTH, 7),
        "kernel": normal(keys[1], K, 7),
        "q": normal(keys[2], B, LENGTH, N, dk),
        "k": normal(keys[3], B, LENGTH, N, dk),
        "v": normal(keys[4], B, LENGTH, H, dv),
        "beta": jax.nn.sigmoid(normal(keys[5], B, LENGTH, H)),
        "log_decay": -0.3 * jax.nn.softplus(normal(keys[6], B, LENGTH, H)),
    }


COTANGENT = jax.random.normal(jax.random.key(9), (1, LENGTH, 7 + 4 * 5))


def losses(y, out, weights):
    return jnp.sum(jnp.concatenate([y, out.reshape(*y.shape[:2], -1)], -1) * weights)


@cache
def wanted(documents):
    """Outputs and gradients of the whole row, token by token; padding weighs nothing."""
    _, segments = metadata(DOCUMENTS[documents])
    segments = jnp.asarray(segments)[None]
    weights = COTANGENT * (segments > 0)[..., None]

    def loss(values):
        y = jax.nn.silu(causal_convolution(values["x"], values["kernel"], segment_ids=segments)[0])
        out, _ = recurrent_delta_rule(
            *(values[n] for n in "qkv"), beta=values["beta"], log_decay=values["log_decay"], segment_ids=segments
        )
        return losses(y, out, weights), (y, out)

    return jax.device_get(jax.jit(jax.grad(loss, has_aux=True))(draw()))


@cache
def program(shards):
    """``(values, positions, segments, weights) -> (gradients, outputs)``, rows spread over so many shards."""
    mesh = make_mesh({"context": shards}, devices=jax.devices()[:shards])
    plan = ContextRecurrence(shards, kernel=4)
    row = P(None, "context")

    def spread(values, positions, segments):
        order = plan.order(positions, segments)
        rest = (values[n] for n in ("q", "k", "v", "beta", "log_decay"))
        step = plan.bound(order)
        return step.short_convolution(values["x"], values["kernel"], (3, 4)), step.delta_rule(*rest)

    specs = dict.fromkeys(draw(), row) | {"kernel": P()}
    local = jax.shard_map(spread, mesh=mesh, in_specs=(specs, row, row), out_specs=((row, row), row), check_vma=False)

    def loss(values, positions, segments, weights):
        parts, out = local(values, positions, segments)
        y = jnp.concatenate(parts, axis=-1)
        return losses(y, out, weights), (y, out)

    return jax.jit(jax.grad(loss, has_aux=True))


@pytest.mark.parametrize("order", ["zigzag", "contiguous"])
@pytest.mark.parametrize("documents", DOCUMENTS)
@pytest.mark.parametrize("shards", [2, 3, 4, 8])
def test_spread_rows_equal_the_recurrence(shards, documents, order):
    stored = zigzag_order(LENGTH, shards if order == "zigzag" else 1)
    positions, segments = (jnp.asarray(x[stored])[None] for x in metadata(DOCUMENTS[documents]))
    weights = COTANGENT[:, stored] * (segments > 0)[..., None]
    values = {name: x if name == "kernel" else x[:, stored] for name, x in draw().items()}
    gradients, outputs = jax.device_get(program(shards)(values, positions, segments, weights))
    want_gradients, want_outputs = wanted(documents)
    real = np.asarray(segments)[..., None] > 0
    for got, want in zip(outputs, want_outputs, strict=True):
        got, want = (x.reshape(1, LENGTH, -1) for x in (got, want[:, stored]))
        np.testing.assert_allclose(got * real, want * real, atol=TOLERANCE * np.abs(want).max())
    want = {name: x if name == "kernel" else x[:, stored] for name, x in want_gradients.items()}
    tolerances.assert_gradients_agree(gradients, want, TOLERANCE)


def test_rows_in_another_order_give_no_number():
    positions, segments = metadata(DOCUMENTS["one"])
    halves = np.arange(LENGTH).reshape(8, -1)[[1, 0, *range(2, 8)]].reshape(-1)
    row = (jnp.asarray(x[halves])[None] for x in (positions, segments))
    _, (_, out) = program(4)(draw(), *row, COTANGENT)
    assert np.isnan(out).any()


def test_halves_shorter_than_the_convolution_are_refused():
    mesh = make_mesh({"context": 4}, devices=jax.devices()[:4])
    order = jax.shard_map(
        ContextRecurrence(4, kernel=4).order, mesh=mesh, in_specs=P(None, "context"), out_specs=P(), check_vma=False
    )
    with pytest.raises(InputError, match=r"--config\.data\.window=24"):
        order(jnp.zeros((1, 16), jnp.int32), jnp.zeros((1, 16), jnp.int32))


@pytest.mark.parametrize("lengths", [[48], [10, 38], [32, 16]], ids=str)
def test_a_row_acts_on_the_memory_as_its_affine_map(lengths):
    segments = jnp.asarray(metadata(lengths)[1])[None]
    values = draw()
    rest = values["beta"], values["log_decay"]
    how = dict(zip(("beta", "log_decay"), rest, strict=True)) | {"segment_ids": segments}
    q, k, v = (values[n] for n in "qkv")
    memory = jax.random.normal(jax.random.key(5), (1, 4, 6, 5))
    nothing = jnp.zeros(0)
    order = RowOrder(segments, nothing, nothing, nothing, nothing)
    a, b = ContextRecurrence(2, kernel=4).maps(order, k, v, *rest)
    want = recurrent_delta_rule(q, k, v, **how, initial=memory)[1]
    np.testing.assert_allclose(jnp.einsum("bhij,bhjv->bhiv", a, memory) + b, want, atol=TOLERANCE * 4)
    assert bool((a == 0).all()) == (len(lengths) > 1)

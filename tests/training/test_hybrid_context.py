"""Hybrids over ``context`` and ``tensor``: loss and every gradient of a step equal the token-by-token recurrence."""

from functools import cache

import jax
import numpy as np
import pytest
import tolerances

from polaris_jax.data import zigzag_order
from polaris_jax.models import param_shardings
from polaris_jax.models.decoder import hidden, token_losses
from polaris_jax.ops.delta_rule import recurrent_delta_rule
from polaris_jax.ops.recurrence import whole_rows
from polaris_jax.ops.recurrent_backend import XLA
from polaris_jax.sharding import make_mesh
from polaris_jax.training.step import loss_and_gradients, make_evaluation, supervised
from tests.training.tiny_families import model_and_params, options

LENGTH = 64
DOCUMENTS = {
    "one document": [64],
    # Shorter than a chunk of 64 tokens and than an eighth of the row, one over three halves of four shards, padding.
    "packed": [1, 6, 3, 25, 2, 2, 17, 3, -5],
}
# Behind a gradient lie some eighty sums in three layers. The triangular solve of a chunk multiplies the rounding of its
# inputs by the condition of its system, which stays below four for the few tokens of these documents.
TOLERANCE = 4 * tolerances.sums(2 * LENGTH, in_a_row=80)


def batch(documents, order=None):
    """Two rows, the second one with the documents in reverse order, stored in the given order of tokens."""
    draw = np.random.default_rng(0)
    rows = [DOCUMENTS[documents], DOCUMENTS[documents][::-1]]
    positions = [np.concatenate([np.arange(n) if n > 0 else np.zeros(-n) for n in row]) for row in rows]
    segments = [np.concatenate([np.full(abs(n), (n > 0) * (i + 1)) for i, n in enumerate(row)]) for row in rows]
    tokens = draw.integers(0, 96, (2, LENGTH))
    found = {
        "tokens": tokens,
        "targets": np.roll(tokens, -1, axis=1),
        "weights": draw.uniform(size=tokens.shape) * (np.stack(segments) > 0),
        "roles": np.zeros_like(tokens),
        "kinds": np.zeros_like(tokens),
        "segment_ids": np.stack(segments),
        "positions": np.stack(positions),
    }
    order = np.arange(LENGTH) if order is None else order
    return {name: x[:, order].astype(np.float32 if name == "weights" else np.int32) for name, x in found.items()}


@cache
def model():
    return model_and_params(
        "qwen3_5_text", layer_types=["linear_attention"] * 2 + ["full_attention"], num_hidden_layers=3
    )


def recurrence(positions, segments):
    return whole_rows(segments, XLA._replace(delta_rule=recurrent_delta_rule))


@cache
def reference():
    """``(params, rows) -> (loss, gradients)`` of the plain forward pass, the memory written token by token."""
    config = model()[0]

    def loss(params, rows):
        x = hidden(params, config, rows["tokens"], rows["positions"], rows["segment_ids"], recur=recurrence)
        nll, lse = token_losses(params, config, x, rows["targets"])
        return supervised(options())(nll, lse, rows, rows["weights"].sum())[0]

    return jax.jit(jax.value_and_grad(loss))


@cache
def wanted(documents):
    return jax.device_get(reference()(model()[1], batch(documents)))


@cache
def program(mesh_shape, **fields):
    sizes = dict(mesh_shape)
    mesh = make_mesh(sizes, devices=jax.devices()[: int(np.prod(list(sizes.values())))])
    config = options(**fields)
    step = jax.jit(loss_and_gradients(config, model()[0], mesh, supervised(config)))
    return step, jax.device_put(model()[1], param_shardings(model()[0], mesh))


def check(mesh_shape, documents, order, **fields):
    stored = zigzag_order(LENGTH, dict(mesh_shape).get("context", 1)) if order == "zigzag" else None
    rows, (step, params) = batch(documents, stored), program(mesh_shape, **fields)
    (loss, _), gradients = jax.device_get(step(params, rows, rows["weights"].sum()))
    want, wanted_gradients = wanted(documents)
    np.testing.assert_allclose(loss, want, rtol=tolerances.sums(2 * LENGTH, in_a_row=40))
    tolerances.assert_gradients_agree(gradients, wanted_gradients, TOLERANCE)


@pytest.mark.parametrize("order", ["zigzag", "contiguous"])
@pytest.mark.parametrize("documents", DOCUMENTS)
@pytest.mark.parametrize(
    "mesh_shape",
    [
        (("context", 1),),
        pytest.param((("context", 2),), marks=pytest.mark.slow),
        pytest.param((("context", 8),), marks=pytest.mark.slow),
        (("context", 4), ("tensor", 2)),
        pytest.param((("context", 1), ("tensor", 2)), marks=pytest.mark.slow),
        pytest.param((("context", 2), ("tensor", 2)), marks=pytest.mark.slow),
        pytest.param((("context", 4),), marks=pytest.mark.slow),
        pytest.param((("fsdp", 2), ("context", 2), ("tensor", 2)), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_step_equals_the_recurrence(mesh_shape, documents, order):
    check(mesh_shape, documents, order)


@pytest.mark.parametrize(
    "fields",
    [
        {"remat": "attention", "segments": 1},
        pytest.param({"remat": "dots"}, marks=pytest.mark.slow),
        pytest.param({"remat": "none"}, marks=pytest.mark.slow),
        pytest.param({"remat": "full", "offload": True, "mlp_chunk": 8}, marks=pytest.mark.slow),
        pytest.param({"remat": "attention", "context_method": "two_level"}, marks=pytest.mark.slow),
        pytest.param({"remat": "attention", "context_method": "all_gather"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_what_is_kept_for_the_backward_pass_changes_nothing(fields):
    check((("context", 2), ("tensor", 2)), "packed", "zigzag", **fields)


def test_evaluation_is_the_same_on_four_shards():
    config, found = options(), {}
    for context in (1, 4):
        mesh = make_mesh({"context": context}, devices=jax.devices()[:context])
        params = jax.device_put(model()[1], param_shardings(model()[0], mesh))
        rows = batch("packed", zigzag_order(LENGTH, context))
        found[context] = jax.device_get(make_evaluation(config, model()[0], mesh)(params, rows))
    for got, want in zip(*map(jax.tree.leaves, (found[4], found[1])), strict=True):
        np.testing.assert_allclose(got, want, rtol=tolerances.sums(2 * LENGTH, in_a_row=40), atol=1e-6)

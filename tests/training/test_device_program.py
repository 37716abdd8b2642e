"""The layer schedule changes memory and time, never the numbers: loss and every gradient equal the plain path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polaris_jax.data import Batches, TokenStore, place, plan_bins
from polaris_jax.models import from_pretrained
from polaris_jax.sharding import make_mesh
from polaris_jax.training.device_program import make_value_and_grad
from polaris_jax.training.step import make_loss, role_sums


def batch_and_model(config, mesh):
    model = from_pretrained(config.model.path, mesh=mesh)
    store = TokenStore.open(config.data.store)
    batches = Batches(store, plan_bins(store.lengths, config.data.window), batch_size=2, seed=0,
                      shards=mesh.shape["context"])
    batch = place(batches, 0, mesh)
    return model, batch, batch["weights"].sum()


@pytest.mark.parametrize(("mesh_shape", "fields"), [
    ({"context": 4}, {"remat": "full", "segments": 2, "mlp_chunk": 16}),
    ({"context": 4}, {"remat": "attention", "mlp_chunk": 16}),
    ({"context": 4}, {"remat": "full", "offload": True}),
    ({"context": 4}, {"remat": "attention", "context_method": "two_level"}),
    ({"fsdp": 2, "context": 2}, {"remat": "attention", "context_method": "all_gather"}),
    ({"data": 2, "context": 2, "tensor": 2}, {"remat": "full", "mlp_chunk": 16}),
], ids=str)
def test_loss_and_gradients_equal_the_plain_path(make_config, mesh_shape, fields):
    config = make_config()
    config.loss.z_loss = 1e-3
    config.model.update(fields)
    mesh = make_mesh(mesh_shape, devices=jax.devices()[:int(np.prod(list(mesh_shape.values())))])
    model, batch, total = batch_and_model(config, mesh)
    program = jax.jit(make_value_and_grad(config, model.config, mesh, role_sums))
    plain = jax.jit(jax.value_and_grad(make_loss(config, model.config, mesh), has_aux=True))
    (loss, sums), gradients = program(model.params, batch, total)
    (want, wanted_sums), wanted = plain(model.params, batch, total)
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    for name in sums:
        np.testing.assert_allclose(sums[name], wanted_sums[name], rtol=1e-4, atol=1e-4)
    for (path, have), expected in zip(jax.tree_util.tree_leaves_with_path(gradients), jax.tree.leaves(wanted),
                                      strict=True):
        scale = float(jnp.abs(expected).max()) + 1e-8
        np.testing.assert_allclose(have, expected, atol=2e-5 * max(scale, 1.0), err_msg=jax.tree_util.keystr(path))


def test_weights_are_gathered_and_gradients_scattered_layer_by_layer(make_config):
    config = make_config()
    config.model.remat = "full"
    mesh = make_mesh({"context": 4}, devices=jax.devices()[:4])
    model, batch, total = batch_and_model(config, mesh)
    program = make_value_and_grad(config, model.config, mesh, role_sums)
    text = jax.jit(program).lower(model.params, batch, total).as_text()
    # One all-gather of the head and one per weight matrix in each pass; no gradient of a matrix is all-reduced whole.
    assert text.count("reduce_scatter") >= 8
    matrices = {f"{a}x{b}x" for a in (model.config.hidden_size,) for b in (model.config.intermediate_size,)}
    reduced = [line for line in text.splitlines() if "all_reduce" in line]
    assert not any(shape in line for shape in matrices for line in reduced)

"""The layer schedule changes memory and time, never the numbers: loss and every gradient equal the plain path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from polaris_jax.data import Batches, TokenStore, place, plan_bins
from polaris_jax.models import from_pretrained
from polaris_jax.models.decoder import block, token_mixers
from polaris_jax.ops.attention import attention as reference_attention
from polaris_jax.sharding import make_mesh
from polaris_jax.training.config import train_config
from polaris_jax.training.step import loss_and_gradients, make_loss, supervised


def batch_and_model(config, mesh):
    model = from_pretrained(config.model.path, mesh=mesh)
    store = TokenStore.open(config.data.store)
    batches = Batches(
        store, plan_bins(store.lengths, config.data.window), batch_size=2, seed=0, shards=mesh.shape["context"]
    )
    batch = place(batches, 0, mesh)
    return model, batch, batch["weights"].sum()


def max_logits(model, batch):
    """Each head's largest scaled score, layer by layer, from the whole matrix of scores: ``[layers, H]``."""
    config, params, found = model.config, jax.device_get(model.params), []
    positions, segments = (jnp.asarray(jax.device_get(batch[name])) for name in ("positions", "segment_ids"))
    who = {"q_positions": positions, "kv_positions": positions, "q_segments": segments, "kv_segments": segments}

    def attend(q, k, v, window):
        keys = jnp.repeat(k, q.shape[2] // k.shape[2], axis=2)
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, keys) * q.shape[-1] ** -0.5
        seen = (positions[:, :, None] >= positions[:, None]) & (segments[:, :, None] == segments[:, None])
        found.append(jnp.where((seen & (segments[:, None] > 0))[:, None], scores, -jnp.inf).max(axis=(0, 2, 3)))
        return reference_attention(q, k, v, **who, window=window)

    mix = token_mixers(config, positions, segments, attend)["full_attention"]
    x = jnp.asarray(params["embed"]["embedding"])[jax.device_get(batch["tokens"])]
    for layer in range(config.num_layers):
        x, _ = block(config, jax.tree.map(lambda leaf, at=layer: leaf[at], params["blocks"]["0"]), x, mix)
    return np.stack(found)


@pytest.mark.parametrize(
    ("mesh_shape", "fields"),
    [
        ({"context": 4}, {"remat": "full", "segments": 2, "mlp_chunk": 16}),
        ({"context": 4}, {"remat": "attention", "mlp_chunk": 16}),
        ({"context": 4}, {"remat": "full", "offload": True}),
        ({"context": 4}, {"remat": "attention", "context_method": "two_level"}),
        ({"fsdp": 2, "context": 2}, {"remat": "attention", "context_method": "all_gather"}),
        ({"data": 2, "context": 2, "tensor": 2}, {"remat": "full", "mlp_chunk": 16}),
    ],
    ids=str,
)
def test_loss_and_gradients_equal_the_plain_path(make_config, mesh_shape, fields):
    config = make_config()
    config.loss.z_loss = 1e-3
    config.model.update(fields)
    config = train_config(config)
    mesh = make_mesh(mesh_shape, devices=jax.devices()[: int(np.prod(list(mesh_shape.values())))])
    model, batch, total = batch_and_model(config, mesh)
    program = jax.jit(loss_and_gradients(config, model.config, mesh, supervised(config)))
    plain = jax.jit(jax.value_and_grad(make_loss(config, model.config, mesh), has_aux=True))
    (loss, sums), gradients = program(model.params, batch, total)
    (want, wanted_sums), wanted = plain(model.params, batch, total)
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    largest = sums.pop("max_logits")["0"]
    np.testing.assert_allclose(largest, max_logits(model, batch), rtol=1e-4)
    for name in sums:
        np.testing.assert_allclose(sums[name], wanted_sums[name], rtol=1e-4, atol=1e-4)
    for (path, have), expected in zip(
        jax.tree_util.tree_leaves_with_path(gradients), jax.tree.leaves(wanted), strict=True
    ):
        scale = float(jnp.abs(expected).max()) + 1e-8
        np.testing.assert_allclose(have, expected, atol=2e-5 * max(scale, 1.0), err_msg=jax.tree_util.keystr(path))


def test_weights_are_gathered_and_gradients_scattered_layer_by_layer(make_config):
    config = make_config()
    config.model.remat = "full"
    config = train_config(config)
    mesh = make_mesh({"context": 4}, devices=jax.devices()[:4])
    model, batch, total = batch_and_model(config, mesh)
    program = loss_and_gradients(config, model.config, mesh, supervised(config))
    # For TPU: on host devices sums are made in the order of the devices (see ops.collectives).
    text = jax.jit(program).trace(model.params, batch, total).lower(lowering_platforms=("tpu",)).as_text()
    # One all-gather of the head and one per weight matrix in each pass; no gradient of a matrix is all-reduced whole.
    assert text.count("reduce_scatter") >= 8
    matrices = {f"{a}x{b}x" for a in (model.config.hidden_size,) for b in (model.config.intermediate_size,)}
    reduced = [line for line in text.splitlines() if "all_reduce" in line]
    assert not any(shape in line for shape in matrices for line in reduced)

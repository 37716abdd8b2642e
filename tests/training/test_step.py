"""One optimizer step gives the same result on every mesh, however its rows are split."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tolerances

from polaris_jax.data import Batches, TokenStore, place, plan_bins
from polaris_jax.models import from_pretrained, logits
from polaris_jax.models.weights import param_shardings
from polaris_jax.optim import label_params, make_optimizer, make_schedule
from polaris_jax.sharding import make_mesh
from polaris_jax.training.config import train_config
from polaris_jax.training.state import abstract_state, initial_state
from polaris_jax.training.step import SEEN, make_loss, make_train_step

TOKENS = 2 * 2048  # of a batch: the terms of a weight's gradient
# A gradient is the last of about thirty matrix products: seven forward and fourteen back in each of two layers' halves.
GRADIENTS = tolerances.sums(TOKENS, in_a_row=30)


def step_on(config, mesh_shape, devices, microbatches=1):
    """First moments (the clipped gradients, scaled), updates and metrics of one step, the first two by path."""
    config.train.microbatches = microbatches
    config = train_config(config)
    mesh = make_mesh(mesh_shape, devices=jax.devices()[:devices])
    model = from_pretrained(config.model.path, mesh=mesh)
    schedule = make_schedule("constant", config.optim.learning_rate, 10, 0)
    optimizer = make_optimizer(
        label_params(model.params), schedule, shardings=param_shardings(model.config, mesh) if mesh.size > 1 else None
    )
    before = by_path(model.params)
    state = initial_state(model.params, optimizer, abstract_state(model.config, optimizer, mesh, jnp.float32))
    store = TokenStore.open(config.data.store)
    batches = Batches(
        store, plan_bins(store.lengths, config.data.window), batch_size=2, seed=0, shards=mesh.shape["context"]
    )
    state, metrics = make_train_step(config, model.config, mesh, optimizer, schedule)(state, place(batches, 0, mesh))
    updates = {path: after - before[path] for path, after in by_path(state.params).items()}
    metrics |= {f"seen/{kind}": seen for kind, seen in metrics.pop(SEEN).items()}
    return {"adamw": moments(state, "mu"), "muon": moments(state, "momentum")}, updates, jax.device_get(metrics)


def by_path(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.array(leaf) for path, leaf in leaves}


def moments(state, name):
    return {path.split(f"/{name}/")[1]: leaf for path, leaf in by_path(state.optimizer).items() if f"/{name}/" in path}


def assert_same_step(got, want):
    """Compares gradients, and the updates where they are well conditioned."""
    (gradients, updates, metrics), (wanted_gradients, wanted_updates, wanted_metrics) = got, want
    for name, value in wanted_metrics.items():
        np.testing.assert_allclose(metrics[name], value, rtol=GRADIENTS, err_msg=name)
    tolerances.assert_gradients_agree(gradients, wanted_gradients, GRADIENTS)
    for path, gradient in wanted_gradients["adamw"].items():
        tolerances.assert_adam_updates_agree(updates[path], wanted_updates[path], gradient, GRADIENTS)
    for path, gradient in wanted_gradients["muon"].items():
        moved = max(map(tolerances.distance, gradients["muon"][path], gradient))
        apart = tolerances.distance(updates[path], wanted_updates[path])
        assert apart < tolerances.newton_schulz(min(gradient.shape[-2:]), moved), path
    assert sum(map(len, wanted_gradients.values())) == len(wanted_updates)


@pytest.mark.parametrize(
    ("mesh_shape", "devices", "microbatches"),
    [
        ({"context": 4}, 4, 1),
        ({"context": 4}, 4, 2),
        ({"fsdp": 2, "context": 2, "tensor": 2}, 8, 1),
    ],
    ids=str,
)
def test_a_step_on_a_mesh_equals_the_step_on_one_device(make_config, mesh_shape, devices, microbatches):
    want = step_on(make_config(), {"context": 1}, 1)
    assert_same_step(step_on(make_config(), mesh_shape, devices, microbatches), want)


def test_the_loss_is_the_plain_weighted_mean_and_its_parts_add_up(make_config):
    run_config = train_config(make_config())
    mesh = make_mesh({"context": 4}, devices=jax.devices()[:4])
    model = from_pretrained(run_config.model.path, mesh=mesh)
    store = TokenStore.open(run_config.data.store)
    plan = plan_bins(store.lengths, run_config.data.window)
    batch = place(Batches(store, plan, batch_size=2, seed=0, shards=4), 0, mesh)
    total = batch["weights"].sum()
    (loss, sums), gradients = jax.jit(jax.value_and_grad(make_loss(run_config, model.config, mesh), has_aux=True))(
        model.params, batch, total
    )

    natural = Batches(store, plan, batch_size=2, seed=0, shards=4, zigzag=False).batch(0)
    plain = {name: jnp.asarray(value) for name, value in natural.items()}

    def reference(params):
        scores = jax.nn.log_softmax(
            logits(params, model.config, plain["tokens"], plain["positions"], plain["segment_ids"])
        )
        nll = -jnp.take_along_axis(scores, plain["targets"][..., None], axis=-1)[..., 0]
        return (nll * plain["weights"]).sum() / plain["weights"].sum()

    want, wanted = jax.value_and_grad(reference)(jax.device_put(model.params, jax.devices()[0]))
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    assert float(optax.tree.norm(jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), gradients, wanted))) < (
        1e-4 * float(optax.tree.norm(wanted))
    )
    for name in ("roles", "kinds"):
        np.testing.assert_allclose(np.asarray(sums[name])[0].sum() / total, loss, rtol=1e-5)
        np.testing.assert_allclose(np.asarray(sums[name])[1].sum(), total, rtol=1e-5)
    assert float(np.asarray(sums["roles"])[1, 0]) == 0.0  # the prompt is masked

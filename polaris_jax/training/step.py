"""One optimizer step, top to bottom: working copy → forward → loss → gradients → update → write-back.

A pure function of (config, seed, step, batch). The mesh enters at three seams: ring attention as the model's
``attend``, the loss over sharded tokens, and the gathering of each layer's weights just before they are used.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding
from ml_collections import ConfigDict

from polaris_jax.models.config import ModelConfig
from polaris_jax.models.decoder import head_kernel, hidden
from polaris_jax.ops import context_attention, linear_cross_entropy
from polaris_jax.optim import apply_updates, global_norm, working_copy
from polaris_jax.sharding import activation_spec
from polaris_jax.training.compiler_options import compiler_options
from polaris_jax.training.device_program import make_value_and_grad
from polaris_jax.training.state import TrainState
from polaris_jax.trajectory import KINDS, ROLES


def make_loss(config: ConfigDict, model: ModelConfig, mesh: Mesh) -> Callable:
    """``loss(working params, batch, total weight) -> (loss, sums)``; sums are per role and per kind."""
    attend = partial(context_attention, mesh=mesh, block=config.model.attention_block,
                     method=config.model.context_method, group=config.model.context_group or None)
    residual = NamedSharding(mesh, activation_spec(("batch", "sequence", "embed")))

    def loss(params, batch, total):
        x = hidden(
            params, model, batch["tokens"], batch["positions"], batch["segment_ids"], attend=attend,
            remat=config.model.remat, compute_dtype=jnp.dtype(config.model.compute_dtype),
            constrain=lambda x: jax.lax.with_sharding_constraint(x, residual))
        nll, lse = linear_cross_entropy(x, head_kernel(params, model).astype(x.dtype), batch["targets"], mesh=mesh,
                                        chunk=config.loss.chunk)
        weighted = nll * batch["weights"]
        value = weighted.sum() / total
        if config.loss.z_loss:
            value += config.loss.z_loss * (jnp.square(lse) * batch["weights"]).sum() / total
        return value, role_sums(weighted, batch)

    return loss


def role_sums(weighted: jax.Array, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """``[2, n] float32`` per role and per kind: summed weighted loss, summed weight."""
    pair = jnp.stack([weighted, batch["weights"]]).reshape(2, -1)

    def by(ids, n):
        return jax.vmap(lambda x: jax.ops.segment_sum(x, ids.reshape(-1), num_segments=n))(pair)

    return {"roles": by(batch["roles"], len(ROLES)), "kinds": by(batch["kinds"], len(KINDS))}


def make_train_step(
    config: ConfigDict, model: ModelConfig, mesh: Mesh, optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
) -> Callable[[TrainState, dict[str, jax.Array]], tuple[TrainState, dict[str, jax.Array]]]:
    """The jitted step ``(state, batch) -> (state, metrics)``; the state's buffers are donated.

    ``batch`` holds arrays ``[B, S]`` (see ``data.Batches``). Microbatches split its rows; the loss is the global
    weighted sum over the global weight, so their number changes nothing but memory.
    """
    if config.model.remat in ("full", "attention"):
        value_and_grad = make_value_and_grad(config, model, mesh, role_sums)
    else:
        value_and_grad = jax.value_and_grad(make_loss(config, model, mesh), has_aux=True)
    recipe, parts = config.optim.precision, config.train.microbatches

    def accumulate(params, batch, total):
        if parts == 1:
            return value_and_grad(params, batch, total)
        split = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), batch)

        def add(sums, part):
            return jax.tree.map(lambda a, b: a + b.astype(jnp.float32), sums, value_and_grad(params, part, total)), None

        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32),
                             jax.eval_shape(value_and_grad, params, jax.tree.map(lambda x: x[0], split), total))
        return jax.lax.scan(add, zeros, split)[0]

    def train_step(state: TrainState, batch):
        noise, rounding = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), state.step))
        rate = schedule(state.step)
        params = working_copy(recipe, state.params, noise, rate / config.optim.learning_rate,
                              jnp.dtype(config.model.compute_dtype))
        total = jnp.maximum(batch["weights"].sum(), 1e-9)
        (loss, sums), gradients = accumulate(params, batch, total)
        # Nothing of the optimizer begins before the backward pass ends: the compiler would make room for it early.
        gradients, stored, moments = jax.lax.optimization_barrier((gradients, state.params, state.optimizer))
        updates, moments = optimizer.update(gradients, moments, stored)
        written = apply_updates(recipe, stored, updates, rounding)
        metrics = {
            "loss": loss, "learning_rate": rate, **sums,
            "tokens": (batch["segment_ids"] > 0).sum(), "supervised": batch["weights"].sum(),
            "grad_norm": global_norm(gradients), "update_norm": global_norm(updates),
            "param_norm": global_norm(stored),
        }
        return TrainState(state.step + 1, written, moments), metrics

    return jax.jit(train_step, donate_argnums=0, compiler_options=compiler_options(mesh, config.model.overlap))

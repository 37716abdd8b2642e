"""One optimizer step, top to bottom: working copy → forward → loss → gradients → update → write-back.

A pure function of (config, seed, step, batch). The mesh enters at three seams: ring attention as the model's
``attend``, the loss over sharded tokens, and the gathering of each layer's weights just before they are used.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding
from ml_collections import ConfigDict

from polaris_jax.models.config import ModelConfig
from polaris_jax.models.decoder import head_kernel, hidden
from polaris_jax.models.weights import param_shardings
from polaris_jax.ops import context_attention, linear_cross_entropy
from polaris_jax.optim import apply_updates, global_norm, group_norms, qk_clip, skipped_steps, working_copy
from polaris_jax.sharding import activation_spec
from polaris_jax.training.compiler_options import compiler_options
from polaris_jax.training.config import context_method
from polaris_jax.training.device_program import MAX_LOGITS, make_loss_program, make_value_and_grad
from polaris_jax.training.state import TrainState
from polaris_jax.trajectory import KINDS, ROLES

# What a step minimises, given every token's negative log-likelihood: ``(nll, lse, batch, total) -> (loss, sums)`` with
# ``nll, lse: [B, S] float32`` nats. Both results must be sums over tokens, so that any mesh may add its parts up.
Objective = Callable[[jax.Array, jax.Array, dict[str, jax.Array], jax.Array], tuple[jax.Array, Any]]


def supervised(config: ConfigDict) -> Objective:
    """The weighted mean of the losses and, if asked for, of the squared log-partition; sums per role and per kind."""

    def objective(nll, lse, batch, total):
        weighted = nll * batch["weights"]
        value = weighted.sum() / total
        if config.loss.z_loss:
            value += config.loss.z_loss * (jnp.square(lse) * batch["weights"]).sum() / total
        return value, role_sums(weighted, batch)

    return objective


def make_loss(config: ConfigDict, model: ModelConfig, mesh: Mesh, objective: Objective | None = None) -> Callable:
    """``loss(working params, batch, total) -> (loss, sums)`` of ``objective`` (default: ``supervised``)."""
    objective = objective or supervised(config)
    attend = partial(context_attention, mesh=mesh, block=config.model.attention_block,
                     method=context_method(config), group=config.model.context_group or None)
    residual = NamedSharding(mesh, activation_spec(("batch", "sequence", "embed")))

    def loss(params, batch, total):
        x = hidden(
            params, model, batch["tokens"], batch["positions"], batch["segment_ids"], attend=attend,
            remat=config.model.remat, compute_dtype=jnp.dtype(config.model.compute_dtype),
            constrain=lambda x: jax.lax.with_sharding_constraint(x, residual))
        nll, lse = linear_cross_entropy(x, head_kernel(params, model).astype(x.dtype), batch["targets"], mesh=mesh,
                                        chunk=config.loss.chunk)
        return objective(nll, lse, batch, total)

    return loss


def make_evaluation(config: ConfigDict, model: ModelConfig, mesh: Mesh) -> Callable:
    """The jitted ``(params, batch) -> sums per role and per kind``, the forward pass alone.

    Parameters are taken as stored; the compute dtype is reached by nearest rounding, whatever the recipe.
    """
    def objective(nll, lse, batch, total):
        weighted = nll * batch["weights"]
        return weighted.sum(), role_sums(weighted, batch)

    whole = config.model.remat in ("full", "attention")
    forward = (make_loss_program if whole else make_loss)(config, model, mesh, objective)
    compute = jnp.dtype(config.model.compute_dtype)

    def evaluate(params, batch):
        return forward(jax.tree.map(lambda p: p.astype(compute), params), batch, jnp.ones(()))[1]

    return jax.jit(evaluate, compiler_options=compiler_options(mesh, config.model.overlap))


def loss_and_gradients(config: ConfigDict, model: ModelConfig, mesh: Mesh, objective: Objective) -> Callable:
    """``(working params, batch, total) -> ((loss, sums), gradients)`` by the path that ``config.model.remat`` asks for.

    Gradients have the parameters' dtype.
    """
    if config.model.remat in ("full", "attention"):
        return make_value_and_grad(config, model, mesh, objective)
    return jax.value_and_grad(make_loss(config, model, mesh, objective), has_aux=True)


def role_sums(weighted: jax.Array, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """``[2, n] float32`` per role and per kind: summed weighted loss, summed weight."""
    pair = jnp.stack([weighted, batch["weights"]]).reshape(2, -1)

    def by(ids, n):
        return jax.vmap(lambda x: jax.ops.segment_sum(x, ids.reshape(-1), num_segments=n))(pair)

    return {"roles": by(batch["roles"], len(ROLES)), "kinds": by(batch["kinds"], len(KINDS))}


def _largest(results) -> dict[str, jax.Array]:
    """The part of ``loss_and_gradients``' results that is a maximum over rows instead of a sum."""
    return results[0][1].get(MAX_LOGITS, {})


def make_train_step(
    config: ConfigDict, model: ModelConfig, mesh: Mesh, optimizer: optax.GradientTransformation,
    schedule: optax.Schedule, labels: Any = None,
) -> Callable[[TrainState, dict[str, jax.Array]], tuple[TrainState, dict[str, jax.Array]]]:
    """The jitted step ``(state, batch) -> (state, metrics)``; the state's buffers are donated.

    ``batch`` holds arrays ``[B, S]`` (see ``data.Batches``). Microbatches split its rows; the loss is the global
    weighted sum over the global weight, so their number changes nothing but memory.

    Args:
      labels: the optimizer's groups; norms are then reported for each of them too.
    """
    value_and_grad = loss_and_gradients(config, model, mesh, supervised(config))
    recipe, parts = config.optim.precision, config.train.microbatches
    where = param_shardings(model, mesh) if mesh.size > 1 else None

    def accumulate(params, batch, total):
        if parts == 1:
            return value_and_grad(params, batch, total)
        split = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), batch)

        def add(before, part):
            now = value_and_grad(params, part, total)
            largest = jax.tree.map(jnp.maximum, _largest(before), _largest(now))
            after = jax.tree.map(lambda a, b: a + b.astype(jnp.float32), before, now)
            _largest(after).update(largest)
            return after, None

        start = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32),
                             jax.eval_shape(value_and_grad, params, jax.tree.map(lambda x: x[0], split), total))
        _largest(start).update(jax.tree.map(lambda x: x - jnp.inf, _largest(start)))
        return jax.lax.scan(add, start, split)[0]

    def norms(name, tree):
        found = {"": global_norm(tree, where)} if labels is None else group_norms(tree, labels, where)
        return {f"{name}_norm/{group}" if group else f"{name}_norm": value for group, value in found.items()
                if group != "frozen"}

    def train_step(state: TrainState, batch):
        noise, rounding, clipping = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), state.step), 3)
        rate = schedule(state.step)
        params = working_copy(recipe, state.params, noise, rate / config.optim.learning_rate,
                              jnp.dtype(config.model.compute_dtype))
        total = jnp.maximum(batch["weights"].sum(), 1e-9)  # of few-bit numbers: exact in any order
        (loss, sums), gradients = accumulate(params, batch, total)
        largest = sums.pop(MAX_LOGITS, None)
        gradients = _poisoned(gradients, labels, jnp.isfinite(loss))
        # Nothing of the optimizer begins before the backward pass ends: the compiler would make room for it early.
        gradients, stored, moments = jax.lax.optimization_barrier((gradients, state.params, state.optimizer))
        updates, moments = optimizer.update(gradients, moments, stored)
        written = apply_updates(recipe, stored, updates, rounding)
        metrics = {
            "loss": loss, "learning_rate": rate, **sums, **skipped_steps(moments),
            "tokens": (batch["segment_ids"] > 0).sum(), "supervised": batch["weights"].sum(),
            **norms("grad", gradients), **norms("update", updates), **norms("param", stored),
        }
        if config.train.rounding_statistics:
            metrics["changed_share"] = _changed(stored, written)
        if largest:
            # A step that was skipped is not clipped either: it changes nothing.
            at = jnp.where(moments.consecutive == 0, config.optim.qk_clip or jnp.inf, jnp.inf)
            clipped, report = qk_clip(recipe, written, largest, clipping, threshold=at, labels=labels,
                                      zero_centred_norm=model.family.zero_centred_norm)
            written = clipped if config.optim.qk_clip else written
            metrics |= report if config.optim.qk_clip else {"qk_max_logit": report["qk_max_logit"]}
        return TrainState(state.step + 1, written, moments), metrics

    return jax.jit(train_step, donate_argnums=0, compiler_options=compiler_options(mesh, config.model.overlap))


def _poisoned(gradients, labels, fine: jax.Array):
    """The gradients; of a loss that is no finite number they have none either, so that the optimizer skips the step.

    One array that learns is enough, and the smallest costs nothing.
    """
    leaves, structure = jax.tree.flatten(gradients)
    groups = ["adamw"] * len(leaves) if labels is None else jax.tree.leaves(labels)
    moving = [number for number, group in enumerate(groups) if group != "frozen"]
    if moving:
        smallest = min(moving, key=lambda number: leaves[number].size)
        leaves[smallest] = jnp.where(fine, leaves[smallest], jnp.nan)
    return jax.tree.unflatten(structure, leaves)


def _changed(before, after) -> jax.Array:
    """Share of the stored weights that are not what they were: what rounding let through of an update."""
    pairs = list(zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True))
    return sum((a != b).sum(dtype=jnp.float32) for a, b in pairs) / float(sum(a.size for a, _ in pairs))

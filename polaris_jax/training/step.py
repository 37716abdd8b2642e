"""One optimizer step of supervised fine-tuning: working copy → forward → loss → gradients → update.

A pure function of (config, seed, step, batch). The forward pass is ``models.decoder``'s and what follows the gradients
is ``update``'s; here stand the objective, the two ways to its gradients (``sharded_loss``, and ``make_loss`` as the
plain one that leaves collectives to the compiler), and the sum over microbatches.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding

from polaris_jax.models.config import ModelConfig
from polaris_jax.models.decoder import hidden, token_losses
from polaris_jax.models.lora import split_table
from polaris_jax.models.weights import table_tree
from polaris_jax.ops import context_attention, linear_cross_entropy
from polaris_jax.ops.context_recurrence import spread_recurrence
from polaris_jax.ops.ring import AXIS
from polaris_jax.sharding import activation_spec
from polaris_jax.training.compiler_options import compiler_options
from polaris_jax.training.config import StepConfig, context_method, lora
from polaris_jax.training.sharded_loss import MAX_LOGITS, make_partial_value_and_grad, make_sharded_loss
from polaris_jax.training.state import TrainState
from polaris_jax.training.update import Metrics, Update
from polaris_jax.trajectory import KINDS, ROLES

Batch = dict[str, jax.Array]
# What a step minimises, given every token's negative log-likelihood: ``(nll, lse, batch, total) -> (loss, sums)`` with
# ``nll, lse: [B, S] float32`` nats. Both results must be sums over tokens, so that any mesh may add its parts up.
Objective = Callable[[jax.Array, jax.Array, Batch, jax.Array], tuple[jax.Array, Any]]
SEEN = "seen_keys"
# ``((loss, sums), gradients)``; ``sums`` may hold ``MAX_LOGITS``, which is a maximum over rows instead.
Results = tuple[tuple[jax.Array, Any], Any]


def supervised(config: StepConfig) -> Objective:
    """The weighted mean of the losses and, if asked for, of the squared log-partition; sums per role and per kind."""

    def objective(nll, lse, batch, total):
        weighted = nll * batch["weights"]
        value = weighted.sum() / total
        if config.loss.z_loss:
            value += config.loss.z_loss * (jnp.square(lse) * batch["weights"]).sum() / total
        return value, role_sums(weighted, batch)

    return objective


def make_loss(
    config: StepConfig, model: ModelConfig, mesh: Mesh, objective: Objective | None = None
) -> Callable[..., tuple[jax.Array, Any]]:
    """``loss(working params, batch, total, frozen) -> (loss, sums)`` of ``objective`` (default: ``supervised``).

    Here and below, ``frozen`` are the weights that an adapter leaves as they are; in full training there are none.
    """
    objective = objective or supervised(config)
    join = split_table(model, lora(config)).join
    attend = partial(
        context_attention,
        mesh=mesh,
        block=config.model.attention_block or None,
        method=context_method(config),
        group=config.model.context_group or None,
    )
    recur = None
    if model.recurrent and mesh.shape[AXIS] > 1:
        recur = partial(spread_recurrence, mesh=mesh, kernel=model.delta_rule.conv_kernel)
    cross_entropy = partial(linear_cross_entropy, mesh=mesh, chunk=config.loss.chunk)
    residual = NamedSharding(mesh, activation_spec(("batch", "sequence", "embed")))

    def loss(params, batch, total, frozen=None):
        params = join(params, frozen or {})
        x = hidden(
            params,
            model,
            batch["tokens"],
            batch["positions"],
            batch["segment_ids"],
            attend=attend,
            recur=recur,
            remat=config.model.remat,
            compute_dtype=jnp.dtype(config.model.compute_dtype),
            constrain=lambda x: jax.lax.with_sharding_constraint(x, residual),
        )
        nll, lse = token_losses(params, model, x, batch["targets"], cross_entropy=cross_entropy)
        return objective(nll, lse, batch, total)

    return loss


def make_evaluation(config: StepConfig, model: ModelConfig, mesh: Mesh) -> Callable[..., Any]:
    """The jitted ``(params, batch, frozen) -> sums per role and per kind``, the forward pass alone.

    Parameters are taken as stored; the compute dtype is reached by nearest rounding, whatever the recipe.
    """

    def objective(nll, lse, batch, total):
        weighted = nll * batch["weights"]
        return weighted.sum(), role_sums(weighted, batch)

    forward = (make_sharded_loss if _is_sharded(config) else make_loss)(config, model, mesh, objective)
    compute = jnp.dtype(config.model.compute_dtype)
    exact = table_tree(split_table(model, lora(config)).trained, lambda _, weight: weight.float32)

    def evaluate(params, batch, frozen=None):
        copy = jax.tree.map(lambda p, kept: p if kept else p.astype(compute), params, exact)
        return forward(copy, batch, jnp.ones(()), frozen)[1]

    return jax.jit(evaluate, compiler_options=compiler_options(mesh, config.model.overlap))


def _is_sharded(config: StepConfig) -> bool:
    """Whether ``config.model.remat`` asks for the program whose collectives are written out."""
    return config.model.remat in ("full", "attention")


def partial_gradients(
    config: StepConfig, model: ModelConfig, mesh: Mesh, objective: Objective
) -> tuple[Callable[..., Results], Callable[[Any], Any]]:
    """``(part, reduce)`` by the path that ``config.model.remat`` asks for, for steps made of several parts.

    ``part(working params, batch, total, frozen) -> ((loss, sums), gradients)``, gradients in the parameters' dtype;
    added up over the parts, ``reduce(gradients)`` gives those of the step. In the plain path (remat none, dots) the
    compiler sums every part over the devices, and ``reduce`` has nothing left to do.
    """
    if _is_sharded(config):
        return make_partial_value_and_grad(config, model, mesh, objective)
    return jax.value_and_grad(make_loss(config, model, mesh, objective), has_aux=True), lambda gradients: gradients


def loss_and_gradients(
    config: StepConfig, model: ModelConfig, mesh: Mesh, objective: Objective
) -> Callable[..., Results]:
    """``(working params, batch, total, frozen) -> ((loss, sums), gradients)`` of a whole step.

    It is made in ``train.microbatches`` parts. Gradients have the parameters' dtype, or float32 where they are a sum of
    several parts.
    """
    part, reduce = partial_gradients(config, model, mesh, objective)
    count = config.train.microbatches

    def accumulate(params, batch, total, frozen):
        if count == 1:
            return part(params, batch, total, frozen)
        split = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), batch)
        start = _nothing(jax.eval_shape(part, params, jax.tree.map(lambda x: x[0], split), total, frozen))

        def add(before, rows):
            return add_results(before, part(params, rows, total, frozen)), None

        return jax.lax.scan(add, start, split)[0]

    def value_and_grad(params, batch, total, frozen=None):
        results, gradients = accumulate(params, batch, total, frozen)
        return results, reduce(gradients)

    return value_and_grad


def summed_gradients(
    config: StepConfig, model: ModelConfig, mesh: Mesh, objective: Objective
) -> Callable[..., Results]:
    """``(working params, batches [parts, B, S], parts wanted, frozen) -> ((loss, sums), gradients)``, all in float32.

    The first ``parts wanted`` batches are added up in place, so that one program serves steps of any number of parts.
    """
    part, reduce = partial_gradients(config, model, mesh, objective)

    def value_and_grad(params, batches, wanted, frozen=None):
        total = jnp.ones(())

        def batch(number):
            return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, number, keepdims=False), batches)

        def add(number, before):
            return add_results(before, part(params, batch(number), total, frozen))

        start = _nothing(jax.eval_shape(part, params, jax.eval_shape(batch, 0), total, frozen))
        results, gradients = jax.lax.fori_loop(0, wanted, add, start)
        return results, reduce(gradients)

    return value_and_grad


def _nothing(shapes: Results) -> Results:
    """The start of the sum: zeros in float32, and minus infinity for maxima."""
    start = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), shapes)
    _max_logits(start).update(jax.tree.map(lambda x: x - jnp.inf, _max_logits(start)))
    return start


def add_results(before: Results, now: Results) -> Results:
    """Joins the results of two parts of a step in float32: adds the sums, and keeps the larger ``MAX_LOGITS``."""
    largest = jax.tree.map(jnp.maximum, _max_logits(before), _max_logits(now))
    after = jax.tree.map(lambda a, b: a + b.astype(jnp.float32), before, now)
    _max_logits(after).update(largest)
    return after


def _max_logits(results: Results) -> dict[str, jax.Array]:
    sums = results[0][1]
    return sums.get(MAX_LOGITS, {}) if isinstance(sums, dict) else {}


def role_sums(weighted: jax.Array, batch: Batch) -> dict[str, jax.Array]:
    """``[2, n] float32`` per role and per kind: summed weighted loss, summed weight."""
    pair = jnp.stack([weighted, batch["weights"]]).reshape(2, -1)

    def by(ids, n):
        return jax.vmap(lambda x: jax.ops.segment_sum(x, ids.reshape(-1), num_segments=n))(pair)

    return {"roles": by(batch["roles"], len(ROLES)), "kinds": by(batch["kinds"], len(KINDS))}


def seen_keys(model: ModelConfig, batch: Batch) -> Metrics:
    """Per type of attention layer, keys that are visible to a query, summed over all queries: float32 scalars.

    A query sees as many keys as its position in its document says, within the window if there is one.
    """
    positions = jnp.where(batch["segment_ids"] > 0, batch["positions"] + 1, 0)
    windows = {"full_attention": None, "sliding_attention": model.sliding_window}
    return {
        kind: (positions if window is None else jnp.minimum(positions, window)).sum(dtype=jnp.float32)
        for kind, window in windows.items()
        if kind in model.layer_types
    }


def make_train_step(
    config: StepConfig,
    model: ModelConfig,
    mesh: Mesh,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    labels: Any = None,
) -> jax.stages.Wrapped:
    """The jitted step ``(state, batch) -> (state, metrics)``; the state's buffers are donated.

    ``batch`` holds arrays ``[B, S]`` (see ``data.Batches``). Microbatches split its rows; the loss is the global
    weighted sum over the global weight, so their number changes nothing but memory.

    Args:
      labels: the optimizer's groups; norms are then reported for each of them too.
    """
    value_and_grad = loss_and_gradients(config, model, mesh, supervised(config))
    update = Update(config, model, mesh, optimizer, schedule, labels)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        params = update.working_copy(state.params, state.step)
        total = jnp.maximum(batch["weights"].sum(), 1e-9)  # of few-bit numbers: exact in any order
        (loss, sums), gradients = value_and_grad(params, batch, total, state.frozen)
        state, metrics = update.apply(state, loss, gradients, sums.pop(MAX_LOGITS, None))
        counts = {"tokens": (batch["segment_ids"] > 0).sum(), "supervised": batch["weights"].sum()}
        return state, {"loss": loss, **sums, **counts, SEEN: seen_keys(model, batch), **metrics}

    return jax.jit(train_step, donate_argnums=0, compiler_options=compiler_options(mesh, config.model.overlap))

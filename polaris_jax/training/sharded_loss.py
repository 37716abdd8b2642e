"""Loss and gradients as the program of one device. Every collective of the step is written here; none is inferred.

The forward pass is that of ``models.decoder``; this module says how weights arrive (gathered along ``fsdp × context``,
their gradients leave as reduce-scatters), how tokens find their embedding, and who adds what up. The same numbers as
``step.make_loss`` under ``jax.value_and_grad`` (its plain reference), for any mesh. Keys and values travel along
``context``; heads, hidden units and vocabulary are spread over ``tensor`` (``tensor_axis``). What a device cannot
reduce to a shard it keeps until the step's last microbatch is done: gradients are summed over ``data`` once per step.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from polaris_jax.models.config import ModelConfig
from polaris_jax.models.decoder import embed, final_norm, token_losses
from polaris_jax.models.lora import SplitTable, split_table
from polaris_jax.models.weights import Table, table_shardings, table_tree, weight_table
from polaris_jax.ops import collectives, linear_cross_entropy
from polaris_jax.ops.context import shard_attention
from polaris_jax.ops.context_recurrence import ContextRecurrence
from polaris_jax.ops.embedding import embedding_lookup
from polaris_jax.ops.linear import gradients_together
from polaris_jax.ops.recurrent_backend import recurrent_backend
from polaris_jax.ops.ring import AXIS
from polaris_jax.sharding import activation_spec, spec_axes, weight_spec
from polaris_jax.sharding.rules import WEIGHT_RULES
from polaris_jax.training.config import StepConfig, context_method, lora, reduce_dtype
from polaris_jax.training.layer_scan import LayerSchedule, LayerWeights, scan_layers
from polaris_jax.training.tensor_axis import TENSOR, layer_weight, model_shard, tensor_parallel

SHARDS = spec_axes(WEIGHT_RULES["embed"])  # the mesh axes over which weights are spread
ROWS = activation_spec(("batch", "sequence"))
HEADS = activation_spec((None, "heads"))  # of the largest scores: [repeats, H]
MAX_LOGITS = "max_logits"


def make_partial_value_and_grad(
    config: StepConfig, model: ModelConfig, mesh: Mesh, objective: Callable
) -> tuple[Callable, Callable]:
    """Loss and gradients in two functions, ``(part, reduce)``, for a step that adds up several parts in between.

    ``part(working params, batch, total weight, frozen) -> ((loss, sums), gradients)`` gives gradients that still lack
    their sum over some mesh axes (``data``, and for a weight that is not spread the others too): of each weight a
    leading axis, spread over those, holds every device's own. ``reduce(gradients)`` adds them up in
    ``optim.reduce_dtype`` (weights that stay float32 in float32) and gives them the parameters' shapes; it is linear,
    so it may follow a sum of parts.

    ``sums`` also has ``max_logits``: per attention entry of the repeating group, each head's largest scaled attention
    score over all rows, ``{"0": [repeats, H] float32, ...}`` (a maximum, not a sum).

    Args:
      objective: as in ``step.supervised``: a sum over tokens and a dict of sums, both added up over the mesh.
    """
    split = split_table(model, lora(config))
    local_loss, (specs, frozen_specs) = _local_loss(config, model, mesh, objective, split)
    everywhere = _token_axes(mesh)

    def pending(spec):
        spread = {axis for entry in spec for axis in spec_axes(entry)}
        return tuple(axis for axis in everywhere if axis not in spread)

    stacked = jax.tree.map(lambda spec: P(pending(spec), *spec) if pending(spec) else spec, specs)

    def program(params, batch, total, frozen):
        value_and_grad = jax.value_and_grad(local_loss, has_aux=True)
        (loss, (sums, max_logits)), gradients = value_and_grad(params, batch, total, frozen)
        loss, sums = collectives.psum((loss, sums), everywhere)
        max_logits = jax.lax.pmax(max_logits, everywhere) if everywhere else max_logits
        gradients = jax.tree.map(lambda spec, g: g[None] if pending(spec) else g, specs, gradients)
        return loss, sums, max_logits, gradients

    def reduced(spec, exact, gradient):
        if not pending(spec):
            return gradient
        dtype = jnp.float32 if exact else reduce_dtype(config, mesh.shape)
        return collectives.psum(gradient[0].astype(dtype), pending(spec)).astype(gradient.dtype)

    how: dict[str, Any] = {"mesh": mesh, "check_vma": False}
    given = (specs, ROWS, P(), frozen_specs)
    spread = jax.shard_map(program, in_specs=given, out_specs=(P(), P(), HEADS, stacked), **how)
    add_up = partial(jax.tree.map, reduced, specs, table_tree(split.trained, lambda _, weight: weight.float32))
    reduce = jax.shard_map(add_up, in_specs=(stacked,), out_specs=specs, **how)

    def part(params, batch, total, frozen=None):
        loss, sums, max_logits, gradients = spread(params, batch, total, frozen or {})
        return (loss, sums | {MAX_LOGITS: max_logits}), gradients

    return part, reduce


def make_sharded_loss(config: StepConfig, model: ModelConfig, mesh: Mesh, objective: Callable) -> Callable:
    """``(working params, batch, total weight, frozen) -> (loss, sums)``: the forward pass alone."""
    split = split_table(model, lora(config))
    local_loss, (specs, frozen_specs) = _local_loss(config, model, mesh, objective, split)

    def program(params, batch, total, frozen):
        loss, (sums, _) = local_loss(params, batch, total, frozen)
        return collectives.psum((loss, sums), _token_axes(mesh))

    given = (specs, ROWS, P(), frozen_specs)
    spread = jax.shard_map(program, mesh=mesh, in_specs=given, out_specs=(P(), P()), check_vma=False)
    return lambda params, batch, total, frozen=None: spread(params, batch, total, frozen or {})


def _token_axes(mesh: Mesh) -> tuple[str, ...]:
    """The axes over which tokens are spread."""
    return tuple(axis for axis in ("data", *SHARDS) if mesh.shape[axis] > 1)


def layer_schedule(config: StepConfig) -> LayerSchedule:
    """The ``LayerSchedule`` of ``config``."""
    # What lies on the host has no buffer to free early; several runs only have the compiler fetch it all at once.
    segments = 1 if config.model.offload else config.model.segments
    return LayerSchedule(
        save_attention=config.model.remat == "attention",
        segments=segments,
        mlp_chunk=config.model.mlp_chunk,
        offload=config.model.offload,
    )


def _local_loss(config: StepConfig, model: ModelConfig, mesh: Mesh, objective: Callable, split: SplitTable):
    """``(one device's loss, (specs of the weights that learn, specs of the others))``."""
    specs, frozen_specs = (
        jax.tree.map(lambda s: s.spec, table_shardings(table, mesh)) for table in (split.trained, split.frozen)
    )
    tensor = mesh.shape[TENSOR]
    schedule = replace(layer_schedule(config), parallel=tensor_parallel(tensor), recurrent=recurrent_backend(mesh))
    shard = model_shard(model, tensor)
    attention = shard_attention(
        mesh,
        shard.num_kv_heads,
        block=config.model.attention_block or None,
        scale=model.head_dim**-0.5,
        method=context_method(config),
        group=config.model.context_group or None,
    )
    gather = partial(_gather, reduce_dtype(config, mesh.shape))
    shards = mesh.shape[AXIS]
    recurrence = None
    if model.recurrent and shards > 1:
        recurrence = ContextRecurrence(shards, model.delta_rule.conv_kernel, schedule.recurrent)
    layer_weights = LayerWeights(
        _gather_layers(split.trained, _entries(model, specs), tensor, gather),
        _gather_layers(split.frozen, _entries(model, frozen_specs), tensor, gather),
        split.join,
    )
    where = {path: weight_spec(mesh, weight.axes, weight.shape) for path, weight in weight_table(model).items()}
    lookup = partial(_lookup, where["embed", "embedding"])
    vocabulary = where["embed", "embedding"][0] if model.tie_embeddings else where["head", "kernel"][1]
    cross_entropy = partial(linear_cross_entropy, chunk=config.loss.chunk, axis=vocabulary)

    def fetch(x, path, shard):
        if path in split.trained:
            # Together: a gradient that is put off keeps what it needs alive beside every layer's backward pass.
            x, shard = gradients_together(x, shard)
        return x, gather(where[path], shard)

    def local_loss(params, batch, total, frozen):
        outside = split.join(*({name: tree[name] for name in tree if name != "blocks"} for tree in (params, frozen)))
        x = embed(outside, model, batch["tokens"], dtype=jnp.dtype(config.model.compute_dtype), lookup=lookup)
        blocks = (_entries(model, tree) for tree in (params, frozen))
        x, max_logits = scan_layers(
            shard,
            schedule,
            attention,
            recurrence,
            layer_weights,
            *blocks,
            x,
            batch["positions"],
            batch["segment_ids"],
        )
        x = final_norm(outside, model, x, fetch=fetch)
        nll, lse = token_losses(outside, model, x, batch["targets"], fetch=fetch, cross_entropy=cross_entropy)
        value, sums = objective(nll, lse, batch, total)
        return value, (sums, max_logits)

    return local_loss, (specs, frozen_specs)


def _entries(model: ModelConfig, tree: Any) -> Any:
    """``tree["blocks"]`` with every entry of the repeating group; those of which it has nothing are empty."""
    blocks = tree.get("blocks", {})
    return {str(j): blocks.get(str(j), {}) for j in range(len(model.group))}


def _gather_layers(table: Table, specs: Any, devices: int, gather: Callable) -> tuple[Callable, ...]:
    """Per layer of a repeat, from its shards to what a device computes with: every weight gathered, its own heads."""

    def fetch(key_path, spec):
        path = tuple(str(key.key) for key in key_path)
        weight = table["blocks", *path]
        dim = next((d for d, axis in enumerate(weight.axes[1:]) if WEIGHT_RULES[axis] == TENSOR), 0)
        stored = TENSOR in spec[1:]
        return lambda w: gather(P(*spec[1:]), layer_weight(path[1:], weight.heads, stored, dim, devices, w))

    fetches = jax.tree_util.tree_map_with_path(fetch, specs)
    fetch_all = partial(jax.tree.map, lambda fetch, weight: fetch(weight))
    return tuple(partial(fetch_all, fetches[str(j)]) for j in range(len(specs)))


def _gather(dtype: str, spec: P, shard: jax.Array) -> jax.Array:
    """A whole weight from its shards; the transpose is a reduce-scatter in ``dtype``."""
    for dim, entry in enumerate(spec):
        if set(spec_axes(entry)) & set(SHARDS):
            return collectives.gather(jax.lax.optimization_barrier(shard), spec_axes(entry), dim, dtype)
    return shard


def _lookup(spec: P, table: jax.Array, tokens: jax.Array) -> jax.Array:
    """Rows of the embedding: every device looks all tokens up in its columns, then columns are traded for tokens.

    The table is never gathered: tokens travel out, activations come back in one all-to-all. Over ``tensor`` a device
    has some of the rows, and what it does not have is zero in a sum that is therefore exact.
    """
    vocabulary, columns = spec
    if columns:
        tokens = jax.lax.all_gather(tokens, columns)  # [n, B, S_local]
    rows = _own_rows(vocabulary, table, tokens)
    if columns:
        rows = jax.lax.all_to_all(rows, columns, split_axis=0, concat_axis=3, tiled=True)[0]
    return collectives.sum_parts(rows, spec_axes(vocabulary)) if vocabulary else rows


def _own_rows(vocabulary: str | None, table: jax.Array, tokens: jax.Array) -> jax.Array:
    """``table[tokens]``, zero where the token is in another shard of the vocabulary."""
    if not vocabulary:
        return embedding_lookup(table, tokens, sort=True)
    place = tokens - jax.lax.axis_index(vocabulary) * table.shape[0]
    here = (place >= 0) & (place < table.shape[0])
    return jnp.where(here[..., None], embedding_lookup(table, jnp.where(here, place, 0), sort=True), 0)

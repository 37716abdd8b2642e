"""Loss and gradients as the program of one device: every collective of the step is written here, none is inferred.

The same numbers as ``step.make_loss`` under ``jax.value_and_grad`` (its plain reference), for any mesh: weights come
and gradients leave along ``fsdp × context``, keys and values travel along ``context``, gradients are summed over
``data`` once per step. The ``tensor`` axis stays with the compiler.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from polaris_jax.models.config import ModelConfig
from polaris_jax.models.layers import norm
from polaris_jax.models.weights import param_shardings
from polaris_jax.ops import collectives
from polaris_jax.ops.context import shard_attention
from polaris_jax.ops.cross_entropy import local_cross_entropy
from polaris_jax.ops.linear import gradients_together
from polaris_jax.sharding import activation_spec, spec_axes
from polaris_jax.sharding.rules import WEIGHT_RULES
from polaris_jax.training.config import context_method
from polaris_jax.training.stack import Schedule, run_layers

SHARDS = spec_axes(WEIGHT_RULES["embed"])  # the mesh axes over which weights are spread
ROWS = activation_spec(("batch", "sequence"))
MAX_LOGITS = "max_logits"


def make_value_and_grad(config: ConfigDict, model: ModelConfig, mesh: Mesh, objective: Callable) -> Callable:
    """``(working params, batch, total weight) -> ((loss, sums), gradients)``, gradients in the parameters' dtype.

    ``sums`` also has ``max_logits``: per attention entry of the repeating group, each head's largest scaled attention
    score over all rows, ``{"0": [repeats, H] float32, ...}`` (a maximum, not a sum).

    Args:
      objective: as in ``step.supervised``: a sum over tokens and a dict of sums, both added up over the mesh.
    """
    local_loss, specs, manual = _local_loss(config, model, mesh, objective)
    everywhere = _everywhere(mesh)

    def program(params, batch, total):
        (loss, (sums, largest)), gradients = jax.value_and_grad(local_loss, has_aux=True)(params, batch, total)
        loss, sums = collectives.psum((loss, sums), everywhere)
        largest = jax.lax.pmax(largest, everywhere) if everywhere else largest

        def finish(spec, gradient):
            spread = {axis for entry in spec for axis in spec_axes(entry)}
            return collectives.psum(gradient, tuple(axis for axis in everywhere if axis not in spread))

        return (loss, sums | {MAX_LOGITS: largest}), jax.tree.map(finish, specs, gradients)

    return jax.shard_map(program, mesh=mesh, axis_names=manual, in_specs=(specs, ROWS, P()),
                         out_specs=((P(), P()), specs), check_vma=False)


def make_loss_program(config: ConfigDict, model: ModelConfig, mesh: Mesh, objective: Callable) -> Callable:
    """``(working params, batch, total weight) -> (loss, sums)``: the forward pass of ``make_value_and_grad`` alone."""
    local_loss, specs, manual = _local_loss(config, model, mesh, objective)

    def program(params, batch, total):
        loss, (sums, _) = local_loss(params, batch, total)
        return collectives.psum((loss, sums), _everywhere(mesh))

    return jax.shard_map(program, mesh=mesh, axis_names=manual, in_specs=(specs, ROWS, P()), out_specs=(P(), P()),
                         check_vma=False)


def _everywhere(mesh: Mesh) -> tuple[str, ...]:
    """The axes over which tokens are spread."""
    return tuple(axis for axis in ("data", *SHARDS) if mesh.shape[axis] > 1)


def layer_schedule(config: ConfigDict) -> Schedule:
    """How the layers of ``config`` are run."""
    # What lies on the host has no buffer to free early; several runs only have the compiler fetch it all at once.
    segments = 1 if config.model.offload else config.model.segments
    return Schedule(save_attention=config.model.remat == "attention", segments=segments,
                    mlp_chunk=config.model.mlp_chunk, offload=config.model.offload)


def _local_loss(config: ConfigDict, model: ModelConfig, mesh: Mesh, objective: Callable):
    """``(one device's loss, specs of the parameters, the axes that are handled here)``."""
    manual = set(mesh.axis_names) if mesh.shape["tensor"] == 1 else set(mesh.axis_names) - {"tensor"}
    specs = jax.tree.map(lambda s: P(*(_manual(entry, manual) for entry in s.spec)), param_shardings(model, mesh))
    schedule = layer_schedule(config)
    mixing = shard_attention(
        mesh, model.num_kv_heads // mesh.shape["tensor"], block=config.model.attention_block,
        scale=model.head_dim**-0.5, method=context_method(config), group=config.model.context_group or None)
    compute = jnp.dtype(config.model.compute_dtype)

    def local_loss(params, batch, total):
        x = _embed(params["embed"]["embedding"], specs["embed"]["embedding"], batch["tokens"]).astype(compute)
        layer_specs = jax.tree.map(lambda spec: P(*spec[1:]), specs["blocks"])
        gather = partial(jax.tree.map, _gather, layer_specs)
        x, largest = run_layers(model, schedule, mixing, gather, params["blocks"], x, batch["positions"],
                                batch["segment_ids"])
        # Or the scale's gradient is put off, and what it needs is alive beside every layer's backward pass.
        x, scale = gradients_together(x, params["norm"]["scale"])
        x = norm(model, x, scale)
        part, name = ("embed", "embedding") if model.tie_embeddings else ("head", "kernel")
        x, shard = gradients_together(x, params[part][name])
        kernel = _gather(specs[part][name], shard)
        kernel = kernel.T if model.tie_embeddings else kernel
        nll, lse = local_cross_entropy(x, kernel.astype(x.dtype), batch["targets"], chunk=config.loss.chunk,
                                       vocab_size=model.vocab_size)
        value, sums = objective(nll, lse, batch, total)
        return value, (sums, largest)

    return local_loss, specs, manual


def _manual(entry, axes):
    """A ``PartitionSpec`` entry without the axes that the compiler handles."""
    return tuple(axis for axis in spec_axes(entry) if axis in axes) or None


def _gather(spec: P, shard: jax.Array) -> jax.Array:
    """A whole weight from its shards; the transpose is a reduce-scatter."""
    for dim, entry in enumerate(spec):
        if entry and set(entry) & set(SHARDS):
            return collectives.gather(jax.lax.optimization_barrier(shard), entry, dim)
    return shard


def _embed(table: jax.Array, spec: P, tokens: jax.Array) -> jax.Array:
    """Rows of the embedding: every device looks all tokens up in its columns, then columns are traded for tokens.

    The table is never gathered: tokens travel out, activations come back in one all-to-all.
    """
    if not spec[1]:
        return table[tokens]
    everyone = jax.lax.all_gather(tokens, spec[1])  # [n, B, S_local]
    return jax.lax.all_to_all(table[everyone], spec[1], split_axis=0, concat_axis=3, tiled=True)[0]

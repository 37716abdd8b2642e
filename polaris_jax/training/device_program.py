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
from polaris_jax.ops.context import shard_attention
from polaris_jax.ops.cross_entropy import local_cross_entropy
from polaris_jax.ops.linear import gradients_together
from polaris_jax.training.stack import Schedule, run_layers

SHARDS = ("fsdp", "context")  # the mesh axes over which a weight's ``embed`` axis is spread
ROWS = P(("data", "fsdp"), "context")


def make_value_and_grad(config: ConfigDict, model: ModelConfig, mesh: Mesh, role_sums: Callable) -> Callable:
    """``(working params, batch, total weight) -> ((loss, sums), gradients)``, gradients in the parameters' dtype.

    Args:
      role_sums: ``(weighted losses, batch) -> pytree`` of sums over tokens, added up over the mesh.
    """
    manual = set(mesh.axis_names) if mesh.shape["tensor"] == 1 else set(mesh.axis_names) - {"tensor"}
    specs = jax.tree.map(lambda s: P(*(_manual(entry, manual) for entry in s.spec)), param_shardings(model, mesh))
    schedule = Schedule(save_attention=config.model.remat == "attention", segments=config.model.segments,
                        mlp_chunk=config.model.mlp_chunk, offload=config.model.offload)
    mixing = shard_attention(
        mesh, model.num_kv_heads // mesh.shape["tensor"], block=config.model.attention_block,
        scale=model.head_dim**-0.5, method=config.model.context_method, group=config.model.context_group or None)
    compute = jnp.dtype(config.model.compute_dtype)

    def local_loss(params, batch, total):
        x = _embed(params["embed"]["embedding"], specs["embed"]["embedding"], batch["tokens"]).astype(compute)
        layer_specs = jax.tree.map(lambda spec: P(*spec[1:]), specs["blocks"])
        gather = partial(jax.tree.map, _gather, layer_specs)
        x = run_layers(model, schedule, mixing, gather, params["blocks"], x, batch["positions"], batch["segment_ids"])
        x = norm(model, x, params["norm"]["scale"])
        part, name = ("embed", "embedding") if model.tie_embeddings else ("head", "kernel")
        x, shard = gradients_together(x, params[part][name])
        kernel = _gather(specs[part][name], shard)
        kernel = kernel.T if model.tie_embeddings else kernel
        nll, lse = local_cross_entropy(x, kernel.astype(x.dtype), batch["targets"], chunk=config.loss.chunk,
                                       vocab_size=model.vocab_size)
        weighted = nll * batch["weights"]
        value = weighted.sum() / total
        if config.loss.z_loss:
            value += config.loss.z_loss * (jnp.square(lse) * batch["weights"]).sum() / total
        return value, role_sums(weighted, batch)

    def program(params, batch, total):
        results, gradients = jax.value_and_grad(local_loss, has_aux=True)(params, batch, total)
        everywhere = tuple(axis for axis in ("data", *SHARDS) if mesh.shape[axis] > 1)
        results = jax.lax.psum(results, everywhere) if everywhere else results

        def finish(spec, gradient):
            spread = {axis for entry in spec for axis in ((entry,) if isinstance(entry, str) else entry or ())}
            left = tuple(axis for axis in everywhere if axis not in spread)
            return jax.lax.psum(gradient, left) if left else gradient

        return results, jax.tree.map(finish, specs, gradients)

    return jax.shard_map(program, mesh=mesh, axis_names=manual, in_specs=(specs, ROWS, P()),
                         out_specs=((P(), P()), specs), check_vma=False)


def _manual(entry, axes):
    """A ``PartitionSpec`` entry without the axes that the compiler handles."""
    kept = tuple(axis for axis in ((entry,) if isinstance(entry, str) else entry or ()) if axis in axes)
    return kept or None


def _gather(spec: P, shard: jax.Array) -> jax.Array:
    """A whole weight from its shards; the transpose is a reduce-scatter."""
    for dim, entry in enumerate(spec):
        if entry and set(entry) & set(SHARDS):
            return jax.lax.all_gather(jax.lax.optimization_barrier(shard), entry, axis=dim, tiled=True)
    return shard


def _embed(table: jax.Array, spec: P, tokens: jax.Array) -> jax.Array:
    """Rows of the embedding: every device looks all tokens up in its columns, then columns are traded for tokens.

    The table is never gathered: tokens travel out, activations come back in one all-to-all.
    """
    if not spec[1]:
        return table[tokens]
    everyone = jax.lax.all_gather(tokens, spec[1])  # [n, B, S_local]
    return jax.lax.all_to_all(table[everyone], spec[1], split_axis=0, concat_axis=3, tiled=True)[0]

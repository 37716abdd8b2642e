"""The layers of a model as a schedule: what is gathered when, what the backward pass finds saved, and where it lies.

This is the per-device program behind ``models.hidden`` (which is its plain reference): it runs inside ``shard_map``
and owns both passes, so that every collective and every buffer of a layer is written down here.

* A layer's weights are gathered (ZeRO-3, arXiv 1910.02054) just before use and dropped; its gradients leave as
  reduce-scatters, layer by layer, while the backward pass goes on.
* Saved per layer: its input, and with ``remat="attention"`` also attention output and log-sum-exp, so that the ring
  runs once. Everything else is computed again.
* ``segments`` cuts the stack into runs with residual buffers of their own: a run's buffers are free before the
  gradients of the runs below it exist. The peak of memory falls by almost the size of the gradients.
* ``offload`` sends the layer inputs to host memory and fetches each one layer ahead.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from polaris_jax.models.config import ModelConfig
from polaris_jax.models.layers import attention, linear_attention, mlp, norm
from polaris_jax.ops.rotary import rotation
from polaris_jax.ops.rowwise import rowwise
from polaris_jax.ops.shard_attention import ShardAttention


@dataclass(frozen=True)
class Schedule:
    """How the stack is run; nothing here changes the result.

    Attributes:
      save_attention: keep attention output and log-sum-exp of every layer besides its input.
      segments: runs of layers with residual buffers of their own.
      mlp_chunk: tokens at a time through the feed-forward half (0: the whole row).
      offload: layer inputs wait in host memory.
    """

    save_attention: bool = True
    segments: int = 1
    mlp_chunk: int = 0
    offload: bool = False


def run_layers(
    config: ModelConfig, schedule: Schedule, mixing: ShardAttention, gather: Callable[[Any], Any], blocks: Any,
    x: jax.Array, positions: jax.Array, segment_ids: jax.Array,
) -> jax.Array:
    """All layers over one device's part of the rows.

    Args:
      gather: one repeat's weight shards → whole weights; its transpose must reduce and scatter gradients.
      blocks: ``params["blocks"]``, this device's shards, stacked over repeats.
      x: ``[B, S_local, D]``. positions, segment_ids: ``[B, S_local] int32``.

    Returns:
      ``[B, S_local, D]``, before the final norm.
    """
    return _stack(config, schedule, mixing, gather, blocks, x, positions, segment_ids,
                  mixing.sides(positions, segment_ids))


def _layer(config, schedule, kind, w, x, positions, segment_ids, attend):
    """One layer; ``attend(q, k, v)`` is bound by the caller."""
    u = norm(config, x, w["norm_in"]["scale"])
    if kind == "linear_attention":
        mixed = linear_attention(config, w["linear_attention"], u, segment_ids=segment_ids)[0]
    else:
        mixed = attention(config, w["attention"], u, positions=positions, rotation=rotation(config.rope, positions),
                          attend=attend)
    return rowwise(partial(_feed_forward, config), {"norm": w["norm_post"]["scale"], "mlp": w["mlp"]}, x + mixed,
                   chunk=schedule.mlp_chunk)


def _feed_forward(config, w, x):
    return x + mlp(w["mlp"], norm(config, x, w["norm"]))


def _window(config, kind):
    return config.sliding_window if kind == "sliding_attention" else None


def _bounds(repeats: int, segments: int) -> list[tuple[int, int]]:
    """``segments`` runs of near-equal length."""
    edges = [round(i * repeats / segments) for i in range(min(segments, repeats) + 1)]
    return list(itertools.pairwise(edges))


def _at(blocks, i):
    return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, i, keepdims=False), blocks)


def _to_host(x):
    return jax.device_put(x, jax.memory.Space.Host)


def _to_device(x):
    return jax.device_put(x, jax.memory.Space.Device)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2, 3))
def _stack(config, schedule, mixing, gather, blocks, x, positions, segment_ids, sides):
    return _forward(config, schedule, mixing, gather, blocks, x, positions, segment_ids, sides)[0]


def _forward(config, schedule, mixing, gather, blocks, x, positions, segment_ids, sides):
    def repeat(x, i):
        weights = gather(_at(blocks, i))
        kept = []
        for j, kind in enumerate(config.group):
            saved = {"x": _to_host(x) if schedule.offload else x}

            def attend(q, k, v, saved=saved, kind=kind):
                out, kept, _ = mixing.forward(q, k, v, sides, _window(config, kind))
                if schedule.save_attention:
                    saved["attention"] = kept
                return out

            x = _layer(config, schedule, kind, weights[str(j)], x, positions, segment_ids, attend)
            kept.append(saved)
        return x, kept

    runs = []
    for low, high in _bounds(jax.tree.leaves(blocks)[0].shape[0], schedule.segments):
        x, kept = jax.lax.scan(repeat, x, jnp.arange(low, high))
        runs.append(kept)
    return x, (blocks, positions, segment_ids, sides, runs)


def _backward(config, schedule, mixing, gather, residuals, dx):
    blocks, positions, segment_ids, sides, runs = residuals

    def repeat(dx, inputs):
        i, kept = inputs
        weights, scatter = jax.vjp(gather, _at(blocks, i))
        gradients = {}
        for j, kind in reversed(list(enumerate(config.group))):
            saved = kept[j]

            def attend(q, k, v, saved=saved, kind=kind):
                if schedule.save_attention:
                    return mixing.resume(q, k, v, sides, saved["attention"], _window(config, kind))
                return mixing.forward(q, k, v, sides, _window(config, kind))[0]

            def layer(w, x, kind=kind, attend=attend):
                return _layer(config, schedule, kind, w, x, positions, segment_ids, attend)

            x = _to_device(saved["x"]) if schedule.offload else saved["x"]
            gradients[str(j)], dx = jax.vjp(layer, weights[str(j)], x)[1](dx)
        return dx, scatter(gradients)[0]

    bounds = _bounds(jax.tree.leaves(blocks)[0].shape[0], schedule.segments)
    parts = []
    for (low, high), kept in reversed(list(zip(bounds, runs, strict=True))):
        dx, gradients = jax.lax.scan(repeat, dx, (jnp.arange(low, high), kept), reverse=True)
        parts.insert(0, gradients)
    dblocks = parts[0] if len(parts) == 1 else jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
    return dblocks, dx, None, None, None  # positions, segments and sides are integers


_stack.defvjp(_forward, _backward)

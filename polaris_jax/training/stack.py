"""The layers of a model as a schedule: what is gathered when, what the backward pass finds saved, and where it lies.

This is the per-device program behind ``models.hidden`` (which is its plain reference): it runs inside ``shard_map``
and owns both passes, so that every collective and every buffer of a layer is written down here.

* A layer's weights are gathered (ZeRO-3, arXiv 1910.02054) just before use and dropped; its gradients leave as
  reduce-scatters, layer by layer, while the backward pass goes on.
* Saved per layer: its input, and with ``remat="attention"`` also attention output and log-sum-exp, so that the ring
  runs once. Everything else is computed again.
* ``segments`` cuts the stack into runs with residual buffers of their own: a run's buffers are free before the
  gradients of the runs below it exist. The peak of memory falls by almost the size of the gradients.
* ``offload`` sends the layer inputs to host memory; fetching them early enough is the compiler's work.
* The largest attention logit of every head comes out too (QK-clip needs it); attention has it at hand.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from polaris_jax.models.config import ModelConfig
from polaris_jax.models.layers import block, row_mixers
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
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """All layers over one device's part of the rows.

    Args:
      gather: one repeat's weight shards → whole weights; its transpose must reduce and scatter gradients.
      blocks: ``params["blocks"]``, this device's shards, stacked over repeats.
      x: ``[B, S_local, D]``. positions, segment_ids: ``[B, S_local] int32``.

    Returns:
      ``[B, S_local, D]``, before the final norm; and per attention entry of the repeating group, the largest scaled
      score of each head over the rows of this shard's group, ``{"0": [repeats, H] float32, ...}``, without gradient.
    """
    return _stack(config, schedule, mixing, gather, blocks, x, positions, segment_ids,
                  mixing.sides(positions, segment_ids))


def _bounds(repeats: int, segments: int) -> list[tuple[int, int]]:
    """``segments`` runs of near-equal length."""
    edges = [round(i * repeats / segments) for i in range(min(segments, repeats) + 1)]
    return list(itertools.pairwise(edges))


def _joined(parts):
    """Trees of every run, stacked along the repeats."""
    return parts[0] if len(parts) == 1 else jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


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
        weights, kept, largest = gather(_at(blocks, i)), [], {}

        def attend(q, k, v, window):
            out, state, largest[str(len(kept))] = mixing.forward(q, k, v, sides, window)
            if schedule.save_attention:
                saved["attention"] = state
            return out

        mixers = row_mixers(config, positions, segment_ids, attend)
        for j, kind in enumerate(config.group):
            saved = {"x": _to_host(x) if schedule.offload else x}
            x, _ = block(config, weights[str(j)], x, mixers[kind], mlp_chunk=schedule.mlp_chunk)
            kept.append(saved)
        return x, (kept, largest)

    runs, largest = [], []
    for low, high in _bounds(jax.tree.leaves(blocks)[0].shape[0], schedule.segments):
        x, (kept, top) = jax.lax.scan(repeat, x, jnp.arange(low, high))
        runs.append(kept)
        largest.append(top)
    return (x, _joined(largest)), (blocks, positions, segment_ids, sides, runs)


def _backward(config, schedule, mixing, gather, residuals, cotangents):
    dx, _ = cotangents
    blocks, positions, segment_ids, sides, runs = residuals

    def repeat(dx, inputs):
        i, kept = inputs
        weights, scatter = jax.vjp(gather, _at(blocks, i))
        gradients = {}
        for j, kind in reversed(list(enumerate(config.group))):
            saved = kept[j]

            def attend(q, k, v, window, saved=saved):
                if schedule.save_attention:
                    return mixing.resume(q, k, v, sides, saved["attention"], window)
                return mixing.forward(q, k, v, sides, window)[0]

            mix = row_mixers(config, positions, segment_ids, attend)[kind]

            def layer(w, x, mix=mix):
                return block(config, w, x, mix, mlp_chunk=schedule.mlp_chunk)[0]

            x = _to_device(saved["x"]) if schedule.offload else saved["x"]
            gradients[str(j)], dx = jax.vjp(layer, weights[str(j)], x)[1](dx)
        return dx, scatter(gradients)[0]

    bounds = _bounds(jax.tree.leaves(blocks)[0].shape[0], schedule.segments)
    parts = []
    for (low, high), kept in reversed(list(zip(bounds, runs, strict=True))):
        dx, gradients = jax.lax.scan(repeat, dx, (jnp.arange(low, high), kept), reverse=True)
        parts.insert(0, gradients)
    return _joined(parts), dx, None, None, None  # positions, segments and sides are integers


_stack.defvjp(_forward, _backward)

"""The layers of a model in training: when weights are gathered, and which residuals are saved where.

This is the per-device program behind ``models.decoder.hidden`` (which is its plain reference) with the same ``block``.
It runs inside ``shard_map`` and owns both passes, so that every collective and every buffer of a layer is written here.

* A layer's weights are gathered (ZeRO-3, arXiv 1910.02054) just before use, and then dropped. This also holds where
  layers of several types make one repeat. Gradients are reduce-scattered layer by layer during the backward pass.
* Saved per layer: its input, and with ``remat="attention"`` also attention output and log-sum-exp, or the memories that
  a recurrent layer starts from on this shard, so that the ring and the scan over shards run once. Everything else is
  computed again.
* ``segments`` cuts the stack into runs with their own residual buffers. A run's buffers are free before the gradients
  of the runs below it exist. Peak memory falls by almost the size of the gradients.
* ``offload`` sends the layer inputs to host memory. The compiler schedules the copies back.
* The largest attention logit of every head is returned too, for QK-clip. Attention computes it anyway.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from polaris_jax.models.config import ModelConfig
from polaris_jax.models.decoder import WHOLE, TensorParallel, block, token_mixers
from polaris_jax.ops.context_recurrence import ContextRecurrence
from polaris_jax.ops.recurrence import whole_rows
from polaris_jax.ops.recurrent_backend import XLA, RecurrentBackend
from polaris_jax.ops.shard_attention import ShardAttention


@dataclass(frozen=True)
class LayerSchedule:
    """How the layers are run; nothing here changes the result.

    Attributes:
      save_attention: keep attention output and log-sum-exp of every layer besides its input.
      segments: runs of layers with residual buffers of their own.
      mlp_chunk: tokens at a time through the feed-forward half (0: the whole row).
      offload: layer inputs wait in host memory.
      parallel: sums over the devices that share a layer's heads and hidden units.
      recurrent: who computes the recurrent layers.
    """

    save_attention: bool = True
    segments: int = 1
    mlp_chunk: int = 0
    offload: bool = False
    parallel: TensorParallel = WHOLE
    recurrent: RecurrentBackend = XLA


@dataclass(frozen=True)
class LayerWeights:
    """How the shards of a repeat's weights become what its layers compute with; per layer of the repeat.

    Attributes:
      gather: shards that learn → whole weights; the transpose must reduce and scatter gradients.
      gather_frozen: the same for the weights that do not learn, which have no gradients.
      join: ``(that of one layer that learns, that of it which does not) -> the layer's weights``, for all layers.
    """

    gather: tuple[Callable[[Any], Any], ...]
    gather_frozen: tuple[Callable[[Any], Any], ...]
    join: Callable[[Any, Any], Any]


def scan_layers(
    config: ModelConfig,
    schedule: LayerSchedule,
    attention: ShardAttention,
    recurrence: ContextRecurrence | None,
    weights: LayerWeights,
    blocks: Any,
    frozen: Any,
    x: jax.Array,
    positions: jax.Array,
    segment_ids: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """All layers over one device's part of the rows.

    Args:
      config: of what one device computes: its own heads and hidden units (``tensor_axis.model_shard``).
      recurrence: of recurrent layers whose rows are spread over ``context``.
      blocks: ``params["blocks"]``, this device's shards, stacked over repeats: the weights that learn, with every entry
        of the repeating group. frozen: the others likewise; without an adapter its entries are empty.
      x: ``[B, S_local, D]``. positions, segment_ids: ``[B, S_local] int32``.

    Returns:
      ``[B, S_local, D]``, before the final norm; and per attention entry of the repeating group, the largest scaled
      score of each head over the rows of this shard's group, ``{"0": [repeats, H] float32, ...}``, without gradient.
    """
    metadata = attention.metadata(positions, segment_ids)
    order = recurrence.order(positions, segment_ids) if recurrence else None
    how = (config, schedule, attention, recurrence, weights)
    return _scan(how, blocks, frozen, x, positions, segment_ids, metadata, order)


def run_count(repeats: int, segments: int) -> int:
    """How many runs ``segments`` makes: none of a single repeat, whose loop the compiler would dissolve and then run
    layers beside one another."""
    return min(segments, max(repeats // 2, 1))


def _bounds(repeats: int, segments: int) -> list[tuple[int, int]]:
    """Runs of near-equal length."""
    runs = run_count(repeats, segments)
    return list(itertools.pairwise(round(i * repeats / runs) for i in range(runs + 1)))


def _joined(parts):
    """Trees of every run, stacked along the repeats."""
    return parts[0] if len(parts) == 1 else jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def _at(blocks, i):
    return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, i, keepdims=False), blocks)


def _no_earlier(shards, frozen, x):
    """All; no shard is gathered before ``x`` is there, so that of a repeat one layer is whole at a time."""
    return jax.lax.optimization_barrier((shards, frozen, x))


def _to_host(x):
    return jax.device_put(x, jax.memory.Space.Host)


def _to_device(x):
    return jax.device_put(x, jax.memory.Space.Device)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _scan(how, blocks, frozen, x, positions, segment_ids, metadata, order):
    return _forward(how, blocks, frozen, x, positions, segment_ids, metadata, order)[0]


def _forward(how, blocks, frozen, x, positions, segment_ids, metadata, order):
    config, schedule, attention, recurrence, layers = how

    def repeat(x, i):
        saved, max_logits = [], {}

        def attend(q, k, v, window):
            out, residuals, max_logits[str(len(saved) - 1)] = attention.forward(q, k, v, metadata, window)
            if schedule.save_attention:
                saved[-1]["attention"] = residuals
            return out

        def rule(*tokens):
            out, entered = recurrence.forward(order, *tokens)
            if schedule.save_attention:
                saved[-1]["entered"] = entered
            return out

        follow = recurrence.bound(order, rule) if recurrence else whole_rows(segment_ids, schedule.recurrent)
        mixers = token_mixers(config, positions, segment_ids, attend, follow)
        for j, kind in enumerate(config.group):
            saved.append({"x": _to_host(x) if schedule.offload else x})
            shards, others, x = _no_earlier(_at(blocks[str(j)], i), _at(frozen[str(j)], i), x)
            w = layers.join(layers.gather[j](shards), layers.gather_frozen[j](others))
            x, _ = block(config, w, x, mixers[kind], mlp_chunk=schedule.mlp_chunk, parallel=schedule.parallel)
        return x, (saved, max_logits)

    runs, max_logits = [], []
    for low, high in _bounds(jax.tree.leaves(blocks)[0].shape[0], schedule.segments):
        x, (saved, logits) = jax.lax.scan(repeat, x, jnp.arange(low, high))
        runs.append(saved)
        max_logits.append(logits)
    return (x, _joined(max_logits)), (blocks, frozen, positions, segment_ids, metadata, order, runs)


def _backward(how, residuals, cotangents):
    config, schedule, attention, recurrence, layers = how
    dx, _ = cotangents
    blocks, frozen, positions, segment_ids, metadata, order, runs = residuals

    def repeat(dx, inputs):
        i, kept = inputs
        gradients = {}
        for j, kind in reversed(list(enumerate(config.group))):
            saved = kept[j]
            shards, others, dx = _no_earlier(_at(blocks[str(j)], i), _at(frozen[str(j)], i), dx)
            weights, scatter = jax.vjp(layers.gather[j], shards)
            others = layers.gather_frozen[j](others)

            def attend(q, k, v, window, saved=saved):
                if schedule.save_attention:
                    return attention.backward_only(q, k, v, metadata, saved["attention"], window)
                return attention.forward(q, k, v, metadata, window)[0]

            def rule(*tokens, saved=saved):
                if schedule.save_attention:
                    return recurrence.given(order, saved["entered"], *tokens)
                return recurrence.forward(order, *tokens)[0]

            follow = recurrence.bound(order, rule) if recurrence else whole_rows(segment_ids, schedule.recurrent)
            mixer = token_mixers(config, positions, segment_ids, attend, follow)[kind]

            def layer(w, x, mixer=mixer, others=others):
                w = layers.join(w, others)
                return block(config, w, x, mixer, mlp_chunk=schedule.mlp_chunk, parallel=schedule.parallel)[0]

            x = _to_device(saved["x"]) if schedule.offload else saved["x"]
            dw, dx = jax.vjp(layer, weights, x)[1](dx)
            gradients[str(j)] = scatter(dw)[0]
        return dx, gradients

    bounds = _bounds(jax.tree.leaves(blocks)[0].shape[0], schedule.segments)
    parts = []
    for (low, high), saved in reversed(list(zip(bounds, runs, strict=True))):
        dx, gradients = jax.lax.scan(repeat, dx, (jnp.arange(low, high), saved), reverse=True)
        parts.insert(0, gradients)
    return _joined(parts), None, dx, None, None, None, None  # positions, segments, metadata and order are integers


_scan.defvjp(_forward, _backward)

"""The ``tensor`` axis in training: which heads and hidden units a device computes, and with which weights.

Tensor parallelism as in Megatron-LM (arXiv 1909.08053): the first products of each half of a layer are column-parallel,
the last one is row-parallel, and their sums over ``tensor`` are ``decoder.TensorParallel``. The model's own code runs
on every device, for a model of fewer heads and hidden units (``model_shard``).

Weights are stored in the Hugging Face order of columns, whatever the mesh, and cut evenly. Where a device's slice is
not what it computes (``Weight.heads``: several parts side by side, fewer heads than devices), ``own_heads`` trades
columns.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from polaris_jax.models.config import ModelConfig
from polaris_jax.models.decoder import WHOLE, TensorParallel
from polaris_jax.ops.collectives import psum, reduce_scatter, sum_gradients, sum_parts

TENSOR = "tensor"
INSIDE = ("attention", "linear_attention", "mlp")  # the parts of a layer between ``enter`` and ``leave``
Heads = tuple[tuple[int, int], ...]


def tensor_parallel(devices: int) -> TensorParallel:
    """The sums around both halves of a layer, inside ``shard_map``."""
    if devices == 1:
        return WHOLE
    axes = (TENSOR,)
    return TensorParallel(lambda x: sum_gradients(x, axes), lambda x: sum_parts(x, axes))


def own(heads: int, devices: int) -> int:
    """How many of ``heads`` a device computes: its share, or one that others have too where there are fewer heads."""
    return max(heads // devices, 1)


def misfits(model: ModelConfig, devices: int) -> list[str]:
    """What of a model cannot be spread over so many devices, in words; empty when everything can."""
    shared = {"query heads": model.num_heads, "hidden units": model.intermediate_size}
    copied = {"key-value heads": model.num_kv_heads}
    if model.recurrent:
        shared["value heads of the linear attention"] = model.delta_rule.value_heads
        copied["key heads of the linear attention"] = model.delta_rule.key_heads
    return [f"{count} {name}" for name, count in shared.items() if count % devices] + [
        f"{count} {name}" for name, count in copied.items() if count % devices and devices % count
    ]


def model_shard(model: ModelConfig, devices: int) -> ModelConfig:
    """The model that one of so many devices computes, ``misfits`` being none; the vocabulary is not part of it."""
    if devices == 1:
        return model
    linear = model.linear
    if model.recurrent:
        linear = dataclasses.replace(
            model.delta_rule,
            key_heads=own(model.delta_rule.key_heads, devices),
            value_heads=own(model.delta_rule.value_heads, devices),
        )
    return dataclasses.replace(
        model,
        num_heads=own(model.num_heads, devices),
        num_kv_heads=own(model.num_kv_heads, devices),
        intermediate_size=own(model.intermediate_size, devices),
        linear=linear,
    )


def layer_weight(path: tuple[str, ...], heads: Heads, stored: bool, dim: int, devices: int, w: jax.Array) -> jax.Array:
    """A layer's weight as this device computes with it, from the shard of it that is stored; inside ``shard_map``.

    Args:
      path: inside the layer. heads: ``Weight.heads``.
      stored: whether dimension ``dim``, that of heads or hidden units, is cut over ``tensor`` where it is stored.
    """
    if devices == 1 or path[0] not in INSIDE:
        return w
    if heads and not _aligned(heads, devices):
        return own_heads(heads, stored, dim, w)
    return w if stored else _shared(w)


def _aligned(heads: Heads, devices: int) -> bool:
    """Whether an even slice is a device's heads: one part, of enough heads."""
    return len(heads) == 1 and heads[0][0] % devices == 0


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def own_heads(heads: Heads, stored: bool, dim: int, w: jax.Array) -> jax.Array:
    """The columns of this device's heads, of every part; a head that several devices hold sums their gradients.

    Gradients are added up in float32 and rounded once.
    """
    whole = jax.lax.all_gather(w, TENSOR, axis=dim, tiled=True) if stored else w
    return _slices(heads, dim, whole)


def _slices(heads, dim, whole):
    devices, index = jax.lax.axis_size(TENSOR), jax.lax.axis_index(TENSOR)
    found, start = [], 0
    for count, width in heads:
        first = start + index * count // devices * width
        found.append(jax.lax.dynamic_slice_in_dim(whole, first, own(count, devices) * width, dim))
        start += count * width
    return jnp.concatenate(found, dim)


def _own_heads_backward(heads, stored, dim, _, dw):
    size = sum(count * width for count, width in heads)
    whole = jax.ShapeDtypeStruct((*dw.shape[:dim], size, *dw.shape[dim + 1 :]), jnp.float32)
    (total,) = jax.linear_transpose(functools.partial(_slices, heads, dim), whole)(dw.astype(jnp.float32))
    total = reduce_scatter(total, (TENSOR,), dim) if stored else psum(total, (TENSOR,))
    return (total.astype(dw.dtype),)


own_heads.defvjp(lambda heads, stored, dim, w: (own_heads(heads, stored, dim, w), None), _own_heads_backward)


@jax.custom_vjp
def _shared(w: Any) -> Any:
    """A weight that every device applies to heads of its own: gradients are added up in float32, rounded once."""
    return w


_shared.defvjp(lambda w: (w, None), lambda _, dw: (psum(dw.astype(jnp.float32), (TENSOR,)).astype(dw.dtype),))

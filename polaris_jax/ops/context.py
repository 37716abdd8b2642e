"""Attention over rows that are spread over the ``context`` mesh axis: one interface, three ways to bring keys to queries.

    ring         keys travel from shard to shard: constant memory, traffic grows with the number of shards
    two_level    heads are exchanged inside groups of neighbouring shards (all-to-all, arXiv 2309.14509), keys travel
                 from group to group (arXiv 2405.07719): fewer, larger hops
    all_gather   every shard holds all keys for a moment: best while they are small

All three give the same numbers, for any order of tokens over shards. In zigzag order (``N`` shards, ``2N`` chunks, shard
``i`` holds chunks ``i`` and ``2N-1-i``; the data pipeline permutes so) every shard has equal work at every hop.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from polaris_jax.errors import InputError
from polaris_jax.ops import tile_xla
from polaris_jax.ops.ring import AXIS, Ring, largest, ring
from polaris_jax.ops.tiles import Side, padded_length

Method = Literal["ring", "two_level", "all_gather"]
Implementation = Literal["auto", "xla", "pallas", "pallas_interpret"]


def context_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    q_positions: jax.Array,
    kv_positions: jax.Array,
    q_segments: jax.Array,
    kv_segments: jax.Array,
    mesh: Mesh,
    method: Method = "ring",
    group: int | None = None,
    scale: float | None = None,
    window: int | None = None,
    block: int = 512,
    implementation: Implementation = "auto",
    return_max_logit: bool = False,
) -> jax.Array | tuple[jax.Array, jax.Array]:
    """``ops.attention`` for self-attention of rows sharded over the mesh's ``context`` axis.

    Args:
      q: ``[B, S, H, D]``; k, v: ``[B, S, G, D]``. Batch is spread over ``(data, fsdp)`` and heads over ``tensor``.
      q_positions, q_segments, kv_positions, kv_segments: ``[B, S] int32``, in the same order of tokens.
      method: how keys reach queries; the order of tokens is free, zigzag is balanced.
      group: for ``two_level``, the number of neighbouring shards that exchange heads; default the largest that divides
        shards and kv heads.
      scale, window: as in ``ops.attention``.
      block: tile edge in tokens (rounded up to 128 in kernels); scores exist for one tile at a time.
      implementation: ``xla`` runs anywhere; ``pallas`` needs a TPU, ``pallas_interpret`` runs its kernels on any host,
        slowly; ``auto`` is ``pallas`` on a mesh of TPUs (attached or described by a topology), else ``xla``.
      return_max_logit: also return each head's largest scaled score over all rows, ``[H] float32`` (for QK-clip); it
        takes no gradient.

    Returns:
      ``[B, S, H, D]`` in ``q.dtype``, and the largest scores if asked for.

    Raises:
      InputError: ``S`` does not divide by twice the shards, heads by the ``tensor`` axis or by the group; an unknown
        method or implementation.
    """
    shards, tensor = mesh.shape[AXIS], mesh.shape["tensor"]
    S, H, G = q.shape[1], q.shape[2], k.shape[2]
    if S % (2 * shards):
        raise InputError("window", S, f"context={shards} needs a multiple of {2 * shards}; "
                                      f"the next is {-(-S // (2 * shards)) * 2 * shards}")
    if H % tensor or G % tensor:
        raise InputError("mesh.tensor", tensor, f"must divide the {H} query and {G} key-value heads")
    group = _group(method, group, shards, G // tensor)
    executor, options = _executor(implementation, mesh)
    local = functools.partial(
        _local, executor, options, shards, group, method == "all_gather", block,
        {"scale": q.shape[-1] ** -0.5 if scale is None else scale, "window": window})
    rows, heads = P(("data", "fsdp"), AXIS), P(("data", "fsdp"), AXIS, "tensor", None)
    out, top = jax.shard_map(
        local, mesh=mesh, in_specs=(heads, heads, heads, rows, rows, rows, rows), out_specs=(heads, P("tensor")),
        check_vma=False,
    )(q, k, v, q_positions, q_segments, kv_positions, kv_segments)
    return (out, top) if return_max_logit else out


ring_attention = functools.partial(context_attention, method="ring")


def _group(method: str, group: int | None, shards: int, kv_heads: int) -> int:
    if method not in ("ring", "two_level", "all_gather"):
        raise InputError("method", method, "choose ring, two_level or all_gather")
    if method != "two_level":
        return 1
    if group is None:
        return max(n for n in range(1, kv_heads + 1) if kv_heads % n == 0 and shards % n == 0)
    if group < 1 or shards % group or kv_heads % group:
        raise InputError("group", group, f"must divide {shards} shards and {kv_heads} key-value heads per shard")
    return group


def _executor(implementation: str, mesh: Mesh):
    """The module that computes a hop, and its own options."""
    if implementation == "auto":
        implementation = "pallas" if mesh.devices.flat[0].platform == "tpu" else "xla"
    if implementation == "xla":
        return tile_xla, {}
    if implementation in ("pallas", "pallas_interpret"):
        from polaris_jax.ops import tile_tpu  # Mosaic is not importable on every host

        return tile_tpu, {"interpret": implementation == "pallas_interpret"}
    raise InputError("implementation", implementation, "choose auto, xla, pallas or pallas_interpret")


def _local(executor, options, shards, group, gather, block, scoring, q, k, v, q_positions, q_segments, kv_positions,
           kv_segments):
    """One shard's part, ``[B, S / shards, ...]``."""
    q, k, v = (_exchange(x.transpose(0, 2, 1, 3), group, shards) for x in (q, k, v))
    length = q.shape[2]
    block, padded = padded_length(length, block, executor.UNIT)
    options = {**options, **scoring, "q_block": block, "kv_block": block}
    plan = Ring(shards, group, gather, functools.partial(executor.forward, **options),
                functools.partial(executor.backward, **options), scoring["scale"])

    def pad(x, axis):
        return jnp.pad(x, [(0, padded - length if a == axis else 0) for a in range(x.ndim)])

    queries = _joined(Side(q_positions, q_segments), group)
    keys = _joined(Side(kv_positions, kv_segments), group)
    mine = jax.lax.axis_index(AXIS) // group
    q_side = Side(*(pad(jax.lax.dynamic_index_in_dim(x, mine, keepdims=False), 1) for x in queries))
    kv_sides = Side(*(pad(x, 2) for x in keys))
    if gather:  # one hop over the keys of all shards
        kv_sides = Side(*(jnp.moveaxis(x, 0, 1).reshape(1, x.shape[1], -1) for x in kv_sides))
    out, top = ring(plan, pad(q, 2), pad(jnp.stack([k, v]), 3), q_side, kv_sides)
    out = _exchange_back(out[:, :, :length], group, shards).transpose(0, 2, 1, 3)
    top = largest(jax.lax.stop_gradient(top))
    if group > 1:
        top = jax.lax.all_gather(top, AXIS, axis_index_groups=_groups(group, shards), tiled=True)
    return out, jax.lax.pmax(top, ("data", "fsdp", AXIS))


def _joined(side: Side, group: int) -> Side:
    """Positions and segments of every group of shards, ``[groups, B, tokens of a group]``."""
    whole = jax.lax.all_gather(jnp.stack(side), AXIS)  # [shards, 2, B, S]
    shards, _, B, S = whole.shape
    joined = whole.reshape(shards // group, group, 2, B, S).transpose(2, 0, 3, 1, 4)
    return Side(*joined.reshape(2, shards // group, B, group * S))


def _groups(group: int, shards: int) -> list[list[int]]:
    return [list(range(first, first + group)) for first in range(0, shards, group)]


def _exchange(x: jax.Array, group: int, shards: int) -> jax.Array:
    """``[B, H, S, D] → [B, H / group, group * S, D]``: fewer heads, the tokens of the whole group."""
    if group == 1:
        return x
    return jax.lax.all_to_all(x, AXIS, 1, 2, axis_index_groups=_groups(group, shards), tiled=True)


def _exchange_back(x: jax.Array, group: int, shards: int) -> jax.Array:
    if group == 1:
        return x
    return jax.lax.all_to_all(x, AXIS, 2, 1, axis_index_groups=_groups(group, shards), tiled=True)

"""Attention over rows spread over the ``context`` mesh axis: one interface and three methods.

    ring         keys travel from shard to shard: constant memory, traffic grows with the number of shards
    two_level    heads are exchanged inside groups of neighbouring shards (all-to-all, arXiv 2309.14509), keys travel
                 from group to group (arXiv 2405.07719): fewer, larger hops
    all_gather   every shard holds all keys for a moment: best while they are small

All three give the same numbers, for any order of tokens over shards. In zigzag order (``N`` shards, ``2N`` chunks,
shard ``i`` holds chunks ``i`` and ``2N-1-i``, as the data pipeline arranges) all shards have equal work at every hop.
"""

import functools
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from polaris_jax.errors import InputError
from polaris_jax.ops.attention_backends import AUTO, open_backend
from polaris_jax.ops.ring import AXIS
from polaris_jax.ops.shard_attention import ShardAttention

Method = Literal["ring", "two_level", "all_gather"]
METHODS: tuple[str, ...] = get_args(Method)


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
    block: int | None = None,
    implementation: str = AUTO,
    chip: str | None = None,
    return_max_logit: bool = False,
) -> jax.Array | tuple[jax.Array, jax.Array]:
    """``ops.attention`` for self-attention of rows sharded over the mesh's ``context`` axis.

    Args:
      q: ``[B, S, H, D]``; k, v: ``[B, S, G, D]``. Batch is spread over ``(data, fsdp)`` and heads over ``tensor``;
        of fewer key heads than ``tensor`` has devices, several devices hold the same one.
      q_positions, q_segments: ``[B, S] int32``, in the same order of tokens.
      kv_positions, kv_segments: must be the same arrays, since queries and keys are the same tokens; they are here so
        that this function can stand for ``ops.attention``.
      method: how keys reach queries; the order of tokens is free, zigzag is balanced.
      group: for ``two_level``, the number of neighbouring shards that exchange heads; default the largest that divides
        shards and kv heads.
      scale, window: as in ``ops.attention``.
      block: tile edge in tokens (rounded up to 128 in kernels); scores exist for one tile at a time. Default: 512, in
        kernels as ``tile_tpu_table`` says for the chip.
      implementation: name of an attention backend (``attention_backends``): ``xla`` runs anywhere; ``pallas`` needs a
        TPU, ``pallas_interpret`` runs its kernels on any host, slowly; ``auto`` is ``pallas`` on a mesh of TPUs
        (attached or described by a topology), else ``xla``.
      chip: the ``device_kind`` whose kernels are taken; default that of the mesh.
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
        raise InputError(
            "window",
            S,
            f"context={shards} needs a multiple of {2 * shards}; the next is {-(-S // (2 * shards)) * 2 * shards}",
        )
    if H % tensor or (G % tensor and tensor % G):
        raise InputError(
            "mesh.tensor", tensor, f"must divide the {H} query heads, and divide or be a multiple of the {G} key heads"
        )
    if tensor > G:  # a key head for every device
        k, v = (jnp.repeat(x, tensor // G, axis=2) for x in (k, v))
        G = tensor
    attend = shard_attention(
        mesh,
        G // tensor,
        method=method,
        group=group,
        block=block,
        implementation=implementation,
        chip=chip,
        scale=q.shape[-1] ** -0.5 if scale is None else scale,
    )
    local = functools.partial(_local, attend, window)
    rows, heads = P(("data", "fsdp"), AXIS), P(("data", "fsdp"), AXIS, "tensor", None)
    out, max_logit = jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(heads, heads, heads, rows, rows),
        out_specs=(heads, P("tensor")),
        check_vma=False,
    )(q, k, v, q_positions, q_segments)
    return (out, max_logit) if return_max_logit else out


ring_attention = functools.partial(context_attention, method="ring")


def shard_attention(
    mesh: Mesh,
    kv_heads: int,
    *,
    method: Method = "ring",
    group: int | None = None,
    block: int | None = None,
    scale: float,
    implementation: str = AUTO,
    chip: str | None = None,
) -> ShardAttention:
    """One shard's program for this mesh, with the choices of ``context_attention``.

    Args:
      kv_heads: per shard of the ``tensor`` axis.

    Raises:
      InputError: an unknown method or implementation, a group that does not divide.
    """
    backend, options = open_backend(implementation, mesh, block, chip)
    shards = mesh.shape[AXIS]
    return ShardAttention(
        shards,
        head_group(method, group, shards, kv_heads),
        method == "all_gather",
        backend,
        block or backend.BLOCK,
        scale,
        options,
    )


def head_group(method: str, group: int | None, shards: int, kv_heads: int) -> int:
    """Neighbouring shards that exchange heads: 1 except for ``two_level``; None: as many as divide shards and heads.

    Raises:
      InputError: an unknown method, a group that does not divide.
    """
    if method not in METHODS:
        raise InputError("method", method, f"choose one of {', '.join(METHODS)}")
    if method != "two_level":
        return 1
    if group is None:
        return max(n for n in range(1, kv_heads + 1) if kv_heads % n == 0 and shards % n == 0)
    if group < 1 or shards % group or kv_heads % group:
        raise InputError("group", group, f"must divide {shards} shards and {kv_heads} key-value heads per shard")
    return group


def _local(attend: ShardAttention, window, q, k, v, positions, segments):
    """One shard's part, ``[B, S / shards, ...]``."""
    out, _, max_logit = attend.forward(q, k, v, attend.metadata(positions, segments), window)
    return out, jax.lax.pmax(max_logit, ("data", "fsdp", AXIS))

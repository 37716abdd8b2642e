"""Zigzag ring attention: causal attention over a sequence that is spread over the ``context`` mesh axis.

Ring Attention (arXiv 2310.01889) with the load-balanced order: the row is cut in ``2N`` chunks and shard ``i`` holds
chunks ``i`` and ``2N-1-i`` (the data pipeline permutes tokens, positions and segment ids so). At hop ``r`` shard
``i`` holds the keys of shard ``j = i - r``. With ``lo, hi`` the two chunks of a shard, causality leaves

    j == i :  (lo, lo) diagonal, (hi, lo) full, (hi, hi) diagonal
    j <  i :  (hi, lo) full, (lo, lo) full
    j >  i :  (hi, lo) full, (hi, hi) full

so every hop after the first is exactly two unmasked chunk pairs on every shard, and the second pair is picked by a
select, not by a branch. "Full" still honours segments and the window; no mask is ever larger than one tile.

Forward: the next keys and values travel while the present ones are used. Backward: gradients of keys and values
travel with their owners, one hop behind, and arrive home after the last hop.
"""

import functools

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from polaris_jax.errors import InputError
from polaris_jax.ops.attention import MASKED
from polaris_jax.ops.blockwise import Side, merge, pair_backward, pair_forward

AXIS = "context"


def ring_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    q_positions: jax.Array,
    kv_positions: jax.Array,
    q_segments: jax.Array,
    kv_segments: jax.Array,
    mesh: Mesh,
    scale: float | None = None,
    window: int | None = None,
    block: int = 512,
) -> jax.Array:
    """``ops.attention`` for self-attention of zigzag-ordered rows sharded over the mesh's ``context`` axis.

    Args:
      q: ``[B, S, H, D]``; k, v: ``[B, S, G, D]``, in zigzag order for ``N = mesh.shape["context"]`` shards
        (``N = 1``: natural order). Batch is spread over ``(data, fsdp)`` and heads over ``tensor``.
      q_positions, q_segments, kv_positions, kv_segments: ``[B, S] int32`` in the same order.
      scale, window: as in ``ops.attention``.
      block: tile edge in tokens; memory of scores is ``block² × heads`` per shard.

    Returns:
      ``[B, S, H, D]`` in ``q.dtype``.

    Raises:
      InputError: ``S`` does not divide by ``2 N``, or heads by the ``tensor`` axis.
    """
    shards, tensor = mesh.shape[AXIS], mesh.shape["tensor"]
    S, H, G = q.shape[1], q.shape[2], k.shape[2]
    if S % (2 * shards):
        raise InputError("window", S, f"context={shards} needs a multiple of {2 * shards}; "
                                      f"the next is {-(-S // (2 * shards)) * 2 * shards}")
    if H % tensor or G % tensor:
        raise InputError("mesh.tensor", tensor, f"must divide the {H} query and {G} key-value heads")
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    rows, heads = P(("data", "fsdp"), AXIS), P(("data", "fsdp"), AXIS, "tensor", None)
    local = functools.partial(_ring, shards, scale, window, block)
    return jax.shard_map(
        local, mesh=mesh, in_specs=(heads, heads, heads, rows, rows, rows, rows), out_specs=heads, check_vma=False,
    )(q, k, v, q_positions, q_segments, kv_positions, kv_segments)


def _send(tree, shards: int):
    """Passes every leaf to the next shard of the ring."""
    if shards == 1:
        return tree
    ring = [(i, (i + 1) % shards) for i in range(shards)]
    return jax.tree.map(lambda x: jax.lax.ppermute(x, AXIS, ring), tree)


def _halves(tree):
    """Splits axis 1 of every leaf into the shard's low and high chunk."""
    half = jax.tree.leaves(tree)[0].shape[1] // 2
    return jax.tree.map(lambda x: x[:, :half], tree), jax.tree.map(lambda x: x[:, half:], tree)


def _choose(first, a, b):
    return jax.tree.map(lambda x, y: jnp.where(first, x, y), a, b)


def _beyond_window(distance, chunk: int, window: int | None):
    """Whether chunks ``distance`` apart (query chunk index minus key chunk index) are out of each other's window."""
    return None if window is None else (distance - 1) * chunk + 1 >= window


def _unless(skip, compute, like):
    """``compute()``, or ``like`` (its value for an empty pair) where the traced flag ``skip`` holds."""
    return compute() if skip is None else jax.lax.cond(skip, lambda: like, compute)


def _second_pair(index, source, shards, chunk, window):
    """Of a hop from shard ``source``: is the second pair (lo, lo)? And is either pair beyond the window?"""
    low = source < index
    first_distance = (2 * shards - 1 - index) - source
    return low, _beyond_window(first_distance, chunk, window), _beyond_window(jnp.abs(index - source), chunk, window)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2, 3))
def _ring(shards, scale, window, block, q, k, v, q_positions, q_segments, kv_positions, kv_segments):
    return _ring_forward(shards, scale, window, block, q, k, v, q_positions, q_segments, kv_positions, kv_segments)[0]


def _ring_forward(shards, scale, window, block, q, k, v, q_positions, q_segments, kv_positions, kv_segments):
    forward = functools.partial(pair_forward, scale=scale, window=window, block=block)
    (q_lo, side_lo), (q_hi, side_hi) = _halves((q, Side(q_positions, q_segments)))
    chunk = q_lo.shape[1]
    index = jax.lax.axis_index(AXIS)
    own = (k, v, Side(kv_positions, kv_segments))
    travelling = _send(own, shards) if shards > 1 else own

    (k_lo, v_lo, kv_lo), (k_hi, v_hi, kv_hi) = _halves(own)
    lo = forward(q_lo, k_lo, v_lo, side_lo, kv_lo)
    hi = merge(*forward(q_hi, k_lo, v_lo, side_hi, kv_lo), *forward(q_hi, k_hi, v_hi, side_hi, kv_hi))
    nothing = (jnp.zeros_like(lo[0]), jnp.full_like(lo[1], MASKED))

    def use(lo, hi, held, hop):
        (k_lo, v_lo, kv_lo), (k_hi, v_hi, kv_hi) = _halves(held)
        low, skip_first, skip_second = _second_pair(index, (index - hop) % shards, shards, chunk, window)
        first = _unless(skip_first, lambda: forward(q_hi, k_lo, v_lo, side_hi, kv_lo), nothing)
        q_2, side_2 = _choose(low, (q_lo, side_lo), (q_hi, side_hi))
        k_2, v_2, kv_2 = _choose(low, (k_lo, v_lo, kv_lo), (k_hi, v_hi, kv_hi))
        second = _unless(skip_second, lambda: forward(q_2, k_2, v_2, side_2, kv_2), nothing)
        lo = merge(*lo, *_choose(low, second, nothing))
        hi = merge(*merge(*hi, *first), *_choose(low, nothing, second))
        return lo, hi

    def body(carry, hop):
        lo, hi, held = carry
        coming = _send(held, shards)  # in flight while this hop computes
        return (*use(lo, hi, held, hop), coming), None

    if shards > 1:
        (lo, hi, held), _ = jax.lax.scan(body, (lo, hi, travelling), jnp.arange(1, shards - 1))
        lo, hi = use(lo, hi, held, shards - 1)
    # Named, so that a remat policy may keep them: then the backward pass does not run the ring forward again.
    out = checkpoint_name(jnp.concatenate([lo[0], hi[0]], axis=1).astype(q.dtype), "attention_out")
    lse = checkpoint_name(jnp.concatenate([lo[1], hi[1]], axis=2), "attention_lse")
    return out, (q, k, v, q_positions, q_segments, kv_positions, kv_segments, out, lse)


def _ring_backward(shards, scale, window, block, saved, dout):
    q, k, v, q_positions, q_segments, kv_positions, kv_segments, out, lse = saved
    backward = functools.partial(pair_backward, scale=scale, window=window, block=block)
    delta = jnp.einsum("bshd,bshd->bhs", dout, out, preferred_element_type=jnp.float32)
    query_side = (q, dout, lse.transpose(0, 2, 1), delta.transpose(0, 2, 1), Side(q_positions, q_segments))
    lo_side, hi_side = _halves(query_side)
    chunk = lo_side[0].shape[1]
    index = jax.lax.axis_index(AXIS)

    def pair(side, keys):
        q, dout, lse, delta, q_side = side
        k, v, kv_side = keys
        return backward(q, k, v, dout, lse.transpose(0, 2, 1), delta.transpose(0, 2, 1), q_side, kv_side)

    own = (k, v, Side(kv_positions, kv_segments))
    held = _send(own, shards)
    keys_lo, keys_hi = _halves(own)
    dq_lo, dk_lo, dv_lo = pair(lo_side, keys_lo)
    dq_hi, dk_lo2, dv_lo2 = pair(hi_side, keys_lo)
    dq_hi2, dk_hi, dv_hi = pair(hi_side, keys_hi)
    dq = (dq_lo, dq_hi + dq_hi2)
    dkv = (jnp.concatenate([dk_lo + dk_lo2, dk_hi], axis=1), jnp.concatenate([dv_lo + dv_lo2, dv_hi], axis=1))
    nothing = jax.tree.map(jnp.zeros_like, (dq_lo, dk_lo, dv_lo))

    def body(carry, hop):
        dq, held, dkv = carry
        coming = _send(held, shards)
        arriving = _send(dkv, shards)  # the previous hop's sums, in flight while this hop computes
        keys_lo, keys_hi = _halves(held)
        low, skip_first, skip_second = _second_pair(index, (index - hop) % shards, shards, chunk, window)
        dq_1, dk_1, dv_1 = _unless(skip_first, lambda: pair(hi_side, keys_lo), nothing)
        side_2, keys_2 = _choose(low, lo_side, hi_side), _choose(low, keys_lo, keys_hi)
        dq_2, dk_2, dv_2 = _unless(skip_second, lambda: pair(side_2, keys_2), nothing)
        zero = jnp.zeros_like(dq_2)
        dq = (dq[0] + jnp.where(low, dq_2, zero), dq[1] + dq_1 + jnp.where(low, zero, dq_2))

        def place(first, second):
            """Gradients of the held low and high chunk."""
            nil = jnp.zeros_like(second)
            return jnp.concatenate([first + jnp.where(low, second, nil), jnp.where(low, nil, second)], axis=1)

        dkv = (arriving[0] + place(dk_1, dk_2), arriving[1] + place(dv_1, dv_2))
        return (dq, coming, dkv), None

    if shards > 1:
        (dq, _, dkv), _ = jax.lax.scan(body, (dq, held, dkv), jnp.arange(1, shards))
        dkv = _send(dkv, shards)
    none = [None] * 4  # positions and segments are integers
    return (jnp.concatenate(dq, axis=1).astype(q.dtype), dkv[0].astype(k.dtype), dkv[1].astype(v.dtype), *none)


_ring.defvjp(_ring_forward, _ring_backward)

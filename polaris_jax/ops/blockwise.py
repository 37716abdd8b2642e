"""Attention between one chunk of queries and one chunk of keys, in blocks: the unit of work of the ring.

Scores exist for one ``block × block`` tile at a time, in the forward and in the backward, so memory is linear in the
chunk length (FlashAttention, arXiv 2205.14135, written for XLA). The softmax is left unfinished on purpose: a chunk
pair returns a normalised output with its log-sum-exp, and ``merge`` combines any number of them exactly.

Shapes: ``q, out, dout: [B, Sq, H, D]``; ``k, v: [B, Skv, G, D]``; ``lse, delta: [B, H, Sq] float32`` (nats).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from polaris_jax.ops.attention import MASKED, visible


class Side(NamedTuple):
    """Positions and segment ids of one side of a chunk pair, each ``[B, S] int32``."""

    positions: jax.Array
    segments: jax.Array


def merge(out_a, lse_a, out_b, lse_b):
    """Combines two partial attentions of the same queries (``lse`` = ``MASKED`` where a part saw nothing)."""
    lse = jnp.logaddexp(lse_a, lse_b)
    weight = lambda part: jnp.exp(part - lse).transpose(0, 2, 1)[..., None]  # noqa: E731  [B, H, S] → [B, S, H, 1]
    return out_a * weight(lse_a) + out_b * weight(lse_b), lse


def _blocks(x: jax.Array, block: int) -> jax.Array:
    """``[B, S, ...] → [S // block, B, block, ...]``."""
    B, S = x.shape[:2]
    return jnp.moveaxis(x.reshape(B, S // block, block, *x.shape[2:]), 1, 0)


def _unblocks(x: jax.Array) -> jax.Array:
    """``[n, B, block, ...] → [B, n * block, ...]``."""
    n, B, block = x.shape[:3]
    return jnp.moveaxis(x, 0, 1).reshape(B, n * block, *x.shape[3:])


def block_size(length: int, target: int) -> int:
    """The largest divisor of ``length`` that is at most ``target``."""
    block = min(length, target)
    while length % block:
        block -= 1
    return block


def _scores(q, k, q_side, kv_side, scale, window):
    """Scores of one tile ``[B, G, R, q, k] float32``, ``MASKED`` where the key is not visible."""
    B, Sq, H, D = q.shape
    G = k.shape[2]
    grouped = q.reshape(B, Sq, G, H // G, D)
    scores = jnp.einsum("bqgrd,bkgd->bgrqk", grouped, k, preferred_element_type=jnp.float32) * scale
    mask = visible(q_side.positions, kv_side.positions, q_side.segments, kv_side.segments, window)[:, None, None]
    return jnp.where(mask, scores, MASKED)


def pair_forward(q, k, v, q_side: Side, kv_side: Side, *, scale: float, window: int | None, block: int):
    """Attention of a query chunk over a key chunk.

    Returns:
      ``(out [B, Sq, H, D] float32, lse [B, H, Sq] float32)``; rows that see nothing: out 0, lse ``MASKED``.
    """
    B, Sq, H, D = q.shape
    G = k.shape[2]
    kv_block = block_size(k.shape[1], block)
    kv_tiles = tuple(_blocks(x, kv_block) for x in (k, v, kv_side.positions, kv_side.segments))

    def one_query_block(tile):
        q_tile, positions, segments = tile
        rows = q_tile.shape[1]

        def over_keys(carry, kv_tile):
            top, total, out = carry
            k_tile, v_tile, kv_positions, kv_segments = kv_tile
            scores = _scores(q_tile, k_tile, Side(positions, segments), Side(kv_positions, kv_segments), scale, window)
            new_top = jnp.maximum(top, scores.max(axis=-1))
            weights = jnp.exp(scores - new_top[..., None])
            shrink = jnp.exp(top - new_top)
            update = jnp.einsum("bgrqk,bkgd->bgrqd", weights.astype(v_tile.dtype), v_tile,
                                preferred_element_type=jnp.float32)
            return (new_top, total * shrink + weights.sum(axis=-1), out * shrink[..., None] + update), None

        shape = (B, G, H // G, rows)
        # The running maximum starts far above MASKED: masked scores weigh exactly 0 even in rows that see nothing.
        start = (jnp.full(shape, MASKED / 2, jnp.float32), jnp.zeros(shape, jnp.float32),
                 jnp.zeros((*shape, D), jnp.float32))
        (top, total, out), _ = jax.lax.scan(over_keys, start, kv_tiles)
        seen = total > 0
        out = out / jnp.where(seen, total, 1.0)[..., None]
        lse = jnp.where(seen, top + jnp.log(jnp.where(seen, total, 1.0)), MASKED)
        return out.transpose(0, 3, 1, 2, 4).reshape(B, rows, H, D), lse.reshape(B, H, rows).transpose(0, 2, 1)

    q_block = block_size(Sq, block)
    q_tiles = (_blocks(q, q_block), _blocks(q_side.positions, q_block), _blocks(q_side.segments, q_block))
    out, lse = jax.lax.map(one_query_block, q_tiles)
    return _unblocks(out), _unblocks(lse).transpose(0, 2, 1)


def pair_backward(q, k, v, dout, lse, delta, q_side: Side, kv_side: Side, *, scale: float, window: int | None,
                  block: int):
    """Gradients of one chunk pair, recomputing its tiles from the *final* ``lse`` of the whole row.

    Args:
      delta: ``sum(dout * out, -1)`` as ``[B, H, Sq] float32`` (FlashAttention-2, arXiv 2307.08691, eq. of dS).

    Returns:
      ``(dq [B, Sq, H, D], dk [B, Skv, G, D], dv [B, Skv, G, D])``, all float32.
    """
    B, Sq, H, D = q.shape
    G = k.shape[2]
    kv_block = block_size(k.shape[1], block)
    kv_tiles = tuple(_blocks(x, kv_block) for x in (k, v, kv_side.positions, kv_side.segments))

    def one_query_block(carry, tile):
        dk, dv = carry
        q_tile, dout_tile, lse_tile, delta_tile, positions, segments = tile
        rows = q_tile.shape[1]
        by_group = lambda x: x.reshape(B, rows, G, H // G).transpose(0, 2, 3, 1)[..., None]  # noqa: E731
        # A row that saw nothing has no finite lse; any finite one makes its weights exactly 0.
        lse_g, delta_g = by_group(jnp.where(lse_tile == MASKED, 0.0, lse_tile)), by_group(delta_tile)
        q_g, dout_g = (x.reshape(B, rows, G, H // G, D) for x in (q_tile, dout_tile))

        def over_keys(dq, kv_tile):
            k_tile, v_tile, kv_positions, kv_segments = kv_tile
            scores = _scores(q_tile, k_tile, Side(positions, segments), Side(kv_positions, kv_segments), scale, window)
            weights = jnp.exp(scores - lse_g)
            dweights = jnp.einsum("bqgrd,bkgd->bgrqk", dout_g, v_tile, preferred_element_type=jnp.float32)
            dscores = (weights * (dweights - delta_g) * scale).astype(q.dtype)
            dq += jnp.einsum("bgrqk,bkgd->bqgrd", dscores, k_tile, preferred_element_type=jnp.float32)
            dk_tile = jnp.einsum("bgrqk,bqgrd->bkgd", dscores, q_g, preferred_element_type=jnp.float32)
            dv_tile = jnp.einsum("bgrqk,bqgrd->bkgd", weights.astype(dout.dtype), dout_g,
                                 preferred_element_type=jnp.float32)
            return dq, (dk_tile, dv_tile)

        dq, (dk_tiles, dv_tiles) = jax.lax.scan(
            over_keys, jnp.zeros((B, rows, G, H // G, D), jnp.float32), kv_tiles)
        return (dk + _unblocks(dk_tiles), dv + _unblocks(dv_tiles)), dq.reshape(B, rows, H, D)

    q_block = block_size(Sq, block)
    per_row = lambda x: _blocks(x.transpose(0, 2, 1), q_block)  # noqa: E731  [B, H, S] → tiles of [B, q, H]
    q_tiles = (_blocks(q, q_block), _blocks(dout, q_block), per_row(lse), per_row(delta),
               _blocks(q_side.positions, q_block), _blocks(q_side.segments, q_block))
    zeros = jnp.zeros(k.shape, jnp.float32)
    (dk, dv), dq = jax.lax.scan(one_query_block, (zeros, zeros), q_tiles)
    return _unblocks(dq), dk, dv

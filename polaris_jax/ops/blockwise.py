"""Attention over whole rows on one device, tile by tile. A model uses it when it is given no other attention.

It gives the numbers of ``ops.attention`` with memory linear in the row (FlashAttention, arXiv 2205.14135). Neither pass
holds scores beyond one tile. Tiles in which nothing is visible are skipped. Only the output and its log-sum-exp are
saved for the backward pass. The loop over tiles is that of ``tile_xla``, without a ring around it.
"""

import functools

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from polaris_jax.ops import tile_xla
from polaris_jax.ops.attention import empty_state, finish
from polaris_jax.ops.tiles import TokenMetadata, padded_length


def blockwise_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    q_positions: jax.Array,
    kv_positions: jax.Array,
    q_segments: jax.Array,
    kv_segments: jax.Array,
    scale: float | None = None,
    window: int | None = None,
    block: int = 256,
) -> jax.Array:
    """``ops.attention.attention``, computed and differentiated in tiles of ``block × block`` scores.

    Args:
      q: ``[B, Sq, H, D]``; k, v: ``[B, Skv, G, D]``; positions and segments as in ``ops.attention.attention``.
      block: most tokens along the edge of a tile; rows are padded to whole blocks.

    Returns:
      ``[B, Sq, H, D]`` in ``q.dtype``; rows that see no key are zero.
    """
    Sq, Skv = q.shape[1], k.shape[1]
    q_block, q_length = padded_length(Sq, block, tile_xla.UNIT)
    kv_block, kv_length = padded_length(Skv, block, tile_xla.UNIT)
    options = (q.shape[-1] ** -0.5 if scale is None else scale, window, q_block, kv_block)

    def pad(x, axis, length):  # padding has segment 0: it sees nothing and nobody sees it
        return jnp.pad(x, [(0, length - x.shape[axis] if a == axis else 0) for a in range(x.ndim)])

    q_meta = TokenMetadata(pad(q_positions, 1, q_length), pad(q_segments, 1, q_length))
    kv_meta = TokenMetadata(pad(kv_positions, 1, kv_length), pad(kv_segments, 1, kv_length))
    q, k, v = (x.transpose(0, 2, 1, 3) for x in (q, k, v))
    out = _attention(options, pad(q, 2, q_length), pad(jnp.stack([k, v]), 3, kv_length), q_meta, kv_meta)
    return out[:, :, :Sq].transpose(0, 2, 1, 3)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attention(options, q, kv, q_meta, kv_meta):
    return _forward(options, q, kv, q_meta, kv_meta)[0]


def _backend(backend, options):
    scale, window, q_block, kv_block = options
    return functools.partial(backend, scale=scale, window=window, q_block=q_block, kv_block=kv_block)


def _forward(options, q, kv, q_meta, kv_meta):
    state = _backend(tile_xla.forward, options)(q, kv, q_meta, kv_meta, empty_state(q))
    out, lse = finish(state, q.dtype)
    # Named, so that a remat policy may keep them instead of running the forward tiles again.
    out, lse = checkpoint_name(out, "attention_out"), checkpoint_name(lse, "attention_lse")
    return out, (q, kv, q_meta, kv_meta, out, lse)


def _backward(options, saved, dout):
    q, kv, q_meta, kv_meta, out, lse = saved
    delta = jnp.einsum("bhsd,bhsd->bhs", dout, out, preferred_element_type=jnp.float32)
    zeros = jnp.zeros(q.shape, jnp.float32)
    dq, dkv = _backend(tile_xla.backward, options)(q, kv, dout, lse, delta, q_meta, kv_meta, zeros)
    nothing = TokenMetadata(None, None)  # positions and segments are integers
    return (dq * options[0]).astype(q.dtype), dkv.astype(kv.dtype), nothing, nothing


_attention.defvjp(_forward, _backward)

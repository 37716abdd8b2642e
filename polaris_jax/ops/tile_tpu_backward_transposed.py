"""The backward TPU kernel of chips with matrix units of 256 (v6e, tpu7x): all three gradients of one hop.

The same walk as ``tile_tpu_backward``; the layout differs. Every product with a head's width on one side streams that
side, so that the matrix units hold whole squares of weights or of their gradients:
``dvᵀ = doutᵀ wᵀ``, ``dkᵀ = qᵀ dsᵀ``, ``dqᵀ = kᵀ ds``. Queries, their gradients, and those of keys and values are
``[head width, tokens]``. Units of keys and queries overlap as in ``tile_tpu_forward_transposed``.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from polaris_jax.ops.tile_tpu_accumulator import SLOTS, QueryGradients
from polaris_jax.ops.tile_tpu_parts import (
    LANES,
    LN2,
    Units,
    Walk,
    across,
    as_column,
    comparisons,
    compiler_params,
    cost,
    flat_codes,
    for_each_kind,
    hide,
    packed_metadata,
    row_of_list,
    units_of,
)
from polaris_jax.ops.tiles import FULL, MASKED_TILE, SKIP, Tiles, TokenMetadata


def _kernel(codes, q, dout, lse, delta, kv, k_transposed, q_ids, kv_ids, *refs, rows, heads, capacity, window, units):
    """``q``, ``dout``: ``[D, q_block]``; ``ids [2, kv_block, 128]``: those of the keys, for all heads."""
    *_, dkv, dq, slots, ids, fetched, written = refs  # before them what is updated in place
    n, g, t, r = (pl.program_id(axis) for axis in range(4))
    count = pl.num_programs(2)
    walk = Walk(codes, n, capacity)
    length = q.shape[3]

    def block(column, head):
        start = pl.multiple_of(column * length, length)
        return dq.at[row_of_list(n, rows), g * heads + head, :, pl.ds(start, length)]

    sums = QueryGradients(walk, count, heads, block, slots, fetched, written)

    @pl.when(walk.first(t) & (r == 0))
    def _():
        dkv[...] = jnp.zeros_like(dkv)

    sums.open()
    slot = sums.slot

    kind = walk.kind(t)

    @pl.when((r == 0) & (kind != FULL) & (kind != SKIP))
    def _():
        ids[0] = as_column(kv_ids[0, :1])

        @pl.when(kind == MASKED_TILE)
        def _():
            ids[1] = as_column(kv_ids[0, 1:])

    def compute(kind):
        def products(keys, queries):
            scores = jax.lax.dot(kv[0, 0, 0, keys], q[0, 0, :, queries], preferred_element_type=jnp.float32)
            dweights = jax.lax.dot(kv[1, 0, 0, keys], dout[0, 0, :, queries], preferred_element_type=jnp.float32)
            return scores, dweights

        def add(scores, dweights, keys, queries):
            seen = comparisons(
                kind,
                lambda row, shift=0: q_ids[0, row : row + 1, queries] + shift,
                lambda row: across(ids[row, keys], scores.shape[1]),
                window,
            )
            scores = hide(scores, seen)
            weights = jnp.exp2(scores - lse[0, 0, :, queries])
            dscores = (weights * (dweights - delta[0, 0, :, queries])).astype(q.dtype)
            across_queries = (((1,), (1,)), ((), ()))
            dkv[1, 0, 0, :, keys] += jax.lax.dot_general(
                dout[0, 0, :, queries], weights.astype(q.dtype), across_queries, preferred_element_type=jnp.float32
            )
            dkv[0, 0, 0, :, keys] += jax.lax.dot_general(
                q[0, 0, :, queries], dscores, across_queries, preferred_element_type=jnp.float32
            )
            slots[slot, :, queries] += jax.lax.dot(
                k_transposed[0, 0, :, keys], dscores, preferred_element_type=jnp.float32
            )

        def body(i, _):
            here = units.places(i)
            made = products(*here[0])
            for u, place in enumerate(here):
                following = products(*here[u + 1]) if u + 1 < len(here) else None
                add(*made, *place)
                made = following

        jax.lax.fori_loop(0, units.trips, body, None)

    for_each_kind(kind, window, compute)
    sums.close()

    @pl.when(walk.last(t, count) & (r == heads - 1))
    def _():
        dkv[0] *= LN2  # the queries carry log2(e)


def cut(q_block: int, kv_block: int) -> Units:
    """How a tile is cut."""
    return units_of(q_block, kv_block, keys=256, steps=2)


@functools.partial(jax.jit, static_argnames=("window", "q_block", "kv_block", "interpret"))
def backward_kernel(
    tiles: Tiles,
    q: jax.Array,
    kv: jax.Array,
    dout: jax.Array,
    lse: jax.Array,
    delta: jax.Array,
    q_meta: TokenMetadata,
    kv_meta: TokenMetadata,
    dq: jax.Array,
    dkv: jax.Array | None = None,
    *,
    window: int | None,
    q_block: int,
    kv_block: int,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """As ``tile_tpu_backward.backward_kernel``, but for what is transposed.

    Args:
      q, dout: ``[B, H, D, S]``. kv: ``[2, B, G, Skv, D]``.
      dq: ``[B, H, D, S]``. dkv: ``[2, n B, G, D, Skv]``.

    Returns:
      ``(dq, dkv)``, laid out so.
    """
    (B, H, D, _), (_, _, G, Skv, _) = q.shape, kv.shape
    R = H // G
    lists, capacity = tiles.codes.shape
    q_ids, kv_ids = packed_metadata(q_meta, kv_meta)
    units = cut(q_block, kv_block)

    def at(where):
        """An index map from batch row, list, kv head, query head, query block and key block."""

        def index(n, g, t, r, codes):
            walk = Walk(codes, n, capacity)
            return where(row_of_list(n, B), n, g, g * R + r, walk.column(t), walk.row(t))

        return index

    row = pl.BlockSpec((1, 1, 1, q_block), at(lambda b, n, g, h, i, j: (b, h, 0, i)))
    block = pl.BlockSpec((1, 1, D, q_block), at(lambda b, n, g, h, i, j: (b, h, 0, i)))
    anywhere, in_place = pl.BlockSpec(memory_space=pl.ANY), [dq] if dkv is None else [dq, dkv]
    dkv, dq = pl.pallas_call(
        functools.partial(_kernel, rows=B, heads=R, capacity=capacity, window=window, units=units),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1,
            grid=(lists, G, tiles.used, R),
            in_specs=[
                block,
                block,
                row,
                row,
                pl.BlockSpec((2, 1, 1, kv_block, D), at(lambda b, n, g, h, i, j: (0, b, g, j, 0))),
                pl.BlockSpec((1, 1, D, kv_block), at(lambda b, n, g, h, i, j: (b, g, 0, j))),
                pl.BlockSpec((1, 2, q_block), at(lambda b, n, g, h, i, j: (b, 0, i))),
                pl.BlockSpec((1, 2, kv_block), at(lambda b, n, g, h, i, j: (b, 0, j))),
                *(anywhere for _ in in_place),
            ],
            out_specs=[
                pl.BlockSpec((2, 1, 1, D, kv_block), at(lambda b, n, g, h, i, j: (0, n, g, 0, j))),
                anywhere,
            ],
            scratch_shapes=[
                pltpu.VMEM((SLOTS, D, q_block), jnp.float32),
                pltpu.VMEM((2, kv_block, LANES), jnp.int32),
                pltpu.SemaphoreType.DMA((SLOTS,)),
                pltpu.SemaphoreType.DMA((SLOTS,)),
            ],
        ),
        out_shape=[
            jax.ShapeDtypeStruct((2, lists, G, D, Skv), jnp.float32),
            jax.ShapeDtypeStruct(dq.shape, jnp.float32),
        ],
        input_output_aliases={9: 1} if dkv is None else {9: 1, 10: 0},
        compiler_params=compiler_params("parallel", "parallel", "arbitrary", "arbitrary"),
        cost_estimate=cost(
            q.swapaxes(-1, -2),
            kv,
            matmuls=5,
            window=window,
            q_block=q_block,
            kv_block=kv_block,
            tiles=capacity * (lists // B),
            tile_bytes=q_block * D * (2 * q.dtype.itemsize + 2 * 4),
        ),
        interpret=interpret,
        name="attention_backward",
    )(
        flat_codes(tiles.codes),
        q,
        dout,
        lse[:, :, None],
        delta[:, :, None],
        kv,
        kv[0].swapaxes(-1, -2),
        q_ids,
        kv_ids,
        *in_place,
    )
    return dq, dkv

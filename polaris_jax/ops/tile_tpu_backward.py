"""The backward TPU kernel of chips with matrix units as wide as a head (v4, v5): all three gradients of one hop.

Each tile is recomputed once. For each kv head the kernel walks the tiles key block by key block and, inside a tile,
over the query heads that share the kv head. Gradients of the key block stay in vector memory until its last tile. The
gradient of the queries is one float32 array in device memory: a tile fetches its block, adds to it and writes it back,
by transfers that run beside the neighbouring tiles. Scores are ``[keys, queries]``, so that per-query numbers are rows,
and in base 2: queries come multiplied by ``scale * log2(e)``.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from polaris_jax.ops.tile_tpu_accumulator import SLOTS, QueryGradients
from polaris_jax.ops.tile_tpu_parts import (
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
    part_of,
    row_of_list,
    units_of,
)
from polaris_jax.ops.tiles import Tiles, TokenMetadata

STEP = 512  # keys handled at once inside a tile


def _kernel(codes, q, dout, lse, delta, kv, q_ids, kv_ids, *refs, rows, heads, capacity, window, step):
    *_, dkv, dq, slots, fetched, written = refs  # before them what is updated in place
    n, g, t, r = (pl.program_id(axis) for axis in range(4))
    count = pl.num_programs(2)
    walk = Walk(codes, n, capacity)
    queries = q.shape[2]

    def block(column, head):
        start = pl.multiple_of(column * queries, queries)
        return dq.at[row_of_list(n, rows), g * heads + head, pl.ds(start, queries)]

    sums = QueryGradients(walk, count, heads, block, slots, fetched, written)

    @pl.when(walk.first(t) & (r == 0))
    def _():
        dkv[...] = jnp.zeros_like(dkv)

    sums.open()

    def compute(kind):
        def part(i, _):
            keys = pl.ds(pl.multiple_of(i * step, step), step)
            k, v = kv[0, 0, 0, keys], kv[1, 0, 0, keys]
            across_queries = (((1,), (1,)), ((), ()))
            scores = jax.lax.dot_general(k, q[0, 0], across_queries, preferred_element_type=jnp.float32)
            seen = comparisons(
                kind,
                lambda row, shift=0: q_ids[0, row : row + 1] + shift,
                lambda row: across(as_column(kv_ids[0, row : row + 1, keys]), queries),
                window,
            )
            scores = hide(scores, seen)
            weights = jnp.exp2(scores - lse[0, 0])
            dkv[1, 0, 0, keys] += jax.lax.dot(
                weights.astype(dout.dtype), dout[0, 0], preferred_element_type=jnp.float32
            )
            dweights = jax.lax.dot_general(v, dout[0, 0], across_queries, preferred_element_type=jnp.float32)
            dscores = (weights * (dweights - delta[0, 0])).astype(q.dtype)
            dkv[0, 0, 0, keys] += jax.lax.dot(dscores, q[0, 0], preferred_element_type=jnp.float32)
            slots[sums.slot] += jax.lax.dot_general(
                dscores, k, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32
            )

        jax.lax.fori_loop(0, cut(queries, kv.shape[3]).trips, part, None)

    for_each_kind(walk.kind(t), window, compute)
    sums.close()

    @pl.when(walk.last(t, count) & (r == heads - 1))
    def _():
        dkv[0] *= LN2  # the queries carry log2(e)


def cut(q_block: int, kv_block: int) -> Units:
    """How a tile is cut."""
    return units_of(q_block, kv_block, keys=STEP, queries=q_block)


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
    """One hop; shapes as in ``tile_xla``, lengths multiples of the blocks, blocks of 128.

    Args:
      tiles: rows are key blocks, columns query blocks; ``n B`` lists for the ``B`` rows of the batch, list ``i`` for
        row ``i % B``. No two lists of a row share a query block.
      q: times ``scale * log2(e)``. lse: in base 2, finite.
      dq: is added to.
      dkv: ``[2, n B, G, Skv, D]``, takes the gradients of the key blocks that have a tile; None: every block has one.

    Returns:
      ``(dq, dkv)``, ``dkv [2, n B, G, Skv, D] float32``; given arrays are updated in place.
    """
    (B, H, _, D), (_, _, G, Skv, _) = q.shape, kv.shape
    R = H // G
    lists, capacity = tiles.codes.shape
    q_ids, kv_ids = packed_metadata(q_meta, kv_meta)

    def at(where):
        """An index map from batch row, list, kv head, query head, query block and key block."""

        def index(n, g, t, r, codes):
            walk = Walk(codes, n, capacity)
            return where(row_of_list(n, B), n, g, g * R + r, walk.column(t), walk.row(t))

        return index

    row = pl.BlockSpec((1, 1, 1, q_block), at(lambda b, n, g, h, i, j: (b, h, 0, i)))
    block = pl.BlockSpec((1, 1, q_block, D), at(lambda b, n, g, h, i, j: (b, h, i, 0)))
    anywhere, in_place = pl.BlockSpec(memory_space=pl.ANY), [dq] if dkv is None else [dq, dkv]
    dkv, dq = pl.pallas_call(
        functools.partial(_kernel, rows=B, heads=R, capacity=capacity, window=window, step=part_of(kv_block, STEP)),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1,
            grid=(lists, G, tiles.used, R),
            in_specs=[
                block,
                block,
                row,
                row,
                pl.BlockSpec((2, 1, 1, kv_block, D), at(lambda b, n, g, h, i, j: (0, b, g, j, 0))),
                pl.BlockSpec((1, 2, q_block), at(lambda b, n, g, h, i, j: (b, 0, i))),
                pl.BlockSpec((1, 2, kv_block), at(lambda b, n, g, h, i, j: (b, 0, j))),
                *(anywhere for _ in in_place),
            ],
            out_specs=[
                pl.BlockSpec((2, 1, 1, kv_block, D), at(lambda b, n, g, h, i, j: (0, n, g, j, 0))),
                anywhere,
            ],
            scratch_shapes=[
                pltpu.VMEM((SLOTS, q_block, D), jnp.float32),
                pltpu.SemaphoreType.DMA((SLOTS,)),
                pltpu.SemaphoreType.DMA((SLOTS,)),
            ],
        ),
        out_shape=[
            jax.ShapeDtypeStruct((2, lists, G, Skv, D), jnp.float32),
            jax.ShapeDtypeStruct(dq.shape, jnp.float32),
        ],
        input_output_aliases={8: 1} if dkv is None else {8: 1, 9: 0},
        compiler_params=compiler_params("parallel", "parallel", "arbitrary", "arbitrary"),
        cost_estimate=cost(
            q,
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
    )(flat_codes(tiles.codes), q, dout, lse[:, :, None], delta[:, :, None], kv, q_ids, kv_ids, *in_place)
    return dq, dkv

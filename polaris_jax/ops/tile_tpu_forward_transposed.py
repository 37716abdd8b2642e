"""The forward TPU kernel of chips with matrix units of 256 (v6e, tpu7x): scores are ``[keys, queries]``.

The same as ``tile_tpu_forward`` but for the layout. Weighted values are made and kept as ``[head width, queries]``, so
that the weights, not the values, are what a matrix unit holds: its 256 columns are filled whatever the width of a head.
Per-query numbers are rows. A few rows of ones below the values make the sum of the weights in the same product.

A loop body holds several units of keys and queries. The scores of a unit are asked for before the softmax of the unit
before it, and its weighted values after that of the next, so that the matrix units work while the vector units do.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from polaris_jax.ops.attention import SoftmaxState
from polaris_jax.ops.tile_tpu_parts import (
    LANES,
    LN2,
    LOG2E,
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
    key_head_of,
    packed_metadata,
    row_of_list,
    units_of,
)
from polaris_jax.ops.tiles import FULL, MASKED_TILE, Tiles, TokenMetadata

ONES = 16  # rows: the least that a bfloat16 array in vector memory has


def _kernel(
    codes,
    q,
    k,
    v,
    q_ids,
    kv_ids,
    sums_in,
    out_in,
    sums_ref,
    out_ref,
    running_max,
    denominator,
    ids,
    *,
    capacity,
    window,
    units,
):
    """``running_max``, ``denominator``: ``[1, q_block]``; ``ids [2, kv_block, 128]``: those of the keys, in columns."""
    walk, t, count = Walk(codes, pl.program_id(0), capacity), pl.program_id(2), pl.num_programs(2)
    dim = q.shape[-1]

    @pl.when(walk.first(t))
    def _():
        running_max[...] = sums_in[0, 0, :1] * LOG2E
        denominator[...] = sums_in[0, 0, 1:]
        out_ref[...] = out_in[...]

    def compute(kind):
        rows_of_ids = {FULL: 0, MASKED_TILE: 2}.get(kind, 1)

        def scores_of(keys, queries):
            scores = jax.lax.dot_general(
                k[0, 0, 0, keys], q[0, 0, queries], (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32
            )
            seen = comparisons(
                kind,
                lambda row, shift=0: q_ids[0, row : row + 1, queries] + shift,
                lambda row: across(ids[row, keys], scores.shape[1]),
                window,
            )
            return hide(scores, seen)

        def weights_of(scores, queries):
            before = running_max[:, queries]
            now = jnp.maximum(before, scores.max(axis=0, keepdims=True))
            running_max[:, queries] = now
            return jnp.exp2(scores - now).astype(v.dtype), jnp.exp2(before - now)

        def add(weights, shrink, keys, queries):
            values = v[0, 0, :, keys]
            values = jnp.concatenate([values, jnp.ones((ONES, values.shape[1]), values.dtype)])
            update = jax.lax.dot(values, weights, preferred_element_type=jnp.float32)
            denominator[:, queries] = denominator[:, queries] * shrink + update[dim : dim + 1]
            out_ref[0, 0, :, queries] = out_ref[0, 0, :, queries] * shrink + update[:dim]

        def body(i, _):
            here = units.places(i)
            for keys, _ in here[:: units.parts]:  # in the loop, beside the first scores
                for row in range(rows_of_ids):
                    ids[row, keys] = as_column(kv_ids[0, row : row + 1, keys])
            scores, late = scores_of(*here[0]), None
            for n, (keys, queries) in enumerate(here):
                following = scores_of(*here[n + 1]) if n + 1 < len(here) else None
                weights = weights_of(scores, queries)
                if late is not None:
                    add(*late)
                scores, late = following, (*weights, keys, queries)
            add(*late)

        jax.lax.fori_loop(0, units.trips, body, None)

    for_each_kind(walk.kind(t), window, compute)

    @pl.when(walk.last(t, count))
    def _():
        sums_ref[0, 0, :1] = running_max[...] * LN2
        sums_ref[0, 0, 1:] = denominator[...]


def cut(q_block: int, kv_block: int) -> Units:
    """How a tile is cut."""
    return units_of(q_block, kv_block, steps=2)


@functools.partial(jax.jit, static_argnames=("window", "q_block", "kv_block", "interpret"))
def forward_kernel(
    tiles: Tiles,
    q: jax.Array,
    kv: jax.Array,
    q_meta: TokenMetadata,
    kv_meta: TokenMetadata,
    state: SoftmaxState,
    *,
    window: int | None,
    q_block: int,
    kv_block: int,
    interpret: bool = False,
) -> SoftmaxState:
    """As ``tile_tpu_forward.forward_kernel``, but ``state.out`` is ``[B, H, D, S]``, given and returned."""
    B, H, S, D = q.shape
    G = kv.shape[2]
    lists, capacity = tiles.codes.shape
    q_ids, kv_ids = packed_metadata(q_meta, kv_meta)

    def at(where):
        """An index map from batch row, head, key head, query block and key block."""

        def index(n, h, t, codes):
            walk = Walk(codes, n, capacity)
            return where(row_of_list(n, B), h, key_head_of(h, H // G), walk.row(t), walk.column(t))

        return index

    rows = pl.BlockSpec((1, 1, 2, q_block), at(lambda b, h, g, i, j: (b, h, 0, i)))
    block = pl.BlockSpec((1, 1, D, q_block), at(lambda b, h, g, i, j: (b, h, 0, i)))
    sums, out = pl.pallas_call(
        functools.partial(_kernel, capacity=capacity, window=window, units=cut(q_block, kv_block)),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1,
            grid=(lists, H, tiles.used),
            in_specs=[
                pl.BlockSpec((1, 1, q_block, D), at(lambda b, h, g, i, j: (b, h, i, 0))),
                pl.BlockSpec((1, 1, 1, kv_block, D), at(lambda b, h, g, i, j: (0, b, g, j, 0))),
                pl.BlockSpec((1, 1, D, kv_block), at(lambda b, h, g, i, j: (b, g, 0, j))),
                pl.BlockSpec((1, 2, q_block), at(lambda b, h, g, i, j: (b, 0, i))),
                pl.BlockSpec((1, 2, kv_block), at(lambda b, h, g, i, j: (b, 0, j))),
                rows,
                block,
            ],
            out_specs=[rows, block],
            scratch_shapes=[
                pltpu.VMEM((1, q_block), jnp.float32),
                pltpu.VMEM((1, q_block), jnp.float32),
                pltpu.VMEM((2, kv_block, LANES), jnp.int32),
            ],
        ),
        out_shape=[jax.ShapeDtypeStruct((B, H, 2, S), jnp.float32), jax.ShapeDtypeStruct(state.out.shape, jnp.float32)],
        input_output_aliases={6: 0, 7: 1},
        compiler_params=compiler_params("parallel", "parallel", "arbitrary"),
        cost_estimate=cost(
            q,
            kv,
            matmuls=2,
            window=window,
            q_block=q_block,
            kv_block=kv_block,
            tiles=capacity * (lists // B),
            tile_bytes=2 * kv_block * D * kv.dtype.itemsize,
        ),
        interpret=interpret,
        name="attention_forward",
    )(
        flat_codes(tiles.codes),
        q,
        kv,
        kv[1].swapaxes(-1, -2),
        q_ids,
        kv_ids,
        jnp.stack([state.running_max, state.denominator], axis=2),
        state.out,
    )
    return SoftmaxState(sums[:, :, 0], sums[:, :, 1], out)

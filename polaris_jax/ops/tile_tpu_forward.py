"""The forward TPU kernel of chips with matrix units as wide as a head (v4, v5): scores are ``[queries, keys]``.

For each head the kernel walks the tiles query block by query block. The state of a query block is read when its first
tile comes, kept in vector memory (the weighted values in the output block itself), and written after its last: state
arrays are updated in place, and query blocks without a tile are not touched. Scores are in base 2: queries come
multiplied by ``scale * log2(e)``.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from polaris_jax.ops.attention import MASKED, SoftmaxState
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
    key_head_of,
    packed_metadata,
    part_of,
    row_of_list,
    units_of,
)
from polaris_jax.ops.tiles import Tiles, TokenMetadata

STEP = 512  # keys handled at once inside a tile


def _kernel(
    codes,
    q,
    kv,
    q_ids,
    kv_ids,
    top_in,
    total_in,
    out_in,
    top_ref,
    total_ref,
    out_ref,
    running_max,
    denominator,
    ids,
    *,
    capacity,
    window,
    step,
):
    """``running_max [q_block, 128]`` (equal lanes) and ``denominator``, whose terms are spread over the lanes."""
    walk, t, count = Walk(codes, pl.program_id(0), capacity), pl.program_id(2), pl.num_programs(2)
    dim = q.shape[-1]

    @pl.when(walk.first(t))
    def _():
        running_max[...] = as_column(top_in[0, 0] * LOG2E)
        denominator[...] = as_column(total_in[0, 0] * (1 / LANES))
        out_ref[...] = out_in[...]
        ids[0] = as_column(q_ids[0, :1])
        ids[1] = as_column(q_ids[0, 1:])

    def compute(kind):
        def part(i, _):
            keys = pl.ds(pl.multiple_of(i * step, step), step)
            scores = jax.lax.dot_general(
                q[0, 0], kv[0, 0, 0, keys], (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32
            )
            seen = comparisons(
                kind,
                lambda row, shift=0: across(ids[row] + shift, step),
                lambda row: kv_ids[0, row : row + 1, keys],
                window,
            )
            for one in seen:  # joined to one mask they would wait in vector memory for their scores: 4 % more
                scores = jnp.where(one, scores, MASKED)
            before = running_max[...]
            now = jnp.maximum(before, scores.max(axis=1, keepdims=True))
            weights = jnp.exp2(scores - across(now, step))
            shrink = jnp.exp2(before - now)
            sums = sum(weights[:, lane : lane + LANES] for lane in range(0, step, LANES))
            running_max[...] = now
            denominator[...] = denominator[...] * shrink + sums
            update = jax.lax.dot(weights.astype(kv.dtype), kv[1, 0, 0, keys], preferred_element_type=jnp.float32)
            out_ref[0, 0] = out_ref[0, 0] * across(shrink, dim) + update

        jax.lax.fori_loop(0, cut(q.shape[2], kv.shape[3]).trips, part, None)

    for_each_kind(walk.kind(t), window, compute)

    @pl.when(walk.last(t, count))
    def _():
        top_ref[0, 0] = running_max[...].T[:1] * LN2
        total_ref[0, 0] = denominator[...].T.sum(axis=0, keepdims=True)


def cut(q_block: int, kv_block: int) -> Units:
    """How a tile is cut."""
    return units_of(q_block, kv_block, keys=STEP, queries=q_block)


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
    """One hop; shapes as in ``tile_xla``, lengths multiples of the blocks, blocks of 128.

    Args:
      tiles: rows are query blocks, columns key blocks; ``n B`` lists for the ``B`` rows of the batch, list ``i`` for
        row ``i % B``.
      q: times ``scale * log2(e)``.
    """
    B, H, S, D = q.shape
    G = kv.shape[2]
    lists, capacity = tiles.codes.shape
    step = part_of(kv_block, STEP)
    q_ids, kv_ids = packed_metadata(q_meta, kv_meta)

    def at(where):
        """An index map from batch row, head, query block and key block."""

        def index(n, h, t, codes):
            walk = Walk(codes, n, capacity)
            return where(row_of_list(n, B), h, walk.row(t), walk.column(t))

        return index

    row = pl.BlockSpec((1, 1, 1, q_block), at(lambda b, h, i, j: (b, h, 0, i)))
    block = pl.BlockSpec((1, 1, q_block, D), at(lambda b, h, i, j: (b, h, i, 0)))
    rows = jax.ShapeDtypeStruct((B, H, 1, S), jnp.float32)
    running_max, denominator, out = pl.pallas_call(
        functools.partial(_kernel, capacity=capacity, window=window, step=step),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1,
            grid=(lists, H, tiles.used),
            in_specs=[
                block,
                pl.BlockSpec((2, 1, 1, kv_block, D), at(lambda b, h, i, j: (0, b, key_head_of(h, H // G), j, 0))),
                pl.BlockSpec((1, 2, q_block), at(lambda b, h, i, j: (b, 0, i))),
                pl.BlockSpec((1, 2, kv_block), at(lambda b, h, i, j: (b, 0, j))),
                row,
                row,
                block,
            ],
            out_specs=[row, row, block],
            scratch_shapes=[
                pltpu.VMEM((q_block, LANES), jnp.float32),
                pltpu.VMEM((q_block, LANES), jnp.float32),
                pltpu.VMEM((2, q_block, LANES), jnp.int32),
            ],
        ),
        out_shape=[rows, rows, jax.ShapeDtypeStruct(state.out.shape, jnp.float32)],
        input_output_aliases={5: 0, 6: 1, 7: 2},
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
        q_ids,
        kv_ids,
        state.running_max[:, :, None],
        state.denominator[:, :, None],
        state.out,
    )
    return SoftmaxState(running_max[:, :, 0], denominator[:, :, 0], out)

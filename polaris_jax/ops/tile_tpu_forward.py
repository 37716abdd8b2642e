"""The forward TPU kernel: one hop of attention, merged into the state it is given.

For each head the kernel walks the tiles query block by query block. The state of a query block is read when its first
tile comes, kept in vector memory (the weighted values in the output block itself), and written after its last: state
arrays are updated in place, and query blocks without a tile are not touched. Scores are in base 2.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from polaris_jax.ops.attention import MASKED
from polaris_jax.ops.tile_state import State
from polaris_jax.ops.tile_tpu_parts import (
    LANES,
    LN2,
    LOG2E,
    VMEM_LIMIT,
    Walk,
    across,
    as_column,
    cost,
    packed_sides,
    sees,
)
from polaris_jax.ops.tiles import FULL, MASKED_TILE, Side, Tiles


def _kernel(codes, q, kv, q_ids, kv_ids, top_in, total_in, out_in, top_ref, total_ref, out_ref, top, total, ids, *,
            capacity, scale, window, step):
    """``top, total [q_block, 128]``: running maximum (equal lanes), and sum of weights spread over the lanes."""
    walk, t, count = Walk(codes, pl.program_id(0), capacity), pl.program_id(2), pl.num_programs(2)
    kind = walk.kind(t)
    dim = q.shape[-1]

    @pl.when(walk.first(t))
    def _():
        top[...] = as_column(top_in[0, 0] * LOG2E)
        total[...] = as_column(total_in[0, 0] * (1 / LANES))
        out_ref[...] = out_in[...]
        ids[0] = as_column(q_ids[0, :1])
        ids[1] = as_column(q_ids[0, 1:])

    def compute(masked):
        def part(i, _):
            keys = pl.ds(pl.multiple_of(i * step, step), step)
            scores = jax.lax.dot_general(q[0, 0], kv[0, 0, 0, keys], (((1,), (1,)), ((), ())),
                                         preferred_element_type=jnp.float32) * (scale * LOG2E)
            if masked:
                q_ids_here = (across(ids[0], step), across(ids[1], step))
                mask = sees(*q_ids_here, kv_ids[0, :1, keys], kv_ids[0, 1:, keys], window)
                scores = jnp.where(mask, scores, MASKED)
            before = top[...]
            now = jnp.maximum(before, scores.max(axis=1, keepdims=True))
            weights = jnp.exp2(scores - across(now, step))
            shrink = jnp.exp2(before - now)
            sums = sum(weights[:, lane:lane + LANES] for lane in range(0, step, LANES))
            top[...] = now
            total[...] = total[...] * shrink + sums
            update = jax.lax.dot(weights.astype(kv.dtype), kv[1, 0, 0, keys], preferred_element_type=jnp.float32)
            out_ref[0, 0] = out_ref[0, 0] * across(shrink, dim) + update

        jax.lax.fori_loop(0, kv.shape[3] // step, part, None)

    pl.when(kind == FULL)(lambda: compute(masked=False))
    pl.when(kind == MASKED_TILE)(lambda: compute(masked=True))

    @pl.when(walk.last(t, count))
    def _():
        top_ref[0, 0] = top[...].T[:1] * LN2
        total_ref[0, 0] = total[...].T.sum(axis=0, keepdims=True)


@functools.partial(jax.jit, static_argnames=("scale", "window", "q_block", "kv_block", "step", "interpret"))
def forward_kernel(tiles: Tiles, q, kv, q_side: Side, kv_side: Side, state: State, *, scale: float, window: int | None,
                   q_block: int, kv_block: int, step: int = 512, interpret: bool = False) -> State:
    """One hop; shapes as in ``tile_xla``, lengths multiples of the blocks, blocks of 128.

    Args:
      tiles: rows are query blocks, columns key blocks.
      step: keys handled at once inside a tile.
    """
    B, H, S, D = q.shape
    G = kv.shape[2]
    capacity = tiles.codes.shape[1]
    step = max(s for s in range(LANES, min(step, kv_block) + 1, LANES) if kv_block % s == 0)
    q_ids, kv_ids = packed_sides(q_side, kv_side)

    def at(where):
        """An index map from batch row, head, query block and key block."""
        return lambda b, h, t, codes: where(b, h, Walk(codes, b, capacity).row(t), Walk(codes, b, capacity).column(t))

    row = pl.BlockSpec((1, 1, 1, q_block), at(lambda b, h, i, j: (b, h, 0, i)))
    block = pl.BlockSpec((1, 1, q_block, D), at(lambda b, h, i, j: (b, h, i, 0)))
    rows = jax.ShapeDtypeStruct((B, H, 1, S), jnp.float32)
    top, total, out = pl.pallas_call(
        functools.partial(_kernel, capacity=capacity, scale=scale, window=window, step=step),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1,
            grid=(B, H, tiles.count),
            in_specs=[
                block,
                pl.BlockSpec((2, 1, 1, kv_block, D), at(lambda b, h, i, j: (0, b, jax.lax.div(h, H // G), j, 0))),
                pl.BlockSpec((1, 2, q_block), at(lambda b, h, i, j: (b, 0, i))),
                pl.BlockSpec((1, 2, kv_block), at(lambda b, h, i, j: (b, 0, j))),
                row, row, block,
            ],
            out_specs=[row, row, block],
            scratch_shapes=[pltpu.VMEM((q_block, LANES), jnp.float32), pltpu.VMEM((q_block, LANES), jnp.float32),
                            pltpu.VMEM((2, q_block, LANES), jnp.int32)],
        ),
        out_shape=[rows, rows, jax.ShapeDtypeStruct(state.out.shape, jnp.float32)],
        input_output_aliases={5: 0, 6: 1, 7: 2},
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "arbitrary"),
                                             vmem_limit_bytes=VMEM_LIMIT),
        cost_estimate=cost(q, kv, matmuls=2, window=window, q_block=q_block, kv_block=kv_block,
                           tiles=capacity, tile_bytes=2 * kv_block * D * kv.dtype.itemsize),
        interpret=interpret,
        name="attention_forward",
    )(tiles.codes.reshape(-1), q, kv, q_ids, kv_ids, state.top[:, :, None], state.total[:, :, None], state.out)
    return State(top[:, :, 0], total[:, :, 0], out)

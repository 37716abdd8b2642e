"""The backward TPU kernel: all three gradients of one hop, each tile recomputed once.

For each kv head the kernel walks the tiles key block by key block and, inside a tile, over the query heads that share
the kv head. Gradients of the key block stay in vector memory until its last tile. The gradient of the queries is one
float32 array in device memory: a tile fetches its block, adds to it and writes it back, by transfers that run beside
the neighbouring tiles. Scores are transposed, ``[keys, queries]``, so that per-query numbers are rows.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from polaris_jax.ops.attention import MASKED
from polaris_jax.ops.tile_tpu_parts import LANES, LOG2E, VMEM_LIMIT, Walk, across, as_column, cost, packed_sides, sees
from polaris_jax.ops.tiles import FULL, MASKED_TILE, SKIP, Side, Tiles

SLOTS = 3  # of the query gradient: one being fetched, one in use, one being written


class _Accumulator:
    """Blocks of an array in device memory, each added to by one grid step after another.

    Step ``s`` uses slot ``s % 3``. Its block is fetched during step ``s - 1`` and written during step ``s + 1``, which
    is safe unless a block returns within two steps; then the write is waited for at once, and a fetch of the block
    just written is started only after that.
    """

    def __init__(self, block_of, used, steps, slots, fetched, written):
        """``block_of(s)``: the block's ref in device memory; ``used(s, other)``: do both steps use one same block?"""
        self.block_of, self.used, self.steps = block_of, used, steps
        self.slots, self.fetched, self.written = slots, fetched, written

    def slot(self, s):
        return jax.lax.rem(s, SLOTS)

    def _fetch(self, s):
        slot = self.slot(s)
        return pltpu.make_async_copy(self.block_of(s), self.slots.at[slot], self.fetched.at[slot])

    def _write(self, s):
        slot = self.slot(s)
        return pltpu.make_async_copy(self.slots.at[slot], self.block_of(s), self.written.at[slot])

    def _active(self, s):
        return self.used(s, s)

    def _returns(self, s):
        return self.used(s, s + 1) | self.used(s, s + 2)

    def _settle(self, s):
        """Waits for the write of step ``s`` unless that step did."""
        pl.when(self._active(s) & ~self._returns(s))(lambda: self._write(s).wait())

    def open(self, s):
        """Before the compute of step ``s``: its block arrives, the next one sets out."""
        pl.when((s == 0) & self._active(s))(lambda: self._fetch(s).start())
        self._settle(s - 2)
        pl.when(self._active(s + 1) & ~self.used(s, s + 1))(lambda: self._fetch(s + 1).start())
        pl.when(self._active(s))(lambda: self._fetch(s).wait())

    def close(self, s):
        """After the compute of step ``s``."""
        @pl.when(self._active(s))
        def _():
            self._write(s).start()
            pl.when(self._returns(s))(lambda: self._write(s).wait())
            pl.when(self.used(s, s + 1))(lambda: self._fetch(s + 1).start())

        @pl.when(s == self.steps - 1)
        def _():
            self._settle(s - 1)
            self._settle(s)


def _kernel(codes, q, dout, lse, delta, kv, q_ids, kv_ids, *refs, capacity, scale, window, step):
    *_, dkv, dq, slots, fetched, written = refs  # before them what is updated in place
    b, g, t, r = (pl.program_id(axis) for axis in range(4))
    count, heads = pl.num_programs(2), pl.num_programs(3)
    walk = Walk(codes, b, capacity)
    kind = walk.kind(t)
    queries = q.shape[2]

    def place(s):
        return jax.lax.div(s, heads), jax.lax.rem(s, heads)

    def block_of(s):
        t, r = place(s)
        start = pl.multiple_of(walk.column(t) * queries, queries)
        return dq.at[b, g * heads + r, pl.ds(start, queries)]

    def used(s, other):
        (t, r), (other_t, other_r) = place(s), place(other)
        return ((s >= 0) & (other >= 0) & (s < count * heads) & (other < count * heads) & (r == other_r)
                & (walk.kind(t) != SKIP) & (walk.kind(other_t) != SKIP) & (walk.column(t) == walk.column(other_t)))

    sums = _Accumulator(block_of, used, count * heads, slots, fetched, written)
    s = t * heads + r

    @pl.when(walk.first(t) & (r == 0))
    def _():
        dkv[...] = jnp.zeros_like(dkv)

    sums.open(s)

    def compute(masked):
        def part(i, _):
            keys = pl.ds(pl.multiple_of(i * step, step), step)
            k, v = kv[0, 0, 0, keys], kv[1, 0, 0, keys]
            across_queries = (((1,), (1,)), ((), ()))
            scores = jax.lax.dot_general(k, q[0, 0], across_queries, preferred_element_type=jnp.float32)
            scores *= scale * LOG2E
            if masked:
                ids = [across(as_column(kv_ids[0, row:row + 1, keys]), queries) for row in range(2)]
                scores = jnp.where(sees(q_ids[0, :1], q_ids[0, 1:], *ids, window), scores, MASKED)
            weights = jnp.exp2(scores - lse[0, 0] * LOG2E)
            dkv[1, 0, 0, keys] += jax.lax.dot(weights.astype(dout.dtype), dout[0, 0],
                                              preferred_element_type=jnp.float32)
            dweights = jax.lax.dot_general(v, dout[0, 0], across_queries, preferred_element_type=jnp.float32)
            dscores = (weights * (dweights - delta[0, 0])).astype(q.dtype)
            dkv[0, 0, 0, keys] += jax.lax.dot(dscores, q[0, 0], preferred_element_type=jnp.float32)
            slots[sums.slot(s)] += jax.lax.dot_general(dscores, k, (((0,), (0,)), ((), ())),
                                                       preferred_element_type=jnp.float32)

        jax.lax.fori_loop(0, kv.shape[3] // step, part, None)

    pl.when(kind == FULL)(lambda: compute(masked=False))
    pl.when(kind == MASKED_TILE)(lambda: compute(masked=True))
    sums.close(s)

    @pl.when(walk.last(t, count) & (r == heads - 1))
    def _():
        dkv[0] *= scale


@functools.partial(jax.jit, static_argnames=("scale", "window", "q_block", "kv_block", "step", "interpret"))
def backward_kernel(tiles: Tiles, q, kv, dout, lse, delta, q_side: Side, kv_side: Side, dq, dkv=None, *, scale: float,
                    window: int | None, q_block: int, kv_block: int, step: int = 512, interpret: bool = False):
    """One hop; shapes as in ``tile_xla``, lengths multiples of the blocks, blocks of 128.

    Args:
      tiles: rows are key blocks, columns query blocks.
      dq: is added to.
      dkv: takes the gradients of the key blocks that have a tile; None: every block has one.
      step: keys handled at once inside a tile.

    Returns:
      ``(dq, dkv)``; given arrays are updated in place.
    """
    (B, H, _, D), G = q.shape, kv.shape[2]
    R = H // G
    capacity = tiles.codes.shape[1]
    step = max(s for s in range(LANES, min(step, kv_block) + 1, LANES) if kv_block % s == 0)
    q_ids, kv_ids = packed_sides(q_side, kv_side)
    lse = jnp.where(lse == MASKED, 0.0, lse)  # a row that saw nothing: any finite number gives it weights of 0

    def at(where):
        """An index map from batch row, kv head, query head, query block and key block."""
        def index(b, g, t, r, codes):
            walk = Walk(codes, b, capacity)
            return where(b, g, g * R + r, walk.column(t), walk.row(t))
        return index

    row = pl.BlockSpec((1, 1, 1, q_block), at(lambda b, g, h, i, j: (b, h, 0, i)))
    block = pl.BlockSpec((1, 1, q_block, D), at(lambda b, g, h, i, j: (b, h, i, 0)))
    keys = pl.BlockSpec((2, 1, 1, kv_block, D), at(lambda b, g, h, i, j: (0, b, g, j, 0)))
    anywhere, in_place = pl.BlockSpec(memory_space=pl.ANY), [dq] if dkv is None else [dq, dkv]
    dkv, dq = pl.pallas_call(
        functools.partial(_kernel, capacity=capacity, scale=scale, window=window, step=step),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1,
            grid=(B, G, tiles.count, R),
            in_specs=[
                block, block, row, row, keys,
                pl.BlockSpec((1, 2, q_block), at(lambda b, g, h, i, j: (b, 0, i))),
                pl.BlockSpec((1, 2, kv_block), at(lambda b, g, h, i, j: (b, 0, j))),
                *(anywhere for _ in in_place),
            ],
            out_specs=[keys, anywhere],
            scratch_shapes=[pltpu.VMEM((SLOTS, q_block, D), jnp.float32), pltpu.SemaphoreType.DMA((SLOTS,)),
                            pltpu.SemaphoreType.DMA((SLOTS,))],
        ),
        out_shape=[jax.ShapeDtypeStruct(kv.shape, jnp.float32), jax.ShapeDtypeStruct(dq.shape, jnp.float32)],
        input_output_aliases={8: 1} if dkv is None else {8: 1, 9: 0},
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "arbitrary", "arbitrary"), vmem_limit_bytes=VMEM_LIMIT),
        cost_estimate=cost(q, kv, matmuls=5, window=window, q_block=q_block, kv_block=kv_block,
                           tiles=capacity, tile_bytes=q_block * D * (2 * q.dtype.itemsize + 2 * 4)),
        interpret=interpret,
        name="attention_backward",
    )(tiles.codes.reshape(-1), q, dout, lse[:, :, None], delta[:, :, None], kv, q_ids, kv_ids, *in_place)
    return dq, dkv

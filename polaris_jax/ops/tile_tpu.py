"""Attention over a list of tiles on TPU: the executor of ``ring`` whose hops are Pallas kernels.

Same functions as ``tile_xla``. The schedule is computed by XLA and prefetched into scalar memory, and the kernels'
grids are as long as the schedule: a skipped tile costs neither compute, nor memory traffic, nor a grid step.
"""

from polaris_jax.ops.tile_state import State
from polaris_jax.ops.tile_tpu_backward import backward_kernel
from polaris_jax.ops.tile_tpu_forward import forward_kernel
from polaris_jax.ops.tiles import Side, summarise, tile_kinds, tile_list

UNIT = 128  # blocks are multiples of the lane width
BLOCK = 1024  # smaller ones pay more for each step of the grid, larger ones for each diagonal


def forward(q, kv, q_side: Side, kv_side: Side, state: State, *, scale: float, window: int | None, q_block: int,
            kv_block: int, interpret: bool = False) -> State:
    """Adds the keys to the state of the queries, in place; shapes as in ``tile_xla``."""
    kinds = tile_kinds(summarise(q_side, q_block), summarise(kv_side, kv_block), window)
    tiles = tile_list(kinds, every_row=False)
    return forward_kernel(tiles, q, kv, q_side, kv_side, state, scale=scale, window=window, q_block=q_block,
                          kv_block=kv_block, interpret=interpret)


def backward(q, kv, dout, lse, delta, q_side: Side, kv_side: Side, dq, *, scale: float, window: int | None,
             q_block: int, kv_block: int, interpret: bool = False):
    """Adds to ``dq`` in place and returns it with the gradients of the keys and values; as in ``tile_xla``."""
    kinds = tile_kinds(summarise(q_side, q_block), summarise(kv_side, kv_block), window)
    tiles = tile_list(kinds.swapaxes(1, 2), every_row=True)  # rows are key blocks: each is written once
    return backward_kernel(tiles, q, kv, dout, lse, delta, q_side, kv_side, dq, scale=scale, window=window,
                           q_block=q_block, kv_block=kv_block, interpret=interpret)

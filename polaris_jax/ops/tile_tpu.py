"""Attention over a list of tiles on TPU: the executor of ``ring`` whose hops are Pallas kernels.

Same functions as ``tile_xla``. The schedule is computed by XLA and prefetched into scalar memory, and the kernels'
grids are as long as the schedule: a skipped tile costs neither compute, nor memory traffic, nor a grid step. A schedule
too large for scalar memory is walked in parts, some rows at a time.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from polaris_jax.ops.tile_state import State
from polaris_jax.ops.tile_tpu_backward import backward_kernel
from polaris_jax.ops.tile_tpu_forward import forward_kernel
from polaris_jax.ops.tiles import Side, Tiles, summarise, tile_kinds, tile_list

UNIT = 128  # blocks are multiples of the lane width
BLOCK = 1024  # smaller ones pay more for each step of the grid, larger ones for each diagonal
SCHEDULE = 2**17  # tiles of a schedule at most: half of the 1 MiB of scalar memory

T = TypeVar("T")


def forward(q, kv, q_side: Side, kv_side: Side, state: State, *, scale: float, window: int | None, q_block: int,
            kv_block: int, interpret: bool = False) -> State:
    """Adds the keys to the state of the queries, in place; shapes as in ``tile_xla``."""
    kinds = tile_kinds(summarise(q_side, q_block), summarise(kv_side, kv_block), window)

    def some(tiles: Tiles, state: State) -> State:
        return forward_kernel(tiles, q, kv, q_side, kv_side, state, scale=scale, window=window, q_block=q_block,
                              kv_block=kv_block, interpret=interpret)

    return _in_parts(some, kinds, _rows_at_once(kinds), state, every_row=False)


def backward(q, kv, dout, lse, delta, q_side: Side, kv_side: Side, dq, *, scale: float, window: int | None,
             q_block: int, kv_block: int, interpret: bool = False):
    """Adds to ``dq`` in place and returns it with the gradients of the keys and values; as in ``tile_xla``."""
    kinds = tile_kinds(summarise(q_side, q_block), summarise(kv_side, kv_block), window)

    def some(tiles: Tiles, sums):
        return backward_kernel(tiles, q, kv, dout, lse, delta, q_side, kv_side, *sums, scale=scale, window=window,
                               q_block=q_block, kv_block=kv_block, interpret=interpret)

    kinds = kinds.swapaxes(1, 2)  # rows are key blocks: each is written once
    at_once = _rows_at_once(kinds)
    sums = (dq,) if at_once == kinds.shape[1] else (dq, jnp.zeros(kv.shape, jnp.float32))
    return _in_parts(some, kinds, at_once, sums, every_row=True)


def _rows_at_once(kinds: jax.Array) -> int:
    """How many rows of ``kinds [B, rows, columns]``, a divisor of them, have a schedule that fits."""
    B, rows, columns = kinds.shape
    return max(n for n in range(1, rows + 1) if rows % n == 0 and (n == 1 or B * n * columns <= SCHEDULE))


def _in_parts(run: Callable[[Tiles, T], T], kinds: jax.Array, at_once: int, carry: T, *, every_row: bool) -> T:
    """``carry = run(tiles, carry)`` for all rows of ``kinds``, ``at_once`` of them after the others."""
    rows = kinds.shape[1]
    if at_once == rows:
        return run(tile_list(kinds, every_row=every_row), carry)

    def part(i: jax.Array, carry: T) -> T:
        first = i * at_once
        here = jax.lax.dynamic_slice_in_dim(kinds, first, at_once, axis=1)
        return run(tile_list(here, every_row=every_row, first_row=first), carry)

    return jax.lax.fori_loop(0, rows // at_once, part, carry)

"""Attention over a list of tiles on TPU: the attention backend of ``ring`` whose hops are Pallas kernels.

Same functions as ``tile_xla``. The schedule is computed by XLA and prefetched into scalar memory, and the kernels'
grids are as long as the schedule: a skipped tile costs neither compute, nor memory traffic, nor a grid step. A schedule
too large for scalar memory is walked in parts, some rows at a time. Where a chip has two TensorCores and fewer heads
than they can share, the query blocks are dealt to two schedules, one for each.

Two pairs of kernels stand behind one interface, chosen by the chip: see ``tile_tpu_table``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from polaris_jax.ops import (
    tile_tpu_backward,
    tile_tpu_backward_transposed,
    tile_tpu_forward,
    tile_tpu_forward_transposed,
)
from polaris_jax.ops.attention import MASKED, SoftmaxState, finish
from polaris_jax.ops.tile_tpu_parts import LOG2E, masked_kinds, part_of
from polaris_jax.ops.tile_tpu_table import Kernels, kernels_of
from polaris_jax.ops.tiles import FULL, KINDS, SKIP, Tiles, TokenMetadata, summarise, tile_kinds, tile_list

UNIT = 128  # blocks are multiples of the lane width
BLOCK = 1024  # smaller ones pay more for each step of the grid, larger ones for each diagonal
SCHEDULE = 2**17  # tiles of a schedule at most: half of the 1 MiB of scalar memory

_MODULES = {  # by layout and pass
    (False, "forward"): tile_tpu_forward,
    (False, "backward"): tile_tpu_backward,
    (True, "forward"): tile_tpu_forward_transposed,
    (True, "backward"): tile_tpu_backward_transposed,
}

T = TypeVar("T")


class PreparedQueries(NamedTuple):
    """What the backward kernels read of the queries, made once for all hops: queries times ``scale * log2(e)``, the
    output's gradient, the log-sum-exp in base 2 and finite, and ``sum(dout * out)``."""

    q: jax.Array
    dout: jax.Array
    lse: jax.Array
    delta: jax.Array


@dataclass(frozen=True)
class TpuHops:
    """The hops of one call; functions as in ``tile_xla.XlaHops``.

    Attributes:
      scale: multiplies the scores. window: sliding window in tokens, or None. block: both lengths are multiples of it.
      chip: as JAX names the device (``device_kind``). blocks: tokens of a query and of a key block, None for
        those of the chip's table.
      interpret: run the kernels on any host; True, or ``pltpu.InterpretParams``.
    """

    scale: float
    window: int | None
    block: int
    chip: str = "TPU v5p"
    blocks: tuple[int, int] | None = None
    interpret: Any = False

    @property
    def kernels(self) -> Kernels:
        return kernels_of(self.chip)

    @property
    def token_axis(self) -> int:
        return 4 if self.kernels.transposed else 3

    def _turned(self, x: jax.Array) -> jax.Array:
        """From ``[..., tokens, D]`` to the kernels' layout, or back."""
        return x.swapaxes(-1, -2) if self.kernels.transposed else x

    def _blocks(self, which: str, width: int, queries: int, keys: int) -> dict[str, int]:
        wanted = self.blocks or self.kernels.blocks(which, width, self.window)
        return {
            "q_block": fit_block(queries, self.block, wanted[0]),
            "kv_block": fit_block(keys, self.block, wanted[1]),
        }

    def plan(self, which: str, width: int, queries: int, keys: int) -> dict[str, Any]:
        """How a kernel walks a call: its blocks, the kinds of tiles in the order of its loops, and their trips.

        ``beside`` units of a trip may run beside each other.
        """
        blocks, module = self._blocks(which, width, queries, keys), self._module(which)
        kinds, units = (FULL, *masked_kinds(self.window)), module.cut(**blocks)
        return blocks | {
            "transposed": self.kernels.transposed,
            "kinds": [KINDS[kind] for kind in kinds],
            "trips": units.trips,
            "beside": units.parts * units.steps,
        }

    def _module(self, which: str) -> ModuleType:
        return _MODULES[self.kernels.transposed, which]

    def take(self, state: SoftmaxState) -> SoftmaxState:
        return state._replace(out=self._turned(state.out))

    def finish(self, state: SoftmaxState, dtype: Any) -> tuple[jax.Array, jax.Array]:
        return finish(self.take(state), dtype)

    def queries(self, q: jax.Array) -> jax.Array:
        return (q * (self.scale * LOG2E)).astype(q.dtype)

    def forward(
        self, q: jax.Array, kv: jax.Array, q_meta: TokenMetadata, kv_meta: TokenMetadata, state: SoftmaxState
    ) -> SoftmaxState:
        blocks = self._blocks("forward", q.shape[-1], q.shape[2], kv.shape[3])
        kernel = self._module("forward").forward_kernel
        kinds = self._kinds(q_meta, kv_meta, **blocks)
        B, H = q.shape[:2]
        lists = _lists(self.kernels.cores, B * H, kinds.shape[1])
        if kinds.shape[1] % lists and B * kinds.shape[1] * kinds.shape[2] > SCHEDULE:
            lists = 1  # in parts, the last list of the last part could be one padding row, which is no query block
        kinds = jnp.pad(kinds, ((0, 0), (0, -kinds.shape[1] % lists), (0, 0)), constant_values=SKIP)

        def some(tiles: Tiles, state: SoftmaxState) -> SoftmaxState:
            return kernel(tiles, q, kv, q_meta, kv_meta, state, window=self.window, interpret=self.interpret, **blocks)

        def tiles_of(kinds: jax.Array, first: jax.Array | int) -> Tiles:
            parts = [
                tile_list(kinds[:, i::lists], every_row=False, first_row=first + i, row_step=lists)
                for i in range(lists)
            ]
            return _joined(parts)

        return _in_parts(some, kinds, tiles_of, _rows_at_once(kinds, lists), state)

    def prepare(self, q: jax.Array, dout: jax.Array, lse: jax.Array, delta: jax.Array) -> PreparedQueries:
        # A row that saw nothing has no finite lse; any finite one makes its weights exactly 0.
        lse = jnp.where(lse == MASKED, 0.0, lse * LOG2E)
        return PreparedQueries(self._turned(self.queries(q)), self._turned(dout), lse, delta)

    def dq(self, dq: jax.Array) -> jax.Array:
        return self._turned(dq)

    def dkv(self, dkv: jax.Array) -> jax.Array:
        return self._turned(dkv)

    def backward(
        self, prepared: PreparedQueries, kv: jax.Array, q_meta: TokenMetadata, kv_meta: TokenMetadata, dq: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        blocks = self._blocks("backward", kv.shape[-1], q_meta.positions.shape[1], kv.shape[3])
        kernel = self._module("backward").backward_kernel
        kinds = self._kinds(q_meta, kv_meta, **blocks).swapaxes(1, 2)  # rows are key blocks: each is written once
        B, G = kv.shape[1:3]
        lists = _lists(self.kernels.cores, B * G, kinds.shape[2])

        def some(tiles: Tiles, sums):
            return kernel(
                tiles,
                prepared.q,
                kv,
                prepared.dout,
                prepared.lse,
                prepared.delta,
                q_meta,
                kv_meta,
                *sums,
                window=self.window,
                interpret=self.interpret,
                **blocks,
            )

        # Each list has its own share of the query blocks, so that no two add to one block of dq.
        kinds = jnp.pad(kinds, ((0, 0), (0, 0), (0, -kinds.shape[2] % lists)), constant_values=SKIP)

        def tiles_of(kinds: jax.Array, first: jax.Array | int) -> Tiles:
            parts = [
                tile_list(kinds[:, :, i::lists], every_row=True, first_row=first, first_column=i, column_step=lists)
                for i in range(lists)
            ]
            return _joined(parts)

        sums: Any = (dq,)
        at_once = _rows_at_once(kinds, 1)
        if at_once < kinds.shape[1]:
            _, B, G, S, D = kv.shape
            sums = (dq, jnp.zeros((2, lists * B, G, *((D, S) if self.kernels.transposed else (S, D))), jnp.float32))
        dq, dkv = _in_parts(some, kinds, tiles_of, at_once, sums)
        if lists > 1:
            dkv = dkv.reshape(2, lists, B, *dkv.shape[2:]).sum(axis=1)
        return dq, dkv

    def _kinds(self, q_meta: TokenMetadata, kv_meta: TokenMetadata, *, q_block: int, kv_block: int) -> jax.Array:
        return tile_kinds(summarise(q_meta, q_block), summarise(kv_meta, kv_block), self.window)


def fit_block(length: int, block: int, wanted: int) -> int:
    """The block of about ``wanted`` tokens for ``length`` tokens, which are a multiple of ``block``.

    Either several of ``block`` or a part of one, a multiple of 128; at most ``wanted`` tokens.
    """
    if wanted < block:
        return part_of(block, wanted)
    count = length // block
    return block * max(n for n in range(1, count + 1) if count % n == 0 and n * block <= max(wanted, block))


def _lists(cores: int, heads: int, blocks: int) -> int:
    """Into how many schedules the query blocks of a call are dealt, so that ``cores`` have equal work."""
    return cores if heads % cores and blocks >= cores else 1


def _joined(parts: list[Tiles]) -> Tiles:
    return Tiles(jnp.concatenate([part.codes for part in parts]), jnp.stack([part.used for part in parts]).max())


def _rows_at_once(kinds: jax.Array, unit: int) -> int:
    """How many rows of ``kinds [B, rows, columns]``, a divisor of them and a multiple of ``unit``, have a schedule that
    fits; ``unit`` where none has."""
    B, rows, columns = kinds.shape
    return max(n for n in range(unit, rows + 1, unit) if rows % n == 0 and (n == unit or B * n * columns <= SCHEDULE))


def _in_parts(
    run: Callable[[Tiles, T], T],
    kinds: jax.Array,
    tiles_of: Callable[[jax.Array, jax.Array | int], Tiles],
    at_once: int,
    carry: T,
) -> T:
    """``carry = run(tiles, carry)`` for all rows of ``kinds``, ``at_once`` of them after the others.

    Args:
      tiles_of: the tiles of some rows, from their kinds and the number of the first.
    """
    rows = kinds.shape[1]
    if at_once == rows:
        return run(tiles_of(kinds, 0), carry)

    def part(i: jax.Array, carry: T) -> T:
        first = i * at_once
        return run(tiles_of(jax.lax.dynamic_slice_in_dim(kinds, first, at_once, axis=1), first), carry)

    return jax.lax.fori_loop(0, rows // at_once, part, carry)


hops = TpuHops  # what every attention backend calls its own

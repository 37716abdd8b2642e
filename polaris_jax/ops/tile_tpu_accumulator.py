"""Blocks of an array in device memory that a TPU kernel adds to by its own transfers, beside its computation."""

from collections.abc import Callable
from typing import Any

import jax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from polaris_jax.ops.tile_tpu_parts import Walk
from polaris_jax.ops.tiles import SKIP

SLOTS = 3  # one being fetched, one in use, one being written


class QueryGradients:
    """The gradient of the queries, whose blocks are added to by one grid step after another.

    A grid walks ``count`` tiles and, in each, ``heads`` query heads; step ``s`` is tile ``t`` and head ``r``, and adds
    to the block of the tile's column and of that head unless the tile is skipped. It uses slot ``s % 3``. Its block is
    fetched during step ``s - 1`` and written during step ``s + 1``, which is safe unless a block returns within two
    steps; then the write is waited for at once, and a fetch of the block just written is started only after that.

    Below, ``ahead`` is how many steps after the present one.
    """

    def __init__(
        self,
        walk: Walk,
        count: Any,
        heads: int,
        block: Callable[[Any, Any], Any],
        slots: Any,
        fetched: Any,
        written: Any,
    ):
        """``block(column, head)``: the block's ref in device memory. ``heads`` is static."""
        self.walk, self.heads, self.block = walk, heads, block
        self.slots, self.fetched, self.written = slots, fetched, written
        self.t, self.r = pl.program_id(2), pl.program_id(3)
        self.step, self.steps = self.t * heads + self.r, count * heads
        self.slot = jax.lax.rem(self.step, SLOTS)

    def open(self) -> None:
        """Before the compute of a step: its block arrives, the next one sets out."""
        pl.when((self.step == 0) & self._active(0))(lambda: self._fetch(0).start())
        self._settle(-2)
        pl.when(_and_not(self._active(1), self._same(0, 1)))(lambda: self._fetch(1).start())
        pl.when(self._active(0))(lambda: self._fetch(0).wait())

    def close(self) -> None:
        """After the compute of a step."""

        @pl.when(self._active(0))
        def _():
            self._write(0).start()
            _when(self._returns(0), lambda: self._write(0).wait())
            _when(self._same(0, 1), lambda: self._fetch(1).start())

        @pl.when(self.step == self.steps - 1)
        def _():
            self._settle(-1)
            self._settle(0)

    def _place(self, ahead: int) -> tuple[Any, Any]:
        """Tile and head of a step, without a division."""
        if self.heads == 1:
            return self.t + ahead, self.r
        head = self.r + ahead
        if ahead > 0:
            over = head >= self.heads
            return self.t + over, jax.lax.select(over, head - self.heads, head)
        if ahead < 0:
            under = head < 0
            return self.t - under, jax.lax.select(under, head + self.heads, head)
        return self.t, self.r

    def _slot_of(self, ahead: int) -> Any:
        slot = self.slot + ahead % SLOTS
        return slot if ahead % SLOTS == 0 else jax.lax.select(slot >= SLOTS, slot - SLOTS, slot)

    def _block_of(self, ahead: int) -> Any:
        t, r = self._place(ahead)
        return self.block(self.walk.column(t), r)

    def _fetch(self, ahead: int) -> Any:
        slot = self._slot_of(ahead)
        return pltpu.make_async_copy(self._block_of(ahead), self.slots.at[slot], self.fetched.at[slot])

    def _write(self, ahead: int) -> Any:
        slot = self._slot_of(ahead)
        return pltpu.make_async_copy(self.slots.at[slot], self._block_of(ahead), self.written.at[slot])

    def _active(self, ahead: int) -> Any:
        """Does that step exist, and add to a block?"""
        active = self.walk.kind(self._place(ahead)[0]) != SKIP
        if ahead < 0:
            return active & (self.step + ahead >= 0)
        return active & (self.step + ahead < self.steps) if ahead > 0 else active

    def _same(self, ahead: int, later: int) -> Any:
        """Do these two steps exist, and add to one same block?"""
        if (later - ahead) % self.heads:  # of different heads
            return False
        (t, _), (other, _) = self._place(ahead), self._place(later)
        return self._active(ahead) & self._active(later) & (self.walk.column(t) == self.walk.column(other))

    def _returns(self, ahead: int) -> Any:
        soon, next_but_one = self._same(ahead, ahead + 1), self._same(ahead, ahead + 2)
        return soon | next_but_one

    def _settle(self, ahead: int) -> None:
        """Waits for the write of a step unless that step did."""
        pl.when(_and_not(self._active(ahead), self._returns(ahead)))(lambda: self._write(ahead).wait())


def _and_not(yes: Any, no: Any) -> Any:
    """``yes & ~no``, where ``no`` may be known while tracing."""
    return yes if no is False else yes & ~no


def _when(condition: Any, run: Callable[[], None]) -> None:
    """``pl.when``, but nothing at all where the condition is known to be false while tracing."""
    if condition is not False:
        pl.when(condition)(run)

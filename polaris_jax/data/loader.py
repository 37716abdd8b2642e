"""Training batches as a pure function of the step.

Row ``r`` of the endless stream of rows (``r = step * batch_size + place``) belongs to epoch ``r // bins`` and is one
bin of the plan, chosen by a permutation that depends on (seed, epoch) only. No state is kept between steps: a run can
resume at any step at once, and any number of hosts agree on what a step contains.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

import grain
import numpy as np

from polaris_jax.data.packing import BinPlan
from polaris_jax.data.record import Trajectory
from polaris_jax.data.store import TokenStore
from polaris_jax.data.zigzag import zigzag_order
from polaris_jax.errors import InputError

# What a batch holds, and the dtype of each; all have shape [B, S].
FIELDS = {
    "tokens": np.int32,
    "targets": np.int32,
    "weights": np.float32,
    "roles": np.int8,
    "kinds": np.int8,
    "segment_ids": np.int32,
    "positions": np.int32,
}
ALL = slice(None)
T = TypeVar("T")


class BatchSource(Protocol):
    """Batches by step: of one store (``Batches``), of several (``Mixture``) or in stages (``Curriculum``)."""

    def shape(self, step: int) -> tuple[int, int]:
        """``(rows, tokens per row)`` of the global batch."""

    def batch(self, step: int, rows: slice = ALL, columns: slice = ALL) -> dict[str, np.ndarray]:
        """The batch of a step, arrays [B, S], or the part of it that ``rows`` and ``columns`` select."""

    def state(self, step: int) -> dict[str, Any]:
        """What a checkpoint keeps: enough to continue at ``step``, and to notice when the data has changed."""

    def check_state(self, state: Mapping[str, Any]) -> int:
        """The step at which to continue; raises ``InputError`` when the data differs from the checkpoint's."""


class Batches:
    """Packed, label-shifted and zigzag-ordered batches of a token store.

    A batch is a dict of arrays ``[B, S]``:

    - ``tokens`` int32: the inputs, 0 where there is padding;
    - ``targets`` int32: the next token of the same trajectory (0 at its last token and at padding);
    - ``weights`` float32: the loss weight of the target (0 at a trajectory's last token and at padding);
    - ``roles``, ``kinds`` int8: of the target (0 where there is none);
    - ``segment_ids`` int32: 0 for padding, then 1, 2, ... per trajectory of the row;
    - ``positions`` int32: place within the trajectory, from 0 (0 at padding).

    Targets are computed in natural order; then all arrays are permuted to zigzag order.

    Args:
      store: where the tokens are.
      plan: bins over the trajectories of ``store``; its window is S.
      batch_size: rows B of the global batch.
      seed: 0 to 2^32 - 1, of the shuffling.
      shards: context shards N of the mesh.
      zigzag: store position j holds sequence position ``zigzag_order(S, N)[j]``; False keeps natural order.

    Raises:
      InputError: the plan is not of this store, or the window does not divide into 2N chunks.
    """

    def __init__(
        self, store: TokenStore, plan: BinPlan, *, batch_size: int, seed: int, shards: int = 1, zigzag: bool = True
    ):
        if plan.documents.max() >= len(store) or not np.array_equal(store.lengths[plan.documents], plan.lengths):
            raise InputError("plan", plan.hash[:12], "was not made from the lengths of this store")
        if batch_size < 1:
            raise InputError("batch_size", batch_size, "must be at least 1 row")
        if not 0 <= seed < 1 << 32:
            raise InputError("seed", seed, "must lie between 0 and 2^32 - 1")
        self.store, self.plan, self.batch_size, self.seed = store, plan, batch_size, seed
        self._order = zigzag_order(plan.window, shards if zigzag else 1)
        # Grain's shuffle is a stateless bijection, keyed anew for every epoch that the index runs into.
        self._bins = grain.MapDataset.range(len(plan)).seed(seed).shuffle()

    def shape(self, step: int) -> tuple[int, int]:
        """``(rows, tokens per row)`` of the global batch."""
        return self.batch_size, self.plan.window

    def epoch(self, step: int) -> int:
        """The epoch of the first row of ``step``."""
        return step * self.batch_size // len(self.plan)

    def rows(self, step: int) -> list[list[int]]:
        """The trajectories in each row of ``step``, in their order within the row."""
        return [self.plan.bin(index)[0].tolist() for index in self._bins_of(step, ALL)]

    def batch(self, step: int, rows: slice = ALL, columns: slice = ALL) -> dict[str, np.ndarray]:
        """The batch of ``step``, or the part of it that ``rows`` and ``columns`` select.

        A part equals the same slice of the whole batch, but only its own tokens are read: a host asks for the rows and
        context shards that its devices hold.
        """
        order = self._order[columns]
        # In ascending order, sequence positions form a few contiguous ranges, each read at once.
        ascending = np.argsort(order)
        natural = order[ascending]
        back = np.empty_like(ascending)
        back[ascending] = np.arange(len(order))
        cuts = np.flatnonzero(np.diff(natural) != 1) + 1
        stretches = [(int(part[0]), int(part[-1]) + 1) for part in np.split(natural, cuts) if len(part)]

        bins = self._bins_of(step, rows)
        wanted = [_parts(self.plan, index, start, stop) for index in bins for start, stop in stretches]
        read = iter(self.store.read_many([part.range for parts in wanted for part in parts]))
        filled = [
            _fill(stop - start, parts, read) for (start, stop), parts in zip(stretches * len(bins), wanted, strict=True)
        ]
        shape = (len(bins), len(order))
        return {
            name: np.concatenate([piece[name] for piece in filled] or [np.zeros(0, dtype)]).reshape(shape)[:, back]
            for name, dtype in FIELDS.items()
        }

    def iterate(
        self, start_step: int, stop_step: int, *, rows: slice = ALL, columns: slice = ALL, threads: int = 4
    ) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Yields ``(step, batch)`` in order while threads prepare the next steps."""
        return prefetch(lambda step: self.batch(step, rows, columns), start_step, stop_step, threads=threads)

    def state(self, step: int) -> dict[str, Any]:
        """What a checkpoint keeps: enough to continue at ``step``, and to notice when the data has changed.

        Context shards are left out: they order a row's tokens but do not choose them, so a run may resume on a
        mesh of another shape.
        """
        return {
            "step": step,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "window": self.plan.window,
            "plan": self.plan.hash,
            "content": self.store.content_hash,
        }

    def check_state(self, state: Mapping[str, Any]) -> int:
        """The step at which to continue.

        Raises:
          InputError: the state was saved with other data or another order of it.
        """
        return check_state(self, state)

    def _bins_of(self, step: int, rows: slice) -> list[int]:
        if step < 0:
            raise InputError("step", step, "must not be negative")
        first = step * self.batch_size
        return [self._bins[row] for row in range(first, first + self.batch_size)[rows]]


def check_state(batches: BatchSource, state: Mapping[str, Any]) -> int:
    """The step at which to continue.

    Args:
      batches: of this run.
      state: ``batches.state(step)`` from the checkpoint.

    Raises:
      InputError: the state was saved with other data or another order of it.
    """
    for field, mine in batches.state(int(state.get("step", 0))).items():
        if state.get(field) != mine:
            raise InputError(
                f"data state.{field}",
                state.get(field),
                f"this run has {mine!r}; resume with the data and batch "
                "settings the checkpoint was made with, or start anew",
            )
    return int(state["step"])


def prefetch(make: Callable[[int], T], start: int, stop: int, *, threads: int = 4) -> Iterator[tuple[int, T]]:
    """Yields ``(step, make(step))`` in order; ``threads`` threads stay up to twice as many steps ahead."""
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    yield from grain.MapDataset.range(start, stop).map(lambda step: (step, make(step))).to_iter_dataset(options)


class _Part(NamedTuple):
    """The overlap of one trajectory with a range of a row.

    Attributes:
      range: (trajectory, start, stop) to read; one token more than the inputs where the trajectory goes on.
      begin: place of the first input within that range.
      size: number of inputs.
      segment: segment id.
    """

    range: tuple[int, int, int]
    begin: int
    size: int
    segment: int


def _parts(plan: BinPlan, index: int, start: int, stop: int) -> list[_Part]:
    """The trajectories in positions ``start`` to ``stop`` of a bin."""
    documents, offsets = plan.bin(index)
    parts = []
    for place, (document, offset) in enumerate(zip(documents.tolist(), offsets.tolist(), strict=True)):
        length = int(plan.lengths[plan.starts[index] + place])
        first, last = max(start - offset, 0), min(stop - offset, length)
        if first < last:
            wanted = (document, first, min(last + 1, length))
            parts.append(_Part(wanted, begin=offset + first - start, size=last - first, segment=place + 1))
    return parts


def _fill(size: int, parts: list[_Part], read: Iterator[Trajectory]) -> dict[str, np.ndarray]:
    """Lays out the trajectories of a range of a row in natural order: a dict of arrays [size]."""
    out = {name: np.zeros(size, dtype) for name, dtype in FIELDS.items()}
    for part in parts:
        found, first = next(read), part.range[1]
        inputs = slice(part.begin, part.begin + part.size)
        labelled = slice(part.begin, part.begin + min(part.size, len(found) - 1))
        out["tokens"][inputs] = found.tokens[: part.size]
        out["targets"][labelled] = found.tokens[1:]
        out["weights"][labelled] = found.weights[1:]
        out["roles"][labelled] = found.roles[1:]
        out["kinds"][labelled] = found.kinds[1:]
        out["segment_ids"][inputs] = part.segment
        out["positions"][inputs] = np.arange(first, first + part.size, dtype=np.int32)
    return out

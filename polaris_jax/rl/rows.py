"""Packs the texts of a step into windows for the learner, and maps its numbers back to the texts.

Several texts share a window (segment ids keep them apart), so short stories beside a long one cost no padding. Other
values per response token are packed along as named fields.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from polaris_jax.data import BinPlan, plan_bins, zigzag_order

INTEGERS = ("tokens", "targets", "positions", "segment_ids")


@dataclass(frozen=True)
class TrainingRow:
    """One text: ``prompt`` and ``response``, int32 token ids, at least one of each."""

    prompt: np.ndarray
    response: np.ndarray

    def __len__(self) -> int:
        """Inputs of the model: every token but the last."""
        return len(self.prompt) + len(self.response) - 1


@dataclass(frozen=True)
class Packed:
    """Rows packed into windows.

    Attributes:
      arrays: ``[bins, window]``: tokens, targets, positions and segment_ids (int32), and the float32 fields.
      plan: which row lies in which bin; rows: the number of rows; shards: context shards (zigzag order).
    """

    arrays: dict[str, np.ndarray]
    plan: BinPlan
    rows: tuple[TrainingRow, ...]
    shards: int

    def __len__(self) -> int:
        """Number of bins, padding ones included."""
        return len(self.arrays["tokens"])

    def part(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Bins ``start`` to ``stop``."""
        return {name: array[start:stop] for name, array in self.arrays.items()}

    def of_responses(self, values: np.ndarray) -> list[np.ndarray]:
        """Splits ``values [bins, window]`` into one array per row, over its response tokens."""
        natural = np.empty_like(values)
        natural[:, zigzag_order(self.plan.window, self.shards)] = values
        found: list[np.ndarray] = [np.zeros(0, values.dtype)] * len(self.rows)
        for index, begin, row in _places(self.plan):
            first = begin + len(self.rows[row].prompt) - 1
            found[row] = natural[index, first : first + len(self.rows[row].response)]
        return found

    def with_fields(self, fields: Mapping[str, Sequence[np.ndarray]]) -> "Packed":
        """The same windows with more fields: per row, one number per response token."""
        order = zigzag_order(self.plan.window, self.shards)
        new = {name: np.zeros(self.arrays["tokens"].shape, np.float32) for name in fields}
        for index, begin, row in _places(self.plan):
            first = begin + len(self.rows[row].prompt) - 1
            for name, values in fields.items():
                new[name][index, first : first + len(self.rows[row].response)] = values[row]
        return Packed(
            self.arrays | {name: array[:, order] for name, array in new.items()}, self.plan, self.rows, self.shards
        )


def best_window(lengths: Sequence[int], window: int, *, sizes: int, multiple: int, granule: int) -> int:
    """The window with the least padding among ``sizes`` lengths evenly spaced up to ``window``.

    Args:
      lengths: tokens per row; none is longer than ``window``.
      multiple: the number of bins is rounded up to a multiple of it. granule: window lengths are multiples of it.
    """
    step = max(granule, window // sizes // granule * granule)
    choices = [size for size in range(window, 0, -step) if size >= max(lengths)][:sizes]
    return min(choices, key=lambda size: -(-len(plan_bins(lengths, size)) // multiple) * multiple * size)


def pack(rows: Sequence[TrainingRow], window: int, *, multiple: int = 1, shards: int = 1) -> Packed:
    """Packs rows into windows, longest first.

    Args:
      window: tokens per bin; a multiple of twice the context shards.
      multiple: empty bins are added until their number divides by it.

    Raises:
      InputError: a row is longer than the window.
    """
    plan = plan_bins([len(row) for row in rows], window)
    bins = -(-len(plan) // multiple) * multiple
    arrays = {name: np.zeros((bins, window), np.int32) for name in INTEGERS}
    segment = np.zeros(bins, np.int32)
    for index, begin, number in _places(plan):
        row = rows[number]
        text = np.concatenate([row.prompt, row.response])
        here = slice(begin, begin + len(row))
        segment[index] += 1
        for name, values in (
            ("tokens", text[:-1]),
            ("targets", text[1:]),
            ("positions", np.arange(len(row))),
            ("segment_ids", segment[index]),
        ):
            arrays[name][index, here] = values
    order = zigzag_order(window, shards)
    return Packed({name: array[:, order] for name, array in arrays.items()}, plan, tuple(rows), shards)


def _places(plan: BinPlan) -> Iterator[tuple[int, int, int]]:
    """``(bin, first position in it, row)`` of every row."""
    for index in range(len(plan)):
        for row, begin in zip(*plan.bin(index), strict=True):
            yield index, int(begin), int(row)

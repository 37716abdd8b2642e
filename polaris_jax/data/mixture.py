"""Rows from several stores by weight, and runs whose windows grow. Both stay pure functions of the step."""

from collections.abc import Mapping, Sequence
from typing import Any

import grain
import numpy as np

from polaris_jax.data.loader import ALL, Batches, BatchSource, check_state
from polaris_jax.errors import InputError

_ENDLESS = 1 << 40  # rows; Grain wants a length


class Mixture:
    """Batches whose rows come from several stores, in proportion to their weights.

    Grain's ``mix`` chooses the source of row ``r`` of the stream; the row is that source's next one. The proportions
    hold in every part of the stream, each source runs through its own epochs at its own pace, and no state is kept
    between steps.

    Args:
      sources: batches of one row each, over stores with the same tokenizer, window and mesh.
      weights: shares of the rows, any positive numbers.
      batch_size: rows B of the global batch.

    Raises:
      InputError: fewer weights than sources, a weight that is not positive, or windows that differ.
    """

    def __init__(self, sources: Sequence[Batches], weights: Sequence[float], *, batch_size: int):
        if len(weights) != len(sources) or not sources or min(weights) <= 0:
            raise InputError("weights", tuple(weights), f"needs one positive number per store, {len(sources)}")
        if len({source.plan.window for source in sources}) != 1:
            raise InputError("window", [source.plan.window for source in sources], "must be the same for all stores")
        self.sources, self.weights, self.batch_size = tuple(sources), tuple(map(float, weights)), batch_size
        numbered = [
            grain.MapDataset.range(_ENDLESS).map(lambda row, at=number: (at, int(row)))
            for number in range(len(sources))
        ]
        self._rows = grain.MapDataset.mix(numbered, weights=list(self.weights)) if len(sources) > 1 else numbered[0]

    def shape(self, step: int) -> tuple[int, int]:
        """``(rows, tokens per row)`` of the global batch."""
        return self.batch_size, self.sources[0].plan.window

    def of_step(self, step: int) -> list[tuple[int, int]]:
        """Per row of ``step``: its source, and its number in that source's stream."""
        return [self._rows[row] for row in range(step * self.batch_size, (step + 1) * self.batch_size)]

    def batch(self, step: int, rows: slice = ALL, columns: slice = ALL) -> dict[str, np.ndarray]:
        """As ``Batches.batch``."""
        parts = [self.sources[source].batch(row, columns=columns) for source, row in self.of_step(step)[rows]]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def state(self, step: int) -> dict[str, Any]:
        """As ``Batches.state``."""
        return {
            "step": step,
            "batch_size": self.batch_size,
            "weights": list(self.weights),
            "sources": [source.state(0) for source in self.sources],
        }

    def check_state(self, state: Mapping[str, Any]) -> int:
        """As ``Batches.check_state``."""
        return check_state(self, state)


class Curriculum:
    """Stages one after the other, each with its own window.

    Args:
      stages: ``(steps, batches)`` in order; the last stage never ends.
    """

    def __init__(self, stages: Sequence[tuple[int, BatchSource]]):
        self.stages = tuple(batches for _, batches in stages)
        self.starts = tuple(np.cumsum([0, *(steps for steps, _ in stages[:-1])]).tolist())

    def _at(self, step: int) -> tuple[BatchSource, int]:
        """The stage of a step, and the step within it."""
        number = int(np.searchsorted(self.starts, step, side="right")) - 1
        return self.stages[number], step - self.starts[number]

    def shape(self, step: int) -> tuple[int, int]:
        """``(rows, tokens per row)`` of the global batch of ``step``."""
        stage, within = self._at(step)
        return stage.shape(within)

    def batch(self, step: int, rows: slice = ALL, columns: slice = ALL) -> dict[str, np.ndarray]:
        """As ``Batches.batch``."""
        stage, within = self._at(step)
        return stage.batch(within, rows, columns)

    def state(self, step: int) -> dict[str, Any]:
        """As ``Batches.state``."""
        return {"step": step, "starts": list(self.starts), "stages": [stage.state(0) for stage in self.stages]}

    def check_state(self, state: Mapping[str, Any]) -> int:
        """As ``Batches.check_state``."""
        return check_state(self, state)

"""A tokenised trajectory and its run-length encoding.

Role, kind and weight change only a few hundred times in a hundred thousand tokens, so the store keeps *runs*.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Trajectory:
    """Tokens and what each of them is *as a prediction target*.

    Attributes:
      tokens: int32 [n].
      roles, kinds: int8 [n], indices into ``trajectory.ROLES`` and ``trajectory.KINDS``.
      weights: float32 [n], loss weight of predicting this token from those before it.
    """

    tokens: np.ndarray
    roles: np.ndarray
    kinds: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)

    def cut(self, start: int, stop: int) -> "Trajectory":
        """Tokens ``start`` to ``stop`` (exclusive)."""
        return Trajectory(*(a[start:stop] for a in (self.tokens, self.roles, self.kinds, self.weights)))


@dataclass(frozen=True)
class Runs:
    """Runs of consecutive tokens with equal role, kind and weight.

    Attributes:
      table: int32 [r, 4], columns start, length, role, kind; starts count from the trajectory's first token.
      weights: float32 [r].
    """

    table: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, trajectory: Trajectory) -> "Runs":
        """The longest possible runs of a trajectory."""
        size = len(trajectory)
        if not size:
            return cls(np.zeros((0, 4), np.int32), np.zeros(0, np.float32))
        changes = np.zeros(size, bool)
        changes[0] = True
        for array in (trajectory.roles, trajectory.kinds, trajectory.weights):
            changes[1:] |= array[1:] != array[:-1]
        starts = np.flatnonzero(changes)
        lengths = np.diff(starts, append=size)
        table = np.stack([starts, lengths, trajectory.roles[starts], trajectory.kinds[starts]], axis=1)
        return cls(table.astype(np.int32), trajectory.weights[starts].astype(np.float32))

    def expand(self, tokens: np.ndarray, start: int) -> Trajectory:
        """The trajectory of ``tokens``, which begin at offset ``start`` of the whole one."""
        first, length, role, kind = self.table.T
        lengths = np.clip(first + length, start, start + len(tokens)) - np.clip(first, start, start + len(tokens))
        return Trajectory(
            tokens,
            np.repeat(role.astype(np.int8), lengths),
            np.repeat(kind.astype(np.int8), lengths),
            np.repeat(self.weights, lengths),
        )

"""The offline bin plan: which trajectories share a window.

Lengths are known before training, so packing is solved once (best-fit decreasing), and a training step only looks up
its bins. No trajectory is split over two windows.
"""

import hashlib
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polaris_jax.errors import InputError


@dataclass(frozen=True)
class BinPlan:
    """Bins of trajectories, flattened.

    Attributes:
      window: tokens per bin.
      documents: int64 [n], trajectory indices, bin after bin.
      lengths: int64 [n], their lengths.
      starts: int64 [bins + 1], where each bin begins in ``documents``.
    """

    window: int
    documents: np.ndarray
    lengths: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        """Number of bins."""
        return len(self.starts) - 1

    def bin(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Trajectory indices of a bin and the position at which each begins in the window."""
        part = slice(self.starts[index], self.starts[index + 1])
        lengths = self.lengths[part]
        return self.documents[part], np.cumsum(lengths) - lengths

    @property
    def fill(self) -> float:
        """Share of the windows' places that hold a token, 0 to 1."""
        return float(self.lengths.sum()) / (len(self) * self.window)

    @property
    def hash(self) -> str:
        """sha256 (hex) of the plan; equal plans give equal steps."""
        digest = hashlib.sha256(str(self.window).encode())
        for array in (self.documents, self.lengths, self.starts):
            digest.update(b"|" + array.astype("<i8").tobytes())
        return digest.hexdigest()


def plan_bins(
    lengths: Sequence[int] | np.ndarray,
    window: int,
    *,
    documents: Sequence[int] | np.ndarray | None = None,
    overlong: str = "error",
) -> BinPlan:
    """Packs trajectories into windows, longest first, each into the fullest bin that still has room for it.

    Args:
      lengths: tokens per trajectory, of the whole store.
      window: tokens per bin.
      documents: trajectory indices to use (a split); default: all.
      overlong: what to do with a trajectory longer than the window: ``"error"`` or ``"drop"``.

    Raises:
      InputError: a trajectory longer than the window, or nothing left to pack.
    """
    lengths = np.asarray(lengths, np.int64)
    documents = np.arange(len(lengths)) if documents is None else np.asarray(documents, np.int64)
    if window < 1:
        raise InputError("window", window, "must be at least 1 token")
    if overlong not in ("error", "drop"):
        raise InputError("overlong", overlong, "must be 'error' or 'drop'")
    long = documents[lengths[documents] > window]
    if len(long) and overlong == "error":
        raise InputError(
            "window",
            window,
            f"trajectory {long[0]} has {lengths[long[0]]} tokens ({len(long)} are too long); "
            "truncate them when the store is built, widen the window, or pass overlong='drop'",
        )
    documents = documents[(lengths[documents] <= window) & (lengths[documents] > 0)]
    if not len(documents):
        raise InputError("lengths", len(lengths), f"no trajectory fits a window of {window} tokens")

    bins: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (free places, bin), ascending: the best fit is the first with enough room
    for document in documents[np.lexsort((documents, -lengths[documents]))]:
        length = int(lengths[document])
        place = bisect_left(room, (length, -1))
        if place < len(room):
            free, index = room.pop(place)
        else:
            free, index = window, len(bins)
            bins.append([])
        bins[index].append(int(document))
        if free > length:
            insort(room, (free - length, index))
    order = np.array([document for members in bins for document in members], np.int64)
    starts = np.cumsum([0] + [len(members) for members in bins], dtype=np.int64)
    return BinPlan(window, order, lengths[order], starts)

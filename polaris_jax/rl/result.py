"""The result of a post-training run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RlResult:
    """``steps`` done in total; ``finished`` is False if a signal (its number in ``stopped_by``) ended the run early."""

    steps: int
    finished: bool
    stopped_by: int = 0

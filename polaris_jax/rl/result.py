"""What a post-training run ends with."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RlResult:
    """``steps`` done in all; ``finished`` is False when a signal (its number in ``stopped_by``) ended the run early."""

    steps: int
    finished: bool
    stopped_by: int = 0

"""``StageTimer``: the time of a build by stage."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

STAGES = ("read", "segment", "compare", "scaffold", "review", "render and check", "tokenize", "write")


class StageTimer:
    """Adds up seconds per stage: ``with timer("scaffold"): ...``.

    Attributes:
      seconds: wall-clock seconds by stage.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - started


def total_seconds(parts: list[dict[str, float]]) -> dict[str, float]:
    """The sum of several books' seconds, in the order of ``STAGES``."""
    return {stage: total for stage in STAGES if (total := sum(part.get(stage, 0.0) for part in parts))}

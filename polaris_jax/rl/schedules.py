"""Weights that change over the run: for human references and for behaviour cloning."""

import math
from dataclasses import dataclass

from polaris_jax.options import ANY_NUMBER, Bounds, check, option

SHAPES = ("linear", "cosine")
_STEPS = Bounds("steps, 0 or more", least=0)


@dataclass(frozen=True)
class WeightSchedule:
    """A linear rise from 0 to ``peak``, then (with a decay) a fall to ``final``; constant afterwards.

    Raises:
      InputError: an unknown shape or a negative length.
    """

    peak: float = option(bounds=ANY_NUMBER, doc="weight after the rise")
    final: float = option(0.0, bounds=ANY_NUMBER, doc="weight after the fall")
    warmup: int = option(0, bounds=_STEPS, doc="steps of the rise")
    decay: int = option(0, bounds=_STEPS, doc="steps of the fall (0: none)")
    shape: str = option("linear", choices=SHAPES, doc="shape of the fall")

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, step: int) -> float:
        """The weight of the step after ``step`` steps: 0 at the first one when there is a warm-up."""
        if step < self.warmup:
            return self.peak * step / self.warmup
        done = step - self.warmup
        if done >= self.decay:
            return self.final if self.decay else self.peak
        part = done / self.decay
        if self.shape == "cosine":
            return self.final + (self.peak - self.final) * (1 + math.cos(math.pi * part)) / 2
        return self.peak + (self.final - self.peak) * part

"""Weights that change over the run: of the human references, and of behaviour cloning."""

import math
from dataclasses import dataclass

from polaris_jax.errors import InputError

SHAPES = ("linear", "cosine")


@dataclass(frozen=True)
class WeightSchedule:
    """A linear rise from 0 to ``peak``, then, if there is a decay, a fall to ``final``; constant afterwards.

    Attributes:
      peak, final: weights.
      warmup, decay: steps of the rise and of the fall.
      shape: of the fall, ``linear`` or ``cosine``.

    Raises:
      InputError: an unknown shape or a negative length.
    """

    peak: float
    final: float = 0.0
    warmup: int = 0
    decay: int = 0
    shape: str = "linear"

    def __post_init__(self):
        if self.shape not in SHAPES:
            raise InputError("schedule", self.shape, f"choose one of {', '.join(SHAPES)}")
        for name in ("warmup", "decay"):
            if getattr(self, name) < 0:
                raise InputError(name, getattr(self, name), "steps, 0 or more")

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

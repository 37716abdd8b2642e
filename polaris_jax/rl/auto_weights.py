"""Reward weights that follow the rewards: a component that stagnates gains weight, one that improves loses some.

The slope of each component's mean over the last steps, by a polynomial fit, drives a multiplicative update on the
simplex of weights.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from polaris_jax.errors import InputError


@dataclass(frozen=True)
class AutoWeightOptions:
    """How weights follow slopes.

    Attributes:
      keys: components that are weighed; the others keep their weights.
      update_every, start_step, min_points, window: steps between updates; first step of one; points every component
        must have; points that are remembered (at least 10).
      eta: strength of an update.
      w_min, w_max: bounds of a share before the shares are brought back to a sum of 1.
      deg: of the polynomial; the slope is its linear coefficient.
      ema_beta: smoothing of the means (0: none).
      penalty_keys: components whose fall is the improvement.
      normalize_domain: ``subset``: weights are shares times ``sum_target``; ``global``: the shares themselves.
      sum_target: sum of the weights; None keeps the sum of the first ones.
      key_overrides: per component, ``w_min``, ``w_max`` or ``eta_scale`` of its own.
    """

    keys: tuple[str, ...]
    update_every: int = 10
    start_step: int = 0
    min_points: int = 30
    window: int = 100
    eta: float = 0.5
    w_min: float = 0.05
    w_max: float = 0.95
    deg: int = 1
    ema_beta: float = 0.0
    penalty_keys: tuple[str, ...] = ()
    normalize_domain: str = "subset"
    sum_target: float | None = None
    key_overrides: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self):
        if self.normalize_domain not in ("subset", "global"):
            raise InputError("normalize_domain", self.normalize_domain, "choose subset or global")
        if self.update_every < 1:
            raise InputError("update_every", self.update_every, "steps, at least 1")

    def of(self, key: str, name: str) -> float:
        """``w_min``, ``w_max`` or ``eta_scale`` of a component."""
        default = 1.0 if name == "eta_scale" else getattr(self, name)
        return float(self.key_overrides.get(key, {}).get(name, default))


class AutoWeights:
    """The present shares and what they were learnt from.

    Args:
      initial: weights at the start, for every key at least.

    Raises:
      InputError: a key has no initial weight, or they sum to nothing.
    """

    def __init__(self, options: AutoWeightOptions, initial: Mapping[str, float]):
        missing = [key for key in options.keys if key not in initial]
        if missing:
            raise InputError("auto_weights.keys", missing[0], f"has no weight; the rewards are {', '.join(initial)}")
        total = sum(float(initial[key]) for key in options.keys)
        if total <= 0:
            raise InputError("auto_weights.keys", options.keys, "their weights must have a positive sum")
        self.options = options
        self.alpha = {key: float(initial[key]) / total for key in options.keys}
        self._target = total if options.sum_target is None else options.sum_target
        self._points = {key: deque(maxlen=max(10, options.window)) for key in options.keys}
        self._smooth: dict[str, float] = {}

    def update(self, step: int, means: Mapping[str, float]) -> dict[str, float] | None:
        """Remembers a step's means; the new weights when an update is due, else None.

        Args:
          step: counted from 1.
          means: mean of each component over the step's valid policy rows; absent or non-finite ones are left out.
        """
        o = self.options
        for key in o.keys:
            if key in means and math.isfinite(means[key]):
                value = float(means[key])
                if o.ema_beta > 0:
                    value = o.ema_beta * self._smooth.get(key, value) + (1 - o.ema_beta) * value
                    self._smooth[key] = value
                self._points[key].append((step, value))
        due = step >= o.start_step and step % o.update_every == 0
        if not due or any(len(points) < o.min_points for points in self._points.values()):
            return None
        raw = {key: self._pushed(key) for key in o.keys}
        total = sum(raw.values())
        self.alpha = {key: value / total for key, value in raw.items()}
        if any(all(raw[key] == o.of(key, bound) for key in o.keys) for bound in ("w_min", "w_max")):
            return None  # every share at the same bound says nothing about their order
        scale = self._target if o.normalize_domain == "subset" else 1.0
        return {key: share * scale for key, share in self.alpha.items()}

    def _pushed(self, key: str) -> float:
        o = self.options
        steps, values = zip(*self._points[key], strict=True)
        slope = float(np.polyfit(steps, values, o.deg)[-2])
        slope = -slope if key in o.penalty_keys else slope
        value = self.alpha[key] * math.exp(-o.eta * o.of(key, "eta_scale") * slope)
        return min(max(value, o.of(key, "w_min")), o.of(key, "w_max"))

    def state(self) -> dict[str, Any]:
        """Everything ``restore`` needs, as JSON values."""
        return {"alpha": self.alpha, "smooth": self._smooth,
                "points": {key: list(map(list, points)) for key, points in self._points.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on where ``state`` was taken."""
        self.alpha, self._smooth = dict(state["alpha"]), dict(state["smooth"])
        for key, points in state["points"].items():
            self._points[key].clear()
            self._points[key].extend(tuple(point) for point in points)

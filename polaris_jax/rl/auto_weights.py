"""Reward weights that adapt: a component that stagnates gains weight, and one that improves loses weight.

A polynomial fit gives the slope of each component's mean over the last steps. The slopes drive a multiplicative update
on the simplex of weights.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from polaris_jax.errors import InputError
from polaris_jax.options import ANY_NUMBER, NOT_NEGATIVE, POSITIVE, SHARE, Bounds, check, option


@dataclass(frozen=True)
class AutoWeightOptions:
    """How the weights follow the slopes.

    Raises:
      InputError: a field is out of range.
    """

    components: tuple[str, ...] = option((), doc="components that are weighed; the others keep their weights")
    update_every: int = option(10, bounds=Bounds("steps, at least 1", least=1), doc="steps between updates")
    start_step: int = option(0, bounds=NOT_NEGATIVE, doc="first step of an update")
    min_points: int = option(30, bounds=NOT_NEGATIVE, doc="points that every component must have")
    window: int = option(100, bounds=NOT_NEGATIVE, doc="points that are kept (at least 10)")
    eta: float = option(0.5, bounds=ANY_NUMBER, doc="strength of an update")
    w_min: float = option(0.05, bounds=NOT_NEGATIVE, doc="least share before the shares are brought back to a sum of 1")
    w_max: float = option(0.95, bounds=NOT_NEGATIVE, doc="largest share before that")
    deg: int = option(1, bounds=POSITIVE, doc="degree of the polynomial; the slope is its linear coefficient")
    ema_beta: float = option(0.0, bounds=SHARE, doc="smoothing of the means (0: none)")
    penalty_keys: tuple[str, ...] = option((), doc="components whose fall is the improvement")
    normalize_domain: str = option(
        "subset",
        choices=("subset", "global"),
        doc="subset: weights are shares times the sum of the first ones; global: the shares themselves",
    )

    def __post_init__(self) -> None:
        check(self)


class AutoWeights:
    """The current shares, and the means they were computed from.

    Args:
      initial: weights at the start, at least for every component.
      sum_target: sum of the weights; None keeps the sum of ``initial``.
      own: ``w_min``, ``w_max`` or ``eta_scale`` for single components.

    Raises:
      InputError: a component has no initial weight, or the weights sum to 0 or less.
    """

    def __init__(
        self,
        options: AutoWeightOptions,
        initial: Mapping[str, float],
        *,
        sum_target: float | None = None,
        own: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
    ):
        names = options.components
        missing = [name for name in names if name not in initial]
        if missing:
            raise InputError(
                "auto_weights.components", missing[0], f"has no weight; the rewards are {', '.join(initial)}"
            )
        total = sum(float(initial[name]) for name in names)
        if total <= 0:
            raise InputError("auto_weights.components", names, "their weights must have a positive sum")
        self.options = options
        self.alpha = {name: float(initial[name]) / total for name in names}
        self._target = total if sum_target is None else sum_target
        self._own = own
        self._points: dict[str, deque[tuple[int, float]]] = {
            name: deque(maxlen=max(10, options.window)) for name in names
        }
        self._smooth: dict[str, float] = {}

    def update(self, step: int, means: Mapping[str, float]) -> dict[str, float] | None:
        """Stores a step's means, and returns the new weights when an update is due, else None.

        Args:
          step: counted from 1.
          means: mean of each component over the step's valid policy rows; absent or non-finite ones are left out.
        """
        o = self.options
        for key in o.components:
            if key in means and math.isfinite(means[key]):
                value = float(means[key])
                if o.ema_beta > 0:
                    value = o.ema_beta * self._smooth.get(key, value) + (1 - o.ema_beta) * value
                    self._smooth[key] = value
                self._points[key].append((step, value))
        due = step >= o.start_step and step % o.update_every == 0
        if not due or any(len(points) < o.min_points for points in self._points.values()):
            return None
        raw = {key: self._pushed(key) for key in o.components}
        total = sum(raw.values())
        self.alpha = {key: value / total for key, value in raw.items()}
        if any(all(raw[key] == self._of(key, bound) for key in o.components) for bound in ("w_min", "w_max")):
            return None  # when every share is at the same bound, their order is unknown
        scale = self._target if o.normalize_domain == "subset" else 1.0
        return {key: share * scale for key, share in self.alpha.items()}

    def _of(self, key: str, name: str) -> float:
        """``w_min``, ``w_max`` or ``eta_scale`` of a component."""
        default = 1.0 if name == "eta_scale" else getattr(self.options, name)
        return float(self._own.get(key, {}).get(name, default))

    def _pushed(self, key: str) -> float:
        o = self.options
        steps, values = zip(*self._points[key], strict=True)
        slope = float(np.polyfit(steps, values, o.deg)[-2])
        slope = -slope if key in o.penalty_keys else slope
        value = self.alpha[key] * math.exp(-o.eta * self._of(key, "eta_scale") * slope)
        return min(max(value, self._of(key, "w_min")), self._of(key, "w_max"))

    def state(self) -> dict[str, Any]:
        """Everything ``restore`` needs, as JSON values."""
        return {
            "alpha": self.alpha,
            "smooth": self._smooth,
            "points": {key: list(map(list, points)) for key, points in self._points.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state`` returned."""
        self.alpha, self._smooth = dict(state["alpha"]), dict(state["smooth"])
        for key, points in state["points"].items():
            self._points[key].clear()
            self._points[key].extend(tuple(point) for point in points)

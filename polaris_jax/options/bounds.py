"""The numbers that a field may hold, and the advice in the error for any other."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """An interval of finite numbers.

    Attributes:
      advice: the advice of the error for a number outside.
      least, most: inclusive bounds. above, below: exclusive bounds.
    """

    advice: str
    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def hold(self, number: float) -> bool:
        """Whether ``number`` lies inside; NaN never does."""
        return self.least <= number <= self.most and self.above < number < self.below


ANY_NUMBER = Bounds("must be a finite number")
POSITIVE = Bounds("must be positive", above=0)
NOT_NEGATIVE = Bounds("must not be negative", least=0)
AT_LEAST_1 = Bounds("at least 1", least=1)
SHARE = Bounds("is a share: between 0 and 1", least=0, most=1)

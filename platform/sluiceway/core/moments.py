"""How many values there were, their sum, and the sum of their squares: what is kept of many numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Moments:
    """Of values that were seen; two of them add up, in any order.

    Attributes:
        n: how many.
        total: their sum.
        squares: the sum of their squares.
    """

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.n + other.n, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> float:
        """NaN without a value."""
        return self.total / self.n if self.n else math.nan

    @property
    def variance(self) -> float:
        """About the mean, 0 or more; NaN without a value."""
        return max(0.0, self.squares / self.n - self.mean**2) if self.n else math.nan


NOTHING = Moments()

"""Operators of quality rules as ranges that a number has to fall into."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from pydantic import model_validator

from sluiceway.config.base import Section
from sluiceway.core.verdict import Direction, Threshold

OPERATORS = (
    *("mustBe", "mustNotBe", "mustBeGreaterThan", "mustBeGreaterOrEqualTo"),
    *("mustBeLessThan", "mustBeLessOrEqualTo", "mustBeBetween", "mustNotBeBetween"),
)

Unit = Literal["rows", "percent"]


@dataclass(frozen=True)
class Limits:
    """The good values of a number.

    Attributes:
        ranges: both ends of each are good; sorted, apart from each other.
        text: the same for a person, e.g. ``between 10 and 20``.
    """

    ranges: tuple[tuple[float, float], ...]
    text: str

    def tolerates_nothing(self, unit: Unit) -> bool:
        """Whether only zero is good, for a count of rows or their percentage."""
        return all(high < 1 if unit == "rows" else high <= 0 for _, high in self.ranges)

    def threshold(self, value: float, *, n_needed: int = 1) -> Threshold:
        """The one limit that decides on a value: of the range that it is in, or of the nearest, the nearer end.

        Args:
            value: what was measured.
            n_needed: of the threshold.
        """
        low, high = min(self.ranges, key=lambda ends: max(ends[0] - value, value - ends[1]))
        below = value < low or (value <= high and value - low < high - value)
        return Threshold(low if below else high, Direction.AT_LEAST if below else Direction.AT_MOST, n_needed)


NONE_AT_ALL = Limits(((-math.inf, 0.0),), "0")


class Operators(Section):
    """The operators; a rule has at most one of them."""

    mustBe: float | None = None
    mustNotBe: float | None = None
    mustBeGreaterThan: float | None = None
    mustBeGreaterOrEqualTo: float | None = None
    mustBeLessThan: float | None = None
    mustBeLessOrEqualTo: float | None = None
    mustBeBetween: tuple[float, float] | None = None
    mustNotBeBetween: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _one_operator(self) -> Operators:
        if self.given > 1:
            given = (name for name in OPERATORS if getattr(self, name) is not None)
            raise ValueError(f"more than one operator: {', '.join(given)}")
        for name in ("mustBeBetween", "mustNotBeBetween"):
            ends = getattr(self, name)
            if ends is not None and ends[0] > ends[1]:
                raise ValueError(f"{name} has the smaller number first")
        return self

    @property
    def given(self) -> int:
        """How many operators are given."""
        return sum(getattr(self, name) is not None for name in OPERATORS)

    def limits(self) -> Limits:
        """What the operator asks for; without one, zero."""
        inf = math.inf
        if self.mustBe is not None:
            return Limits(((self.mustBe, self.mustBe),), f"{self.mustBe:g}")
        if self.mustNotBe is not None:
            return Limits(_outside(self.mustNotBe, self.mustNotBe), f"not {self.mustNotBe:g}")
        if self.mustBeGreaterThan is not None:
            return Limits(((math.nextafter(self.mustBeGreaterThan, inf), inf),), f"> {self.mustBeGreaterThan:g}")
        if self.mustBeGreaterOrEqualTo is not None:
            return Limits(((self.mustBeGreaterOrEqualTo, inf),), f">= {self.mustBeGreaterOrEqualTo:g}")
        if self.mustBeLessThan is not None:
            return Limits(((-inf, math.nextafter(self.mustBeLessThan, -inf)),), f"< {self.mustBeLessThan:g}")
        if self.mustBeLessOrEqualTo is not None:
            return Limits(((-inf, self.mustBeLessOrEqualTo),), f"<= {self.mustBeLessOrEqualTo:g}")
        if self.mustBeBetween is not None:
            low, high = self.mustBeBetween
            return Limits(((low, high),), f"between {low:,g} and {high:,g}")
        if self.mustNotBeBetween is not None:
            low, high = self.mustNotBeBetween
            return Limits(_outside(low, high), f"not between {low:,g} and {high:,g}")
        return NONE_AT_ALL


def _outside(low: float, high: float) -> tuple[tuple[float, float], ...]:
    return (-math.inf, math.nextafter(low, -math.inf)), (math.nextafter(high, math.inf), math.inf)

"""What a figure of the report is: a drawing, how to read it, and its numbers as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MOST_TABLE_ROWS = 100  # of one table on the page; the JSON has all


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        title: its heading.
        note: how to read it, and its most important number.
        svg: the drawing, or "" for a table alone.
        columns: heads of the table; empty for a drawing alone.
        rows: cells of the table, as text; the first cell is the head of its row.
        left_out: rows of the table that the page leaves out.
        folded: the table shows when it is asked for.
    """

    title: str
    note: str
    svg: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    left_out: int = 0
    folded: bool = True

    @property
    def shape(self) -> str:
        """Classes of the style sheet: how much room it wants."""
        if not self.svg:
            return "whole broad"
        if self.rows and not self.folded:
            return "whole broad drawn"
        return "broad" if len(self.columns) > 4 or len(self.rows) > 20 else ""


@dataclass(frozen=True)
class Chapter:
    """Figures that belong together.

    Attributes:
        name: its heading.
        figures: at least one.
    """

    name: str
    figures: tuple[Figure, ...]


def tabled(rows: Sequence[tuple[str, ...]]) -> tuple[tuple[tuple[str, ...], ...], int]:
    """The rows that the page shows, and how many it leaves out."""
    return tuple(rows[:MOST_TABLE_ROWS]), max(0, len(rows) - MOST_TABLE_ROWS)


def number(value: float | None, unit: str = "") -> str:
    """A number for people; "no value" where there is none."""
    if value is None or math.isnan(value):
        return "no value"
    digits = f"{value:,.0f}" if 10_000 <= abs(value) < 1e12 else f"{value:.4g}"
    return f"{digits} {unit}" if unit else digits


def share(value: float) -> str:
    """A share in percent; a dash where there is none."""
    if math.isnan(value):
        return "\N{EN DASH}"
    return f"{value * 100:.3g} %" if abs(value) < 0.9995 else f"{value * 100:.4g} %"


def with_interval(value: float, low: float, high: float, *, decimals: int = 3) -> str:
    """A number and its interval, as many decimals for all three; a dash where there is none."""
    if math.isnan(value):
        return "\N{EN DASH}"
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{value:.{decimals}f}"
    return f"{value:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"


def share_with_interval(value: float, low: float, high: float) -> str:
    """A share in percent and its interval."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return share(value)
    width = max(high - low, 1e-9) * 100
    decimals = max(0, min(4, 1 - math.floor(math.log10(width))))
    return f"{value * 100:.{decimals}f} [{low * 100:.{decimals}f}, {high * 100:.{decimals}f}] %"

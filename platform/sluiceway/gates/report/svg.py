"""The pieces of a drawing as inline SVG: no script, no font, no picture file.

Everything is drawn for the width of a phone; colours and dashes are classes of the page's style sheet, so that they
follow the reader's scheme. What a colour says, a dash, a shape or a word says too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 340
LETTER = 5.9  # width of a letter in units of the drawing, about; there is nothing to measure text with
_CONTROL = dict.fromkeys((*range(9), 11, 12, *range(14, 32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}")

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """Numbers to places along one axis of the drawing.

    Attributes:
        low: number at the start.
        high: number at the end; larger than ``low``.
        start: place of ``low``.
        end: place of ``high``; smaller than ``start`` for an axis that goes up.
    """

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def around(cls, numbers: Iterable[float], start: float, end: float, *, margin: float = 0.06) -> Axis:
        """An axis that holds all finite numbers, with a margin of this part of their range on both sides."""
        finite = [number for number in numbers if math.isfinite(number)] or [0.0, 1.0]
        low, high = min(finite), max(finite)
        slack = (high - low) * margin or abs(high) * 0.1 or 1.0
        return cls(low - slack, high + slack, start, end)

    def at(self, number: float) -> float:
        """The place of a number; numbers beyond the axis lie at its end."""
        share = (min(max(number, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, about: int = 4) -> list[float]:
        """Round numbers inside the axis: steps of 1, 2 or 5 times a power of ten."""
        raw = (self.high - self.low) / about
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]

    @property
    def decimals(self) -> int:
        """Decimals that tell numbers on this axis apart."""
        return max(0, min(6, 2 - math.floor(math.log10(self.high - self.low))))


def said(content: str) -> str:
    """Text for XML: escaped, and without the control characters that it may not have."""
    return escape(content.translate(_CONTROL))


def short(content: str, most: int) -> str:
    """At most so many letters."""
    return content if len(content) <= most else content[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def text(x: float, y: float, content: str, *, kind: str = "", anchor: str = "start") -> str:
    """A line of text; its box begins, has its middle or ends at x."""
    style = f' class="{kind}"' if kind else ""
    place = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text{style} x="{x:g}" y="{y:g}"{place}>{said(content)}</text>'


def line(kind: str, start: Point, end: Point) -> str:
    """A straight line."""
    return f'<path class="{kind}" d="M{start[0]:g} {start[1]:g}L{end[0]:g} {end[1]:g}"/>'


def polyline(kind: str, points: Sequence[Point]) -> str:
    """A line through points."""
    return f'<path class="{kind}" d="M{_joined(points)}"/>'


def area(kind: str, points: Sequence[Point]) -> str:
    """A filled shape."""
    return f'<path class="{kind}" d="M{_joined(points)}Z"/>'


def marker(kind: str, shape: str, at: Point, tip: str = "") -> str:
    """A small ``circle``, ``square``, ``triangle`` or ``diamond`` with a text that shows when it is pointed at."""
    x, y = at
    inside = f"<title>{said(tip)}</title>" if tip else ""
    if shape == "circle":
        return f'<circle class="{kind}" cx="{x:g}" cy="{y:g}" r="3.6">{inside}</circle>'
    corners = {
        "square": "m-3.3-3.3h6.6v6.6h-6.6z",
        "triangle": "m0-4.4l4.2 7.6h-8.4z",
        "diamond": "m0-4.8l4.6 4.8-4.6 4.8-4.6-4.8z",
    }
    return f'<path class="{kind}" d="M{x:g} {y:g}{corners[shape]}">{inside}</path>'


def legend(entries: Sequence[tuple[str, str, str]], top: float, left: float = 8) -> tuple[str, float]:
    """Samples of lines with what they are, one below the other.

    Args:
        entries: (class of the line or "", shape of the marker or "", text).
        top: where to begin.
        left: where the samples begin.

    Returns:
        (drawing, where it ends).
    """
    parts = []
    for i, (kind, shape, label) in enumerate(entries):
        y = top + 10 + 16 * i
        if kind:
            parts.append(line(kind, (left, y - 3.5), (left + 28, y - 3.5)))
        if shape:
            parts.append(marker(f"mark {kind}", shape, (left + 14, y - 3.5)))
        parts.append(text(left + 36, y, label))
    return "".join(parts), top + 16 * len(entries) + 4


def drawing(body: str, height: float, *, title: str, description: str, width: float = WIDTH) -> str:
    """The whole of a drawing, with a name and a description for those who cannot see it."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img">'
        f"<title>{said(title)}</title><desc>{said(description)}</desc>{body}</svg>"
    )


def _joined(points: Sequence[Point]) -> str:
    return " ".join(f"{x:g} {y:g}" for x, y in points)

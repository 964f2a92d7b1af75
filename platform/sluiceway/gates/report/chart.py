"""A chart of lines over two axes, with bands, and its legend below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sluiceway.gates.report.svg import WIDTH, Axis, Point, area, drawing, legend, line, marker, polyline, text

LEFT, RIGHT, TOP, DEEP = 46, 12, 10, 250  # DEEP: height of the field of the lines


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        kind: class of the style sheet.
        label: for the legend.
        points: (x, y).
        band: (x, low, high); empty where there is none.
        shape: of a marker at each point, or "".
        tips: text of each marker.
    """

    kind: str
    label: str
    points: Sequence[Point]
    band: Sequence[tuple[float, float, float]] = ()
    shape: str = ""
    tips: Sequence[str] = ()


@dataclass(frozen=True)
class Chart:
    """Lines over two axes.

    Attributes:
        title: of the drawing, for those who cannot see it.
        description: its content in a sentence or two.
        x: (lowest, highest number).
        y: (lowest, highest number).
        x_label: what x is.
        y_label: what y is.
        lines: the later ones lie above.
        x_ticks: (number, text); round numbers where empty.
        percent: y is told in percent.
        whiskers: bands are drawn as one bar a point.
    """

    title: str
    description: str
    x: tuple[float, float]
    y: tuple[float, float]
    x_label: str
    y_label: str
    lines: Sequence[Line]
    x_ticks: Sequence[tuple[float, str]] = field(default=())
    percent: bool = False
    whiskers: bool = False

    def svg(self) -> str:
        """The drawing."""
        across, up = Axis(*self.x, LEFT, WIDTH - RIGHT), Axis(*self.y, TOP + DEEP, TOP)
        body = [self._axes(across, up)]
        for item in self.lines:
            body += _bands(item, across, up, whiskers=self.whiskers)
        for item in self.lines:
            body += _line(item, across, up)
        samples, bottom = legend([(item.kind, item.shape, item.label) for item in self.lines], TOP + DEEP + 40)
        return drawing("".join([*body, samples]), bottom, title=self.title, description=self.description)

    def _axes(self, across: Axis, up: Axis) -> str:
        parts = []
        for number in up.ticks(5):
            y = up.at(number)
            parts.append(line("grid", (LEFT, y), (WIDTH - RIGHT, y)))
            parts.append(text(LEFT - 6, y + 3.5, _tick(number, percent=self.percent), kind="tick", anchor="end"))
        for number, label in self.x_ticks or [(number, _tick(number)) for number in across.ticks(5)]:
            x = across.at(number)
            parts.append(line("grid", (x, TOP), (x, TOP + DEEP)))
            parts.append(text(x, TOP + DEEP + 15, label, kind="tick", anchor="middle"))
        middle = TOP + DEEP / 2
        parts.append(line("axis", (LEFT, TOP + DEEP), (WIDTH - RIGHT, TOP + DEEP)))
        parts.append(text((LEFT + WIDTH - RIGHT) / 2, TOP + DEEP + 31, self.x_label, anchor="middle"))
        turned = text(0, 0, self.y_label, anchor="middle")
        parts.append(f'<g transform="translate(11 {middle:g}) rotate(-90)">{turned}</g>')
        return "".join(parts)


def _bands(item: Line, across: Axis, up: Axis, *, whiskers: bool) -> list[str]:
    if not item.band:
        return []
    if whiskers or len(item.band) == 1:
        return [_whisker(item.kind, across.at(x), up.at(low), up.at(high)) for x, low, high in item.band]
    upper = [(across.at(x), up.at(high)) for x, _, high in item.band]
    lower = [(across.at(x), up.at(low)) for x, low, _ in item.band]
    return [area(f"band {item.kind}", [*upper, *reversed(lower)])]


def _whisker(kind: str, x: float, bottom: float, top: float) -> str:
    ends = [line(f"whisker {kind}", (x - 3, y), (x + 3, y)) for y in (bottom, top)]
    return "".join([line(f"whisker {kind}", (x, bottom), (x, top)), *ends])


def _line(item: Line, across: Axis, up: Axis) -> list[str]:
    places = [(across.at(x), up.at(y)) for x, y in item.points]
    parts = [polyline(item.kind, places)] if len(places) > 1 and item.kind else []
    if item.shape:
        tips = item.tips or [""] * len(places)
        parts += [marker(f"mark {item.kind}", item.shape, at, tip) for at, tip in zip(places, tips, strict=True)]
    return parts


def _tick(number: float, *, percent: bool = False) -> str:
    return f"{number * 100:.6g} %" if percent else f"{number:.6g}"

"""Plots as inline SVG, drawn from a few numbers: no script, no font, no picture file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from sluiceway.gates.fairness import GroupScore
from sluiceway.gates.report_data import CalibrationBin, ClassScore

SIDE, PAD = 300, 40
LARGEST_FOREST = 40  # groups drawn per attribute, the largest ones


@dataclass(frozen=True)
class _Frame:
    """Unit square to pixels."""

    side: int = SIDE
    pad: int = PAD

    def x(self, value: float) -> float:
        return round(self.pad + value * (self.side - self.pad - 10), 1)

    def y(self, value: float) -> float:
        return round(10 + (1 - value) * (self.side - self.pad - 10), 1)


def roc(points: Sequence[tuple[float, float]]) -> str:
    """ROC curve; rates of false and true positives, 0 to 1."""
    frame = _Frame()
    line = " ".join(f"{frame.x(a)},{frame.y(b)}" for a, b in points)
    body = f'<polyline class="curve" points="{line}"/>'
    return _square(body, "ROC curve", "false positive rate", "true positive rate")


def calibration(bins: Sequence[CalibrationBin]) -> str:
    """Observed share of positives over the predicted one, with 95 % intervals."""
    frame = _Frame()
    parts = []
    for item in bins:
        x = frame.x(item.predicted)
        parts.append(f'<line class="bar" x1="{x}" x2="{x}" y1="{frame.y(item.low)}" y2="{frame.y(item.high)}"/>')
        tip = f"predicted {item.predicted:.3f}, observed {item.observed:.3f}, n={item.n:,}"
        parts.append(f'<circle class="dot" cx="{x}" cy="{frame.y(item.observed)}" r="4"><title>{tip}</title></circle>')
    return _square("".join(parts), "Calibration", "predicted probability", "observed share")


def confusion(square: Sequence[Sequence[int]], classes: Sequence[ClassScore]) -> str:
    """One square a pair of classes, the darker the larger the share of the row's class; rows are the true classes."""
    left, top, side = 130, 40, 26
    parts = []
    for i, (row, found) in enumerate(zip(square, classes, strict=True)):
        y = top + i * side
        parts.append(
            f'<text x="{left - 8}" y="{y + 17}" text-anchor="end">{escape(_short(found.name))}</text>'
            f'<text class="tick" x="{left + i * side + side / 2}" y="{top - 8}" text-anchor="start" '
            f'transform="rotate(-40 {left + i * side + side / 2} {top - 8})">{escape(_short(found.name, 8))}</text>'
        )
        for j, rows in enumerate(row):
            share = rows / found.n if found.n else 0.0
            tip = f"{found.name} decided as {classes[j].name}: {rows:,} rows, {share:.1%}"
            parts.append(
                f'<rect x="{left + j * side}" y="{y}" width="{side - 1}" height="{side - 1}" fill="#0969da" '
                f'fill-opacity="{max(share, 0.03):.3f}"><title>{escape(tip)}</title></rect>'
            )
    size = len(classes) * side
    return _svg("".join(parts), left + size + 50, top + size + 10, "Rows of each class by the class that was decided")


def forest(groups: Sequence[GroupScore]) -> str:
    """One line a group: value and 95 % interval; groups too small to judge are grey."""
    shown = [g for g in groups if not math.isnan(g.value) and not math.isnan(g.low)][:LARGEST_FOREST]
    if not shown:
        return ""
    low, high = min(g.low for g in shown), max(g.high for g in shown)
    span = (high - low) or 1.0
    left, width, row = 130, 330, 22

    def x(value: float) -> float:
        return round(left + (value - low) / span * width, 1)

    parts = []
    for i, group in enumerate(shown):
        y = 18 + i * row
        style = "" if group.judged else " small"
        tip = f"{group.group}: {group.value:.3f} [{group.low:.3f}, {group.high:.3f}], n={group.n:,}"
        parts.append(
            f'<g class="group{style}"><title>{escape(tip)}</title>'
            f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{escape(_short(group.group))}</text>'
            f'<line class="bar" x1="{x(group.low)}" x2="{x(group.high)}" y1="{y}" y2="{y}"/>'
            f'<circle class="dot" cx="{x(group.value)}" cy="{y}" r="4"/></g>'
        )
    bottom = 18 + len(shown) * row
    parts += [_tick(x(value), bottom, f"{value:.2f}") for value in (low, low + span / 2, high)]
    return _svg("".join(parts), 500, bottom + 24, f"Groups of {shown[0].attribute}")


def spread(folds: Sequence[tuple[str, float]], metric: str) -> str:
    """One dot a fold on one axis."""
    values = [value for _, value in folds]
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    parts = ['<line class="axis" x1="30" x2="470" y1="30" y2="30"/>']
    for name, value in folds:
        x = round(30 + (value - low) / span * 440, 1)
        tip = escape(f"{name}: {value:.4f}")
        parts.append(f'<circle class="dot" cx="{x}" cy="30" r="5"><title>{tip}</title></circle>')
    parts += [_tick(30, 46, f"{low:.4f}"), _tick(470, 46, f"{high:.4f}")]
    return _svg("".join(parts), 500, 66, f"{metric} of the folds")


def _square(body: str, title: str, x_label: str, y_label: str) -> str:
    frame = _Frame()
    left, right, top, bottom = frame.x(0), frame.x(1), frame.y(1), frame.y(0)
    middle_x, middle_y = frame.x(0.5), frame.y(0.5)
    axes = (
        f'<path class="axis" d="M{left} {top} V{bottom} H{right}"/>'
        f'<line class="even" x1="{left}" y1="{bottom}" x2="{right}" y2="{top}"/>'
        f'<text x="{middle_x}" y="{bottom + 32}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text x="12" y="{middle_y}" text-anchor="middle" transform="rotate(-90 12 {middle_y})">'
        f"{escape(y_label)}</text>"
    )
    ticks = "".join(_tick(frame.x(v), bottom, f"{v:g}") for v in (0, 0.5, 1))
    return _svg(axes + ticks + body, SIDE, SIDE + 10, title)


def _tick(x: float, y: float, text: str) -> str:
    return f'<text class="tick" x="{x}" y="{y + 15}" text-anchor="middle">{escape(text)}</text>'


def _svg(body: str, width: int, height: int, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" style="max-width:{width}px">'
        f"<title>{escape(title)}</title>{body}</svg>"
    )


def _short(text: str, most: int = 16) -> str:
    return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"

"""A forest plot: one line of text and one bar a row, for groups, slices, features and folds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sluiceway.gates.report.svg import LETTER, WIDTH, Axis, drawing, legend, line, marker, said, short, text

LEFT, RIGHT = 10, 12
LINE = WIDTH - LEFT - RIGHT
ROW, TALL_ROW = 33, 47  # TALL_ROW: the name has a line to itself
SHORTEST = 12  # letters of a name that has to share its line; with less room it gets one to itself
MOST_ROWS = 20  # drawn; the table below the drawing has more


@dataclass(frozen=True)
class Row:
    """One row of a forest plot.

    Attributes:
        name: of the group, the slice ...
        value: where its dot lies.
        text: the value and its interval, for people.
        low: lower bound, or NaN.
        high: upper bound, or NaN.
        aside: after the name, e.g. how many rows.
        judged: False draws it hollow.
        against: what it is compared with (the whole, the champion), or NaN.
        limit: that it is held to, or NaN.
    """

    name: str
    value: float
    text: str
    low: float = math.nan
    high: float = math.nan
    aside: str = ""
    judged: bool = True
    against: float = math.nan
    limit: float = math.nan


@dataclass(frozen=True)
class Forest:
    """Rows on one axis.

    Attributes:
        title: of the drawing, for those who cannot see it.
        description: its content in a sentence or two.
        rows: from top to bottom; only so many are drawn as can be read.
        label: what the axis is.
        judged_label: what a full dot is, for the legend.
        small_label: what a hollow dot is.
        against_label: what ``against`` is.
        limit_label: what ``limit`` is.
        bars: from zero instead of dots.
        percent: the axis is told in percent.
        zero: the axis begins at 0 at the latest.
        whole_names: long names get a line to themselves, where they are cut to what has room otherwise.
    """

    title: str
    description: str
    rows: Sequence[Row]
    label: str
    judged_label: str = "value and 95 % interval"
    small_label: str = "too few rows to judge"
    against_label: str = ""
    limit_label: str = "limit"
    bars: bool = False
    percent: bool = False
    zero: bool = False
    whole_names: bool = False

    def svg(self) -> str:
        """The drawing; "" where no row has a value."""
        rows = [row for row in self.rows if math.isfinite(row.value)][:MOST_ROWS]
        if not rows:
            return ""
        numbers = [n for row in rows for n in (row.value, row.low, row.high, row.against, row.limit)]
        axis = Axis.around([*numbers, 0.0] if self.zero or self.bars else numbers, LEFT, WIDTH - RIGHT)
        if (self.zero or self.bars) and min(n for n in numbers if math.isfinite(n)) >= 0:
            axis = Axis(0.0, axis.high, LEFT, WIDTH - RIGHT)
        wanted = [len(row.name) if self.whole_names else min(len(row.name), SHORTEST) for row in rows]
        tall = any(_room(row) < letters for row, letters in zip(rows, wanted, strict=True))
        height = TALL_ROW if tall else ROW
        bottom = 4 + height * len(rows)
        body = [self._scale(axis, bottom)]
        body += [self._row(row, 4 + height * i, axis, tall=tall) for i, row in enumerate(rows)]
        samples, end = legend(self._samples(rows), bottom + 36)
        return drawing("".join([*body, samples]), end, title=self.title, description=self.description)

    def _row(self, row: Row, top: float, axis: Axis, *, tall: bool) -> str:
        first, second = top + 11, top + (25 if tall else 11)
        y, above, below = second + 12, second + 5, second + 20
        name = said(short(row.name, int(LINE / LETTER) if tall else _room(row)))
        aside = f'<tspan class="aside">{said(row.aside)}</tspan>' if row.aside else ""
        parts = [
            f"<g><title>{said(f'{row.name} {row.aside}: {row.text}')}</title>",
            f'<text x="{LEFT}" y="{first:g}">{name}{"" if tall else f" {aside}"}</text>',
            f'<text x="{LEFT}" y="{second:g}">{aside}</text>' if tall and aside else "",
            text(WIDTH - RIGHT, second, row.text, anchor="end"),
        ]
        parts.append(line("grid", (LEFT, y), (WIDTH - RIGHT, y)))
        if math.isfinite(row.against):
            parts.append(line("against", (axis.at(row.against), above), (axis.at(row.against), below)))
        kind = "candidate" if row.judged else "small"
        if self.bars:
            start, end = sorted((axis.at(0.0), axis.at(row.value)))
            parts.append(f'<rect class="bar" x="{start:g}" y="{y - 5:g}" width="{end - start:.1f}" height="10"/>')
        if math.isfinite(row.low) and math.isfinite(row.high):
            parts.append(line(f"whisker {kind}", (axis.at(row.low), y), (axis.at(row.high), y)))
            parts += [
                line(f"whisker {kind}", (axis.at(end), y - 3.5), (axis.at(end), y + 3.5)) for end in (row.low, row.high)
            ]
        if not self.bars:
            parts.append(marker(f"mark {kind}", "circle", (axis.at(row.value), y)))
        if math.isfinite(row.limit):
            parts.append(line("limit", (axis.at(row.limit), above), (axis.at(row.limit), below)))
        return "".join([*parts, "</g>"])

    def _scale(self, axis: Axis, bottom: float) -> str:
        parts = [line("axis", (LEFT, bottom), (WIDTH - RIGHT, bottom))]
        for number in axis.ticks():
            x = axis.at(number)
            label = f"{number * 100:.6g} %" if self.percent else f"{number:.6g}"
            parts.append(line("axis", (x, bottom), (x, bottom + 4)))
            parts.append(text(min(max(x, 14), WIDTH - 16), bottom + 16, label, kind="tick", anchor="middle"))
        return "".join([*parts, text(WIDTH / 2, bottom + 31, self.label, anchor="middle")])

    def _samples(self, rows: Sequence[Row]) -> list[tuple[str, str, str]]:
        samples = [] if self.bars else [("candidate", "circle", self.judged_label)]
        if any(not row.judged for row in rows):
            samples.append(("small", "circle", self.small_label))
        if self.against_label and any(math.isfinite(row.against) for row in rows):
            samples.append(("against", "", self.against_label))
        if any(math.isfinite(row.limit) for row in rows):
            samples.append(("limit", "", self.limit_label))
        return samples


def _room(row: Row) -> int:
    """Letters that its name may have beside what else is on its line."""
    return int(LINE / LETTER) - len(row.aside) - len(row.text) - 2

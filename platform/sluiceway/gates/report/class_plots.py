"""Figures of a model of several classes: a table of them, and which is taken for which."""

from __future__ import annotations

from collections.abc import Sequence

from sluiceway.gates.drawn import ClassScore
from sluiceway.gates.report.figure import Figure, number, tabled
from sluiceway.gates.report.svg import drawing, said, short, text

LEFT, TOP, CELL = 100, 62, 28


def classes(found: Sequence[ClassScore]) -> Figure:
    """The table of the classes."""
    table, left_out = tabled(
        [
            (
                c.name,
                f"{c.n:,}",
                f"{c.decided:,}",
                *(number(value) for value in (c.precision, c.recall, c.f1, c.auc)),
                c.taken_for,
            )
            for c in found
        ]
    )
    columns = (
        "Class",
        "Rows",
        "Decided",
        "Precision",
        "Recall",
        "F1",
        "AUC against the others",
        "Most often taken for",
    )
    return Figure("Classes", f"{len(found)} classes.", "", columns, table, left_out, folded=False)


def confusion(square: Sequence[Sequence[int]], found: Sequence[ClassScore]) -> Figure:
    """One square a pair of classes, the darker the larger the share of the true class's rows; it says the percent."""
    parts = [text(LEFT, 12, "decided as", kind="tick"), text(LEFT - 8, TOP - 8, "true", kind="tick", anchor="end")]
    for i, (row, own) in enumerate(zip(square, found, strict=True)):
        x, y = LEFT + i * CELL + CELL / 2, TOP + i * CELL
        parts.append(text(LEFT - 8, y + 18, short(own.name, 15), anchor="end"))
        head = text(0, 0, short(own.name, 9), kind="tick")
        parts.append(f'<g transform="translate({x - 2:g} {TOP - 5}) rotate(-45)">{head}</g>')
        parts += [_cell(i, j, rows, own, found[j].name) for j, rows in enumerate(row)]
    size = len(found) * CELL
    right = sum(row[i] for i, row in enumerate(square)) / max(1, sum(map(sum, square)))
    note = f"{right:.1%} of the rows are decided as what they are. Numbers are percent of the rows of the true class."
    title = "Which class is taken for which"
    width = LEFT + size + 40
    body = drawing("".join(parts), TOP + size + 6, title=title, description=note, width=width)
    # Its letters stay as large as the page's: what is wider than a phone is moved sideways in its frame.
    return Figure(title, note, body.replace("<svg ", f'<svg style="min-width:{width * 0.9:.0f}px" ', 1))


def _cell(i: int, j: int, rows: int, own: ClassScore, decided: str) -> str:
    part = rows / own.n if own.n else 0.0
    x, y = LEFT + j * CELL, TOP + i * CELL
    tip = said(f"{own.name} decided as {decided}: {rows:,} rows, {part:.1%}")
    label = f"{part * 100:.0f}" if part >= 0.005 else ""
    side = CELL - 1
    return (
        f'<g><title>{tip}</title><rect class="cell" x="{x}" y="{y}" width="{side}" height="{side}" '
        f'fill-opacity="{0.04 + 0.5 * part:.2f}"/>'
        f"{text(x + side / 2, y + 18, label, kind='share', anchor='middle') if label else ''}</g>"
    )

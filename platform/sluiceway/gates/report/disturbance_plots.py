"""Figures of the robustness gate: what disturbed input costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sluiceway.gates.drawn import Disturbance
from sluiceway.gates.report.chart import Chart, Line
from sluiceway.gates.report.figure import Figure, share, share_with_interval, tabled
from sluiceway.gates.report.forest import Forest, Row

WORST_LINES, WORST_ROWS = 3, 8
KINDS = {
    "noise": "Noise on one feature at a time",
    "missing": "Values go missing",
    "unseen": "Categories never seen",
    "range": "Numbers beyond all that training saw",
    "unit": "One feature a thousand times too large",
}
SHAPES = ("square", "triangle", "diamond")


def disturbances(found: Sequence[Disturbance], *, metric: str) -> tuple[Figure, ...]:
    """The curve of jointly added noise, then what each kind costs by feature, then all numbers as a table.

    Args:
        found: of the gate ``robustness``.
        metric: whose loss it is.
    """
    kinds = [*KINDS, *sorted({d.kind for d in found} - set(KINDS))]
    drawn = [_by_feature(kind, part, metric) for kind in kinds if (part := [d for d in found if d.kind == kind])]
    return (*_noise([d for d in found if d.kind == "noise"], metric), *(f for f in drawn if f), _table(found, metric))


def _noise(found: Sequence[Disturbance], metric: str) -> tuple[Figure, ...]:
    """Loss by the size of noise on all features at once, with the features that lose most alone."""
    joint = _line(found, "")
    if not joint:
        return ()
    sizes = sorted({d.size for d in found})
    place = {size: math.log10(size) if size > 0 else 0.0 for size in sizes}
    alone = {d.feature: d.loss for d in found if d.feature and d.size == sizes[-1] and math.isfinite(d.loss)}
    worst = sorted(alone, key=lambda name: -alone[name])[:WORST_LINES]
    lines = [_limit(joint, place)] if any(math.isfinite(d.limit) for d in joint) else []
    for i, name in enumerate(worst):
        points = _line(found, name)
        lines.append(
            Line(f"other{i}", f"{name} alone", [(place[d.size], d.loss) for d in points], (), SHAPES[i], _tips(points))
        )
    theirs = [(place[d.size], d.champion_loss) for d in joint if math.isfinite(d.champion_loss)]
    if theirs:
        lines.append(Line("champion", "champion, all features", theirs, shape="square"))
    band = [(place[d.size], d.low, d.high) for d in joint if math.isfinite(d.low) and math.isfinite(d.high)]
    ours = [(place[d.size], d.loss) for d in joint]
    lines.append(Line("candidate", "this model, all features", ours, band, "circle", _tips(joint)))
    last = joint[-1]
    said = f"Noise of {last.size:g} standard deviations on all features at once costs {_loss(last)} of {metric}"
    said += f"; the champion loses {share(last.champion_loss)}." if math.isfinite(last.champion_loss) else "."
    ends = [*place.values()]
    slack = 0.12 * (max(ends) - min(ends)) or 0.5
    chart = Chart(
        "Loss by noise",
        said,
        (min(ends) - slack, max(ends) + slack),
        _range([y for item in lines for y in _numbers(item)]),
        "noise in standard deviations of each feature",
        f"loss of {metric}, relative",
        lines,
        x_ticks=[(place[size], f"{size:g}") for size in sizes],
        percent=True,
    )
    return (Figure("Noise", said, chart.svg()),)


def _by_feature(kind: str, found: Sequence[Disturbance], metric: str) -> Figure | None:
    """Loss by feature under one kind of disturbance, the worst first; of noise the largest."""
    drawn = [d for d in found if math.isfinite(d.loss)]
    title = KINDS.get(kind, kind)
    if kind == "noise":
        largest = max(d.size for d in found)
        drawn = [d for d in drawn if d.size == largest and d.feature]
        title = f"{title}, {largest:g} standard deviations"
    if not drawn:
        return None
    ordered = sorted(drawn, key=lambda d: -d.loss)
    said = f"Worst: {_named(ordered[0])} costs {_loss(ordered[0])} of {metric}."
    rows = [
        Row(
            _named(d),
            d.loss,
            share_with_interval(d.loss, d.low, d.high),
            d.low,
            d.high,
            against=d.champion_loss,
            limit=d.limit,
        )
        for d in ordered[:WORST_ROWS]
    ]
    interval = any(math.isfinite(d.low) for d in ordered)
    forest = Forest(
        title,
        said,
        rows,
        f"loss of {metric}, relative",
        judged_label="loss and 95 % interval" if interval else "loss",
        against_label="champion",
        percent=True,
        zero=True,
    )
    return Figure(title, said, forest.svg())


def _table(found: Sequence[Disturbance], metric: str) -> Figure:
    ordered = sorted(found, key=lambda d: -d.loss if math.isfinite(d.loss) else math.inf)
    rows, left_out = tabled(
        [
            (
                d.feature or "all at once",
                d.kind,
                _size(d),
                share_with_interval(d.loss, d.low, d.high),
                share(d.champion_loss),
                share(d.flips),
                share(d.limit),
            )
            for d in ordered
        ]
    )
    columns = ("Feature", "Disturbance", "Size", "Loss [95 %]", "Champion's loss", "Decisions changed", "Limit")
    note = f"Loss of {metric}, relative to the undisturbed one, the largest first."
    return Figure("All disturbances", note, "", columns, rows, left_out)


def _named(d: Disturbance) -> str:
    name = d.feature or "all features at once"
    return f"{name}, {_size(d)}" if d.kind == "range" and d.size else name


def _size(d: Disturbance) -> str:
    """What the size of a disturbance means."""
    if d.kind == "range" and d.size:
        return "above" if d.size > 0 else "below"
    words = {"noise": f"{d.size:g} std", "missing": share(d.size)}
    return words.get(d.kind, f"{d.size:g}") if d.size else "\N{EN DASH}"


def _line(found: Sequence[Disturbance], feature: str) -> list[Disturbance]:
    return sorted((d for d in found if d.feature == feature and math.isfinite(d.loss)), key=lambda d: d.size)


def _limit(joint: Sequence[Disturbance], place: dict[float, float]) -> Line:
    points = [(place[d.size], d.limit) for d in joint if math.isfinite(d.limit)]
    # The limit is drawn beyond the outermost sizes, so that it reads as a line also where there is one size only.
    points = [(points[0][0] - 0.12, points[0][1]), *points, (points[-1][0] + 0.12, points[-1][1])]
    return Line("limit", "limit", points)


def _loss(d: Disturbance) -> str:
    return share_with_interval(d.loss, d.low, d.high)


def _tips(points: Sequence[Disturbance]) -> list[str]:
    return [f"{d.feature or 'all features'}, noise of {d.size:g}: {_loss(d)}" for d in points]


def _numbers(item: Line) -> list[float]:
    return [*(y for _, y in item.points), *(bound for _, low, high in item.band for bound in (low, high))]


def _range(numbers: Sequence[float]) -> tuple[float, float]:
    low, high = min(0.0, *numbers), max(0.0, *numbers)
    slack = 0.06 * (high - low) or 0.01
    return (low - slack if low < 0 else 0.0), high + slack

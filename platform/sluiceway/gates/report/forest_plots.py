"""Figures of groups, slices, drifting features and folds: one row each."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from sluiceway.gates.drawn import DriftScore, GroupScore, SliceScore
from sluiceway.gates.report.figure import Figure, number, share, tabled, with_interval
from sluiceway.gates.report.forest import MOST_ROWS, Forest, Row

# What is known of a group's decisions, where anything is decided, and how the table calls it.
RATES = {
    "selection_rate": "Selected",
    "true_positive_rate": "True positive rate",
    "false_positive_rate": "False positive rate",
    "precision": "Precision",
}


def groups(found: Sequence[GroupScore], *, metric: str) -> Figure:
    """The groups of one attribute, and a table of all that is known of each.

    Args:
        found: groups of the same attribute.
        metric: what their value is.
    """
    attribute = found[0].attribute
    judged = [g for g in found if g.judged and math.isfinite(g.value)]
    small = len(found) - sum(g.judged for g in found)
    said = f"{small} of {len(found)} groups are too small to judge." if small else f"{len(found)} groups, all judged."
    if len(judged) > 1:
        worst, best = min(judged, key=lambda g: g.value), max(judged, key=lambda g: g.value)
        said = (
            f"Gap {best.value - worst.value:.3f} between {best.group} ({best.value:.3f}) and {worst.group} "
            f"({worst.value:.3f}). {said}"
        )
    ordered = sorted(found, key=_by_value)
    largest = sorted(found, key=lambda g: -g.n)[:MOST_ROWS]
    if len(found) > len(largest):
        said += f" The {len(largest)} largest are drawn."
    rows = [
        Row(
            g.group,
            g.value,
            with_interval(g.value, g.low, g.high),
            g.low,
            g.high,
            aside=f"n={g.n:,}",
            judged=g.judged,
        )
        for g in ordered
        if g in largest
    ]
    title = f"Groups of {attribute}"
    forest = Forest(title, said, rows, metric, judged_label=f"{metric} and 95 % interval")
    rates = [name for name in RATES if any(math.isfinite(getattr(g, name)) for g in found)]
    table, left_out = tabled([_group_cells(g, rates) for g in ordered])
    columns = ("Group", "Rows", "Positives", f"{metric} [95 %]", *(RATES[name] for name in rates), "Judged")
    return Figure(title, said, forest.svg(), columns, table, left_out, folded=False)


def _by_value(group: GroupScore) -> tuple[bool, float]:
    return not group.judged, group.value if math.isfinite(group.value) else math.inf


def _group_cells(group: GroupScore, rates: Sequence[str]) -> tuple[str, ...]:
    return (
        group.group,
        f"{group.n:,}",
        f"{group.positives:,}",
        with_interval(group.value, group.low, group.high),
        *(share(getattr(group, name)) for name in rates),
        "yes" if group.judged else "too few rows",
    )


def slices(found: Sequence[SliceScore], *, metric: str) -> Figure:
    """Declared and discovered slices against the whole, the largest loss first.

    Args:
        found: the slices.
        metric: what their value is.
    """
    ordered = sorted(found, key=lambda s: (not s.judged, -s.loss if math.isfinite(s.loss) else math.inf))
    said = f"{len(found)} slices, none of them large enough to judge."
    if ordered[0].judged:
        worst = ordered[0]
        said = f"Worst of {len(found)}: {worst.name}, {number(worst.value)} where all rows have {number(worst.whole)}."
    rows = [
        Row(
            s.name,
            s.value,
            with_interval(s.value, s.low, s.high),
            s.low,
            s.high,
            aside=f"{_origin(s)}, n={s.n:,}",
            judged=s.judged,
            against=s.whole,
        )
        for s in ordered
    ]
    label = f"{metric} and 95 % interval"
    forest = Forest("Slices", said, rows, metric, judged_label=label, against_label="all rows", whole_names=True)
    table, left_out = tabled(
        [
            (
                s.name,
                _origin(s),
                f"{s.n:,}",
                with_interval(s.value, s.low, s.high),
                number(s.whole),
                _or_dash(s.loss),
                _or_dash(s.loss_low),
                "yes" if s.judged else "too few rows",
            )
            for s in ordered
        ]
    )
    columns = ("Slice", "Found", "Rows", f"{metric} [95 %]", "All rows", "Loss", "Loss at least", "Judged")
    return Figure(f"Slices by {metric}", said, forest.svg(), columns, table, left_out)


def _origin(one: SliceScore) -> str:
    return f"{one.found}, confirmed" if one.confirmed else one.found


def drift(found: Sequence[DriftScore]) -> Figure:
    """Population stability index by feature, the largest first; all against the same."""
    against = found[0].against
    ordered = sorted(found, key=lambda d: -d.value if math.isfinite(d.value) else math.inf)
    over = [d for d in ordered if d.value > d.limit]
    said = f"{len(over)} of {len(found)} features are over the limit."
    if all(math.isnan(d.limit) for d in found):
        said = f"{len(found)} features; shown, not judged."
    names = {"champion": "the champion's training rows", "production": "recent requests"}
    title = f"Drift against {names.get(against, against)}"
    rows = [
        Row(d.feature, d.value, f"{d.value:.3f}{', over the limit' if d in over else ''}", limit=d.limit)
        for d in ordered
    ]
    forest = Forest(title, said, rows, "population stability index", bars=True)
    table, left_out = tabled([(d.feature, number(d.value), _or_dash(d.limit)) for d in ordered])
    return Figure(title, said, forest.svg(), ("Feature", "PSI", "Limit"), table, left_out)


def folds(found: Sequence[tuple[str, float]], metric: str) -> Figure:
    """One dot a fold, and their mean."""
    values = [value for _, value in found if math.isfinite(value)]
    mean = statistics.fmean(values) if values else math.nan
    said = f"Mean {number(mean)} of {len(values)} folds."
    if len(values) > 1:
        said = f"Mean {number(mean)}, standard deviation {statistics.stdev(values):.2g}, {len(values)} folds."
    rows = [Row(name, value, f"{value:.4f}", against=mean) for name, value in found]
    forest = Forest("Folds", said, rows, metric or "metric", judged_label="fold", against_label="mean")
    return Figure(f"Folds of the training by {metric or 'the metric'}", said, forest.svg())


def _or_dash(value: float) -> str:
    return "\N{EN DASH}" if math.isnan(value) else number(value)

"""All figures of a report, in the order of the page."""

from __future__ import annotations

from collections.abc import Iterable

from sluiceway.gates.drawn import GroupScore, ReportData
from sluiceway.gates.report import class_plots, curve_plots, disturbance_plots, forest_plots
from sluiceway.gates.report.figure import Chapter, Figure


def chapters(data: ReportData) -> tuple[Chapter, ...]:
    """The figures that there are numbers for.

    Args:
        data: what to draw.
    """
    main = _main(data)
    slices = (forest_plots.slices(data.slices, metric=main),) if data.slices else ()
    folds = (forest_plots.folds(data.folds, data.fold_metric),) if data.folds else ()
    found: tuple[tuple[str, Iterable[Figure]], ...] = (
        ("Scores", _scores(data)),
        ("Classes", _classes(data)),
        ("Groups", _groups(data)),
        ("Robustness", disturbance_plots.disturbances(data.disturbances, metric=main) if data.disturbances else ()),
        ("Slices, drift and folds", (*slices, *_drift(data), *folds)),
    )
    return tuple(Chapter(name, tuple(figures)) for name, figures in found if figures)


def _scores(data: ReportData) -> Iterable[Figure]:
    figures = []
    if data.roc:
        figures.append(curve_plots.roc(data.roc, data.roc_champion))
    if data.precision_recall:
        figures.append(curve_plots.precision_recall(data.precision_recall, data.precision_recall_champion))
    if data.calibration:
        figures.append(curve_plots.calibration(data.calibration, decided=bool(data.classes)))
    return figures


def _classes(data: ReportData) -> Iterable[Figure]:
    figures = [class_plots.classes(data.classes)] if data.classes else []
    if data.confusion and len(data.confusion) == len(data.classes):
        figures.append(class_plots.confusion(data.confusion, data.classes))
    return figures


def _groups(data: ReportData) -> Iterable[Figure]:
    attributes: dict[str, list[GroupScore]] = {}
    for group in data.groups:
        attributes.setdefault(group.attribute, []).append(group)
    return [forest_plots.groups(found, metric=_of_groups(data)) for found in attributes.values()]


def _drift(data: ReportData) -> Iterable[Figure]:
    kinds = dict.fromkeys(score.against for score in data.drift)
    return [forest_plots.drift([d for d in data.drift if d.against == kind]) for kind in kinds]


def _of_groups(data: ReportData) -> str:
    """What the value of a group is."""
    return "accuracy" if data.classes else "AUC" if _is_classifier(data) else "relative error"


def _main(data: ReportData) -> str:
    """The metric that losses are told in."""
    return "AUC" if _is_classifier(data) else "RMSE"


def _is_classifier(data: ReportData) -> bool:
    """Of a regression nothing has positive rows, classes or shares that come true."""
    return bool(data.roc or data.classes or data.calibration or any(group.positives for group in data.groups))

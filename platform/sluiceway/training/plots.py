"""Everything that is drawn of a training run; a plot that cannot be drawn is left out, and a log line says why."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import xgboost

from sluiceway.training import plot_importance, plot_scores, plot_values
from sluiceway.training.report import TrainReport

_log = logging.getLogger(__name__)


def draw(report: TrainReport, *, target: str) -> dict[str, bytes]:
    """Draw a run.

    Args:
        report: of the run; nothing else is looked at.
        target: the column that is predicted.

    Returns:
        PNG bytes by file name: ``learning_curves.png``, ``importance_gain.png``, ``importance_shap.png``; of a
        classifier ``roc.png``, ``precision_recall.png``, ``calibration.png`` and of several classes
        ``confusion.png``; of a regressor ``predicted_actual.png``, ``residuals.png``.
    """
    pictures: dict[str, bytes] = {}
    for name, picture in _plots(report, target).items():
        try:
            pictures[name] = picture()
        except Exception as error:  # noqa: BLE001 (a picture is no reason to lose a model that took hours)
            _log.warning("%s is left out: %s: %s", name, type(error).__name__, error)
    return pictures


def _plots(report: TrainReport, target: str) -> dict[str, Callable[[], bytes]]:
    booster = xgboost.Booster()
    booster.load_model(bytearray(report.model))
    folds = partial(plot_values.learning_curves, report.folds, metric=report.metric_name, rounds=report.rounds)
    found: dict[str, Callable[[], bytes]] = {}
    found["importance_gain.png"] = partial(plot_importance.importance_gain, booster, report.schema)
    if all(fold.history for fold in report.folds):
        found["learning_curves.png"] = folds
    else:
        _log.info("learning_curves.png is left out: the engine %s keeps no history", report.engine)
    if not len(report.validation.labels):
        _log.info("plots of scores are left out: there are no validation rows")
        return found
    if len(report.validation.sample):
        names = tuple(str(name) for name in report.classes) if report.kind == "multiclass" else ()
        shap = partial(plot_importance.importance_shap, booster, report.schema, report.validation.sample)
        found["importance_shap.png"] = partial(shap, classes=names)
    return found | (_of_values(report, target) if report.kind == "regression" else _of_classes(report, target))


def _of_values(report: TrainReport, target: str) -> dict[str, Callable[[], bytes]]:
    rows = report.validation
    return {
        "predicted_actual.png": partial(plot_values.predicted_actual, rows.labels, rows.scores, target=target),
        "residuals.png": partial(plot_values.residuals, rows.labels, rows.scores, target=target),
    }


def _of_classes(report: TrainReport, target: str) -> dict[str, Callable[[], bytes]]:
    rows = report.validation
    curves = plot_scores.one_vs_rest(rows.labels, rows.scores, report.classes)
    found: dict[str, Callable[[], bytes]] = {}
    if curves:
        found["roc.png"] = partial(plot_scores.roc, curves, target=target)
        found["precision_recall.png"] = partial(plot_scores.precision_recall, curves, target=target)
        found["calibration.png"] = partial(plot_scores.calibration, curves, target=target)
    else:
        _log.info("curves are left out: the %d validation rows are all of one class", len(rows.labels))
    if report.kind == "multiclass":
        found["confusion.png"] = partial(plot_scores.confusion, rows.labels, rows.scores, report.classes, target=target)
    return found

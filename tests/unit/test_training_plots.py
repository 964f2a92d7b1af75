"""Pictures of real, small runs: which there are, that they are pictures, and what cannot be drawn."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve

from sluiceway.training import plot_values, plots
from sluiceway.training.plot_canvas import short
from sluiceway.training.plot_importance import shap_rows
from sluiceway.training.plot_scores import one_vs_rest, precision_recall_points
from sluiceway.training.report import ScoredRows, TrainReport
from training_reports import KINDS, a_report, matrix, rows

EVERY = {"learning_curves.png", "importance_gain.png", "importance_shap.png"}
OF_KIND = {
    "binary": {"roc.png", "precision_recall.png", "calibration.png"},
    "multiclass": {"roc.png", "precision_recall.png", "calibration.png", "confusion.png"},
    "regression": {"predicted_actual.png", "residuals.png"},
}


@pytest.fixture(scope="module", params=list(KINDS))
def report(request) -> TrainReport:
    return a_report(request.param)


@pytest.fixture(scope="module")
def binary() -> TrainReport:
    return a_report("binary")


def size(png: bytes) -> tuple[int, int]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert png[-8:-4] == b"IEND"
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def test_each_kind_has_its_pictures_and_they_depend_on_the_numbers_alone(report):
    drawn = plots.draw(report, target="arr_delay_$")
    assert set(drawn) == EVERY | OF_KIND[report.kind]
    assert all(min(size(png)) > 300 for png in drawn.values())
    other = dataclasses.replace(report, folds=report.folds[:2])
    changed = plots.draw(other, target="arr_delay_$")
    assert {name for name in drawn if drawn[name] != changed[name]} == {"learning_curves.png"}


def test_without_validation_rows_there_are_fewer_and_a_line_says_so(binary, caplog):
    none = np.empty(0, np.float32)
    rows_ = ScoredRows(none, none, np.empty((0, 4), np.float32))
    with caplog.at_level(logging.INFO, "sluiceway.training.plots"):
        drawn = plots.draw(dataclasses.replace(binary, validation=rows_), target="y")
    assert set(drawn) == {"learning_curves.png", "importance_gain.png"}
    assert "no validation rows" in caplog.text


def test_rows_of_one_class_have_no_curves(report, caplog):
    if report.kind == "regression":
        one = dataclasses.replace(report.validation, labels=np.full_like(report.validation.labels, 2.5))
        assert set(plots.draw(dataclasses.replace(report, validation=one), target="y")) == EVERY | OF_KIND["regression"]
        return
    one = dataclasses.replace(report.validation, labels=np.ones_like(report.validation.labels))
    with caplog.at_level(logging.INFO, "sluiceway.training.plots"):
        drawn = plots.draw(dataclasses.replace(report, validation=one), target="y")
    assert set(drawn) - {"confusion.png"} == EVERY
    assert "are all of one class" in caplog.text


def test_an_engine_that_keeps_no_history_has_no_learning_curves(binary):
    folds = tuple(dataclasses.replace(fold, history=()) for fold in binary.folds)
    drawn = plots.draw(dataclasses.replace(binary, folds=folds), target="y")
    assert set(drawn) == (EVERY | OF_KIND["binary"]) - {"learning_curves.png"}


def test_a_picture_that_fails_loses_nothing_else(binary, caplog, monkeypatch):
    def fail(*_, **__):
        raise MemoryError("no paper left")

    monkeypatch.setattr(plot_values, "learning_curves", fail)
    with caplog.at_level(logging.WARNING, "sluiceway.training.plots"):
        drawn = plots.draw(binary, target="y")
    assert set(drawn) == (EVERY | OF_KIND["binary"]) - {"learning_curves.png"}
    assert "learning_curves.png is left out: MemoryError: no paper left" in caplog.text


def test_a_model_that_learnt_nothing_can_be_drawn():
    drawn = plots.draw(a_report("binary", n=40, folds=2, rounds=1, depth=1), target="y")
    assert {"importance_gain.png", "learning_curves.png"} <= set(drawn)


def test_names_that_the_font_has_not_or_that_are_long_are_drawn():
    report = dataclasses.replace(a_report("multiclass", rounds=2), classes=("早い", "a" * 500, "$x^{"))
    assert set(plots.draw(report, target="到着 $")) == EVERY | OF_KIND["multiclass"]
    assert (short("abcdefghij", 7), short("abcdefg", 7)) == ("abc…hij", "abcdefg")


def test_the_order_of_the_classes_is_by_their_rows():
    labels = np.array([0, 1, 1, 2, 2, 2])
    curves = one_vs_rest(labels, np.eye(4, dtype=np.float32)[labels], ["a", "b", "c", "never"])
    assert [(one.name, one.positives) for one in curves] == [("c", 3), ("b", 2), ("a", 1)]


def test_precision_and_recall_are_those_of_scikit_learn():
    random = np.random.default_rng(3)
    labels = random.random(500) < 0.3
    scores = (labels * 0.4 + random.random(500)).round(2)  # rounded: many are equal
    recall, precision = precision_recall_points(labels, scores)
    theirs = precision_recall_curve(labels, scores)
    np.testing.assert_allclose(precision, theirs[0][-2::-1])
    np.testing.assert_allclose(recall, theirs[1][-2::-1])
    average = np.sum(np.diff(recall, prepend=0) * precision)
    assert average == pytest.approx(average_precision_score(labels, scores))


def test_many_deep_trees_are_explained_on_fewer_rows():
    import xgboost  # noqa: PLC0415 (the tests above need its boosters only as bytes)

    x, signal = rows(4000, seed=2)
    few = xgboost.train({"max_depth": 3, "nthread": 1}, matrix(x, signal), 10)
    many = xgboost.train({"max_depth": 10, "nthread": 1, "eta": 0.02}, matrix(x, signal), 200)
    assert shap_rows(few, 1000) == 1000
    assert 1 <= shap_rows(many, 1000) < 1000

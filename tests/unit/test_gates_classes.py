"""Several classes: the metrics are scikit-learn's, the gates judge them, and what has no meaning has no value."""

from __future__ import annotations

import json
import math

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import softmax
from sklearn import metrics as theirs

from sluiceway.config.evaluation import (
    DataQualitySection,
    EvaluationSection,
)
from sluiceway.config.load import load_parts
from sluiceway.core.classes import class_codes, class_places
from sluiceway.core.errors import ConfigError, DataError, ModelError
from sluiceway.core.verdict import Direction, GateResult, Status
from sluiceway.gates.checks.data_quality import judge_columns
from sluiceway.gates.checks.performance import performance
from sluiceway.gates.column_facts import column_facts, label_facts
from sluiceway.gates.metrics import check_names, evaluate, known_metrics, measure, metric
from sluiceway.gates.report.curves import class_data
from sluiceway.gates.report.page import render, to_dict
from sluiceway.gates.statistics.auc import auc, auc_interval, auc_of_bins, macro_auc_interval
from sluiceway.lifecycle.preflight import check_evaluation, section_problems

CLASSES = ("bad", "fair", "good")
N = 3000


def draw(seed=1, n=N):
    """Rows, the place of each one's class, and the truth's probabilities; the classes are unevenly many."""
    random = np.random.default_rng(seed)
    a, b = random.standard_normal(n), random.standard_normal(n)
    rows = pa.table({"a": a, "b": b, "kind": random.choice(["x", "y"], n), "group": random.choice(["east", "west"], n)})
    scores = Truth().score(rows)
    labels = (random.random((n, 1)) > scores.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    return rows.append_column("grade", pa.array(np.array(CLASSES)[labels])), labels, scores


class Truth:
    def score(self, rows):
        a, b = (np.nan_to_num(rows[name].to_numpy().astype(float)) for name in "ab")
        return softmax(np.column_stack([2 * a - 1, 1 + 0 * a, 2 * b]), axis=1)


def performed(labels, scores, evaluation):
    verdicts = performance(labels, scores, threshold=None, evaluation=evaluation, task="multiclass")
    return GateResult("performance", verdicts)


@pytest.fixture(scope="module", params=["continuous", "ties"])
def drawn(request):
    _, labels, scores = draw()
    if request.param == "ties":
        scores = softmax(np.log(scores).round(0), axis=1)
    return labels, scores


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("auc_roc", lambda y, s: theirs.roc_auc_score(y, s, multi_class="ovr", average="macro")),
        ("accuracy", lambda y, s: theirs.accuracy_score(y, s.argmax(axis=1))),
        ("precision_macro", lambda y, s: theirs.precision_score(y, s.argmax(axis=1), average="macro")),
        ("precision_weighted", lambda y, s: theirs.precision_score(y, s.argmax(axis=1), average="weighted")),
        ("recall_macro", lambda y, s: theirs.recall_score(y, s.argmax(axis=1), average="macro")),
        ("recall_weighted", lambda y, s: theirs.recall_score(y, s.argmax(axis=1), average="weighted")),
        ("f1_macro", lambda y, s: theirs.f1_score(y, s.argmax(axis=1), average="macro")),
        ("f1_weighted", lambda y, s: theirs.f1_score(y, s.argmax(axis=1), average="weighted")),
        ("log_loss", lambda y, s: theirs.log_loss(y, s)),
    ],
)
def test_same_as_scikit_learn(drawn, name, expected):
    value = evaluate(name, *drawn)
    assert value == pytest.approx(expected(*drawn), rel=1e-9)
    measured = measure(name, *drawn)
    assert (measured.value, measured.n) == (value, N)
    assert measured.low < value < measured.high
    assert measured.high - measured.low < 0.08


def test_a_class_that_is_never_decided_counts_as_scikit_learn_counts_it():
    labels, scores = np.repeat([0, 1, 2], 20), np.tile([0.5, 0.4, 0.1], (60, 1))
    scores[:25] = [0.1, 0.8, 0.1]
    decided = scores.argmax(axis=1)
    for name, of in (("precision", theirs.precision_score), ("recall", theirs.recall_score), ("f1", theirs.f1_score)):
        for average in ("macro", "weighted"):
            expected = of(labels, decided, average=average, zero_division=0)
            assert evaluate(f"{name}_{average}", labels, scores) == pytest.approx(expected)


def test_every_metric_is_tested_above_and_knows_its_good_side():
    assert len(known_metrics("multiclass")) == 9
    losses = {n for n in known_metrics("multiclass") if metric(n, "multiclass").direction is Direction.AT_MOST}
    assert losses == {"log_loss"}


def test_a_class_without_rows_leaves_no_value_where_every_class_counts():
    _, labels, scores = draw()
    some = labels != 1
    for name in ("auc_roc", "precision_macro", "recall_macro", "f1_macro"):
        measured = measure(name, labels[some], scores[some])
        assert measured.value is None
        assert measured.detail == "1 of 3 classes have no row"
    assert evaluate("f1_weighted", labels[some], scores[some]) > 0
    section = EvaluationSection(thresholds={"f1_macro": 0.1})
    assert performed(labels[some], scores[some], section).status is Status.FAIL
    for name in known_metrics("multiclass"):
        assert measure(name, np.empty(0), np.empty((0, 3))).value is None


def test_the_interval_of_the_mean_auc_is_delongs_where_there_are_two_classes():
    random = np.random.default_rng(2)
    labels = (random.random(500) < 0.3).astype(np.int64)
    ones = 1 / (1 + np.exp(-(labels + random.standard_normal(500))))
    ours = macro_auc_interval(labels, np.column_stack([1 - ones, ones]))
    assert ours == pytest.approx(auc_interval(labels, ones), rel=2e-3)  # the same but for n and n - 1


def test_the_interval_of_the_mean_auc_holds_the_truth():
    _, many, scores = draw(seed=3, n=200_000)
    truth = evaluate("auc_roc", many, scores)
    held = 0
    for i in range(200):
        part = slice(i * 1000, (i + 1) * 1000)
        _, low, high = macro_auc_interval(many[part], scores[part])
        held += low <= truth <= high
    assert 0.90 <= held / 200 <= 0.99


def test_the_auc_of_bins_is_that_of_their_rows():
    random = np.random.default_rng(4)
    bins, labels = random.integers(0, 12, 800), (random.random(800) < 0.4).astype(int)
    scores = random.integers(0, 5, 12) / 5  # several bins of one score
    positives = np.bincount(bins, weights=labels, minlength=12)
    value = auc_of_bins(positives, np.bincount(bins, minlength=12) - positives, scores)
    assert value == pytest.approx(auc(labels, scores[bins]), rel=1e-12)
    assert math.isnan(auc_of_bins(np.zeros(3), np.ones(3), np.arange(3.0)))


def test_names_are_refused_with_what_may_be_used():
    check_names(["f1_macro", "accuracy", "f1_score"], ("binary", "multiclass"))
    with pytest.raises(ConfigError) as caught:
        check_names(["precision", "auc_roc", "brier"], ("multiclass",))
    assert len(caught.value.problems) == 2
    assert "no metric 'precision' for a multiclass model" in caught.value.problems[0]
    assert "precision_macro" in caught.value.problems[0]
    check_evaluation(EvaluationSection(), "multiclass")  # what nobody has named is not asked for
    for given in ({"metrics": ("f1_score",)}, {"thresholds": {"f1_score": 0.5}}):
        check_evaluation(EvaluationSection(**given), "binary", "multiclass")
        with pytest.raises(ConfigError, match="do not exist"):
            check_evaluation(EvaluationSection(**given), "multiclass")


def test_a_regressor_is_known_from_the_configuration(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "experiment: {name: x}\ndata: {path: t, features: [a], target: b}\n"
        "model: {type: XGBRegressor}\nevaluation: {metrics: [rmse], thresholds: {f1_macro: 0.5}}\n"
    )
    (found,) = section_problems(load_parts(path))
    assert "no metric 'f1_macro' for a regression model; it may be: mae, rmse, r2" in found
    assert (
        section_problems(load_parts(path, overrides=["model.type=XGBClassifier", "evaluation.metrics=[auc_roc]"])) == ()
    )


def test_performance_judges_by_name_and_reports_the_rest():
    _, labels, scores = draw()
    section = EvaluationSection(thresholds={"f1_macro": 0.5, "log_loss": 0.1})
    result = performed(labels, scores, section)
    found = {v.measurement.name: v for v in result.verdicts}
    assert set(found) == set(known_metrics("multiclass"))
    assert (found["f1_macro"].status, found["log_loss"].status) == (Status.PASS, Status.FAIL)
    assert found["auc_roc"].threshold is None
    wrong = EvaluationSection(thresholds={"f1_score": 0.1})
    assert performed(labels, scores, wrong).status is Status.FAIL


def test_without_thresholds_it_has_to_be_better_than_chance():
    _, labels, scores = draw()
    assert performed(labels, scores, EvaluationSection()).status is Status.PASS
    shuffled = np.random.default_rng(5).permutation(scores)
    assert performed(labels, shuffled, EvaluationSection()).status is not Status.PASS


def test_data_quality_counts_every_class():
    rows, labels, _ = draw()
    counts = np.bincount(labels)
    facts = column_facts(rows, ("a", "b", "kind"), "grade", classes=CLASSES)
    own = {f.name: f.own_auc for f in facts}
    assert min(own["a"], own["b"]) > 0.6 > own["kind"]
    found = label_facts(rows, "grade", classes=CLASSES)
    assert found.classes == tuple(zip(CLASSES, counts.tolist(), strict=True))

    def judged(labels, **given):
        section = DataQualitySection(**given)
        verdicts = judge_columns(facts, labels, section=section, features=("a", "b", "kind"))
        return {v.measurement.name: v for v in verdicts}

    shares = judged(found, class_balance=(0.05, 0.4))
    smallest = shares["share of the smallest class"]
    assert smallest.measurement.value == counts.min() / N
    assert smallest.measurement.detail == f"class {CLASSES[counts.argmin()]}"
    assert (smallest.status, shares["share of the largest class"].status) == (Status.PASS, Status.FAIL)
    more = label_facts(rows, "grade", classes=(*CLASSES, "never seen"))
    absent = judged(more)["rows of the smallest class"]
    assert (absent.status, absent.measurement.value, absent.measurement.detail) == (Status.FAIL, 0, "class never seen")


def test_a_shuffled_column_loses_its_association():
    rows, _, _ = draw()
    before = column_facts(rows, ("a", "b"), "grade", classes=CLASSES)
    mixed = rows.set_column(0, "a", pa.array(np.random.default_rng(6).permutation(rows["a"].to_numpy())))
    after = column_facts(mixed, ("a", "b"), "grade", classes=CLASSES, reference=before)
    verdicts = judge_columns(
        after,
        label_facts(mixed, "grade", classes=CLASSES),
        section=DataQualitySection(),
        features=("a", "b"),
        reference=before,
    )
    failed = [v for v in verdicts if v.status is Status.FAIL]
    assert [v.measurement.detail for v in failed] == ["breaks it: a"]


def test_the_report_shows_every_class():
    _, labels, scores = draw()
    names = ("<bad>", "fair", "good")
    data = class_data(labels, scores, names)
    decided = scores.argmax(axis=1)
    assert np.array_equal(data.confusion, theirs.confusion_matrix(labels, decided))
    assert [c.recall for c in data.classes] == pytest.approx(theirs.recall_score(labels, decided, average=None))
    assert [c.n for c in data.classes] == np.bincount(labels).tolist()
    assert sum(b.n for b in data.calibration) == N
    result = performed(labels, scores, EvaluationSection())
    page = render((result,), title="m", facts={}, lineage={}, data=data)
    assert "<bad>" not in page
    assert "&lt;bad&gt;" in page
    assert "Most often taken for" in page
    assert page.count('role="img"') == 2
    json.dumps(to_dict((result,), title="m", facts={}, lineage={}, data=data), allow_nan=False)
    many = class_data(np.arange(30), np.eye(30), tuple(range(30)))
    assert (many.confusion, len(many.classes)) == ((), 30)


@pytest.mark.parametrize(
    ("values", "classes", "expected"),
    [
        (pa.array(["good", "bad", "good"]), CLASSES, [2, 0, 2]),
        (pa.array(["good", "bad"]).dictionary_encode(), CLASSES, [2, 0]),
        (pa.array([7, -1, 3], pa.int8()), (-1, 3, 7), [2, 0, 1]),
        (pa.array([3.0, 7.0]), (-1, 3, 7), [1, 2]),
        (pa.array(["7"]), (1, 2, 7), [2]),
    ],
)
def test_labels_are_places_among_the_classes(values, classes, expected):
    places = class_places(pa.chunked_array([values]), classes, target="grade")
    assert places.tolist() == expected


@pytest.mark.parametrize(
    ("values", "classes", "text"),
    [
        (pa.array(["good", None]), CLASSES, "in 1 rows"),
        (pa.array(["great"]), CLASSES, "none of its 3 classes"),
        (pa.array([0.5]), (1, 2, 7), "holds no classes"),
    ],
)
def test_labels_that_are_no_class_are_refused(values, classes, text):
    column = pa.chunked_array([values])
    with pytest.raises(DataError, match=text):
        class_places(column, classes, target="grade")


def test_the_number_of_a_class_is_its_own():
    three, two = class_codes(CLASSES), class_codes(("good", "bad"))
    assert {name: three[name] for name in two} == two
    assert all(code == int(code) < 2**52 for code in three.values())
    assert class_codes((-1, 3)) == {-1: -1.0, 3: 3.0}
    with pytest.raises(ModelError, match="same number"):
        class_codes((2**60, 2**60 + 1))

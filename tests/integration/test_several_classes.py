"""Three classes that are text, from the table to the answer."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pytest
import ray
import yaml
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score

from sluiceway.config.deployment import ReplaySection
from sluiceway.config.evaluation import GATES
from sluiceway.config.lifecycle import ReleaseStep
from sluiceway.config.load import load_settings
from sluiceway.core.errors import ConfigError
from sluiceway.core.references import ModelReference
from sluiceway.core.verdict import Status
from sluiceway.data.commit import append
from sluiceway.data.membership import TEST
from sluiceway.data.ray_read import read_part
from sluiceway.lifecycle.candidate import build_candidate
from sluiceway.lifecycle.evaluation import bench_of, evaluate, settle
from sluiceway.lifecycle.gate_report import write_report
from sluiceway.lifecycle.registration import register
from sluiceway.lifecycle.replay import ReplayRows
from sluiceway.lifecycle.subject import registered_subject, subject_of
from sluiceway.serving.scorer import BundleScorer
from sluiceway.wiring.context import build_context

pytestmark = [
    pytest.mark.integration,
    pytest.mark.usefixtures("ray_cluster"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]

CLASSES = ("bad", "fair", "good")
ROWS = 4_000
LIMITS = {"f1_macro": 0.6, "accuracy": 0.6, "log_loss": 0.9, "auc_roc": 0.8}


def delivery(number, classes=CLASSES):
    random = np.random.default_rng(number)
    a, b = random.normal(size=(2, ROWS))
    signal = a - b + random.normal(size=ROWS) * 0.4
    cuts = [-1, 1, 2.5][: len(classes) - 1]
    return pa.table(
        {
            "id": np.arange(ROWS) + number * ROWS,
            "a": a,
            "b": b,
            "shop": random.choice(["north", "south"], ROWS),
            "grade": np.array(classes)[np.digitize(signal, cuts)],
        }
    )


def context_of(folder, **evaluation):
    document = {
        "experiment": {"name": "grades", "seed": 3},
        "data": {"path": str(folder / "table"), "features": ["a", "b"], "target": "grade", "key": ["id"]},
        "model": {"params": {"n_estimators": 25, "max_depth": 4, "learning_rate": 0.3}},
        "training": {"folds": 3, "early_stopping_rounds": None},
        "evaluation": {"fairness": {"protected_attributes": ["shop"]}, **evaluation},
        "platform": {"state": str(folder / "state"), "ray": {"num_cpus": 2, "object_store_mb": 200}},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(document))
    return build_context(load_settings(path))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("classes")
    append(str(made / "table"), delivery(0), message="first", source="test")
    return made


@pytest.fixture(scope="module")
def judged(folder, ray_cluster):
    context = context_of(folder, thresholds=LIMITS, metrics=["auc_roc", "f1_macro"])
    candidate = build_candidate(context, context.version())
    subject = subject_of(context, candidate, champion=None)
    return context, candidate, evaluate(context, subject, bench_of(context, subject))


def judge_registered(context, version):
    subject = registered_subject(context, ModelReference("grades", version), context.version())
    return evaluate(context, subject, bench_of(context, subject))


def test_the_gates_measure_the_test_rows(judged):
    context, candidate, evaluation = judged
    assert [v.line() for r in evaluation.results for v in r.verdicts if v.blocks] == []
    assert tuple(r.gate for r in evaluation.results) == GATES
    rows = ray.get(read_part(candidate.version, data=context.data, seed=3, part=TEST))
    scores = BundleScorer(context.bundles.get(candidate.uri, candidate.digest)).score(rows)
    truth = np.array(rows["grade"].to_pylist())
    places, decided = np.searchsorted(CLASSES, truth), np.array(CLASSES)[scores.argmax(axis=1)]
    found = {v.measurement.name: v.measurement.value for v in evaluation.results[0].verdicts}
    expected = {
        "accuracy": accuracy_score(truth, decided),
        "f1_macro": f1_score(truth, decided, average="macro"),
        "auc_roc": roc_auc_score(places, scores / scores.sum(axis=1, keepdims=True), multi_class="ovr"),
        "log_loss": log_loss(places, scores / scores.sum(axis=1, keepdims=True)),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert found["accuracy"] > 0.75  # the noise leaves about 0.85


def test_the_report_shows_the_classes(judged):
    context, candidate, evaluation = judged
    subject = subject_of(context, candidate, champion=None)
    report = write_report(context, subject, evaluation, settle(context, evaluation), candidate.training)
    page = report.read_text(encoding="utf-8")
    assert all(f">{name}<" in page for name in CLASSES)
    assert "Calibration of the decided class" in page
    twin = json.loads(report.with_suffix(".json").read_text(encoding="utf-8"))
    assert [c["name"] for c in twin["data"]["classes"]] == list(CLASSES)
    assert sum(map(sum, twin["data"]["confusion"])) == sum(c["n"] for c in twin["data"]["classes"])


def test_it_is_registered_and_answers_with_classes(judged):
    context, candidate, evaluation = judged
    step = ReleaseStep(step="release", name="first")
    results = settle(context, evaluation)
    report = write_report(context, subject_of(context, candidate, champion=None), evaluation, results)
    version = register(context, step, candidate, evaluation, results, report)["version"]
    assert version == "1"
    _, bundle = context.registry.bundle("grades", version)
    scorer = BundleScorer(bundle, threads=1)
    rows = pa.table({"a": [-3.0, 0.0, 3.0], "b": [3.0, 0.0, -3.0]})
    scores = scorer.score(rows)
    assert scorer.classes == CLASSES
    assert [scorer.classes[place] for place in scores.argmax(axis=1)] == list(CLASSES)
    assert scorer.decide(scores).tolist() == [scorer.outcomes[name] for name in CLASSES]
    again = judge_registered(context, version)
    assert [r.status for r in again.results] == [r.status for r in evaluation.results]
    assert all(r.cached for r in again.results)
    wrong = dataclasses.replace(
        context, evaluation=context.evaluation.model_copy(update={"thresholds": {"f1_score": 0.5}})
    )
    with pytest.raises(ConfigError, match="do not exist"):
        judge_registered(wrong, version)


def test_replayed_outcomes_are_the_classes(judged):
    context, candidate, _ = judged
    sent = list(ReplayRows(context, ReplaySection(), trained_on=candidate.version))
    rows = ray.get(read_part(candidate.version, data=context.data, seed=3, part=TEST))
    assert sorted(outcome for _, outcome in sent) == sorted(rows["grade"].to_pylist())


@pytest.mark.parametrize("given", [{"metrics": ["f1_score"]}, {"thresholds": {"recall": 0.5}}])
def test_metrics_of_two_classes_are_refused_before_training(folder, judged, given):
    context = context_of(folder, **given)
    before = sorted(path.name for path in (folder / "state" / "bundles").iterdir())
    with pytest.raises(ConfigError) as caught:
        build_candidate(context, context.version())
    assert "for a multiclass model" in caught.value.problems[0]
    assert "f1_macro" in caught.value.problems[0]
    assert sorted(path.name for path in (folder / "state" / "bundles").iterdir()) == before


def test_a_class_that_the_model_does_not_know_is_an_error_of_the_gates(folder, judged):
    context, _, _ = judged
    uri = str(folder / "table")
    append(uri, delivery(1, (*CLASSES, "great")), message="a fourth class", source="test")
    again = judge_registered(context, "1")
    statuses = {r.gate: r.status for r in again.results}
    assert statuses["performance"] is Status.ERROR
    assert statuses["data_quality"] is Status.ERROR
    assert "none of its 3 classes" in again.results[0].verdicts[0].reason

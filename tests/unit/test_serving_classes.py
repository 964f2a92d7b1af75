"""A model of several classes is served like one of two: scored, decided, recorded, held against outcomes."""

import asyncio
import json
import pickle

import numpy as np
import pytest
import xgboost

from serving_models import GRADES, as_rows, examples, train_grades, train_small
from sluiceway.catalog.outcomes import OutcomeStore
from sluiceway.catalog.records import PredictionRecord, RecordStore
from sluiceway.config.serving import ServingSection
from sluiceway.core.classes import class_codes
from sluiceway.core.errors import ArmError, ModelError, RequestError
from sluiceway.core.traffic import TrafficDocument
from sluiceway.registry.bundle import Bundle
from sluiceway.serving.answering import Answerer, Asked
from sluiceway.serving.inputs import RowsInput
from sluiceway.serving.ledger import Answer, Ledger
from sluiceway.serving.protocols.native import answer_body
from sluiceway.serving.record_batches import LogPlan, record_batches
from sluiceway.serving.record_keeping import catalog_rows
from sluiceway.serving.requests import read_feedback
from sluiceway.serving.route import load_route, load_scorer
from sluiceway.serving.scorer import BundleScorer
from sluiceway.telemetry.metrics import ServingMetrics

MORE = ("cancelled", "early", "late", "on time")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {
        "grades": train_grades(folder, seed=1),
        "more": train_grades(folder, seed=2, grades=MORE),
        "numbers": train_grades(folder, seed=3, grades=(-1, 2, 7)),
        "binary": train_small(folder, seed=4),
    }


def route_of(models, champion, challenger=None):
    arms = () if challenger is None else (models[challenger].arm("2", 0.5, "app"),)
    weight = 1.0 if challenger is None else 0.5
    return load_route(TrafficDocument("flights", 3, models[champion].arm("1", weight), arms), {}, load=load_scorer)[0]


def test_scores_are_the_boosters_and_the_largest_decides(models):
    model, (matrix, _) = models["grades"], examples(50, seed=5)
    scorer = BundleScorer(model.bundle)
    scores = scorer.score_matrix(matrix)
    expected = model.booster.predict(xgboost.DMatrix(matrix, feature_types=["q", "q", "c"], enable_categorical=True))
    assert scores.shape == (50, 3)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    codes = class_codes(GRADES)
    assert scorer.decide(scores).tolist() == [codes[GRADES[place]] for place in expected.argmax(axis=1)]
    np.testing.assert_array_equal(scorer.kept(scores), scores.max(axis=1))
    np.testing.assert_array_equal(scorer.shaped(scores.reshape(-1)), scores)
    assert scorer.score_matrix(np.empty((0, 3), dtype=np.float32)).shape == (0, 3)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(scorer)).score_matrix(matrix), scores)


def test_a_decision_of_other_classes_than_the_boosters_is_refused(models):
    model = models["grades"].bundle
    for decision in (
        {**model.decision, "classes": list(MORE)},
        {"kind": "binary", "threshold": 0.5, "target": "late"},
    ):
        with pytest.raises(ModelError, match="shape"):
            BundleScorer(Bundle(model.model, model.schema, decision, {}))


def answered(route, rows):
    async def run():
        metrics = ServingMetrics("flights")
        ledger = Ledger(None, endpoint="flights", replica="r", dropped=lambda _: None)
        answerer = Answerer("flights", ledger=ledger, metrics=metrics, limits=ServingSection())
        return answer_body(await answerer.answer(route, Asked("mine", 0.0), RowsInput(rows)), model="flights")

    return asyncio.run(run())


@pytest.mark.parametrize(("name", "classes"), [("grades", GRADES), ("numbers", (-1, 2, 7))])
def test_an_answer_has_the_class_as_the_table_wrote_it_and_all_probabilities(models, name, classes):
    matrix, _ = examples(20, seed=6)
    body = json.loads(json.dumps(answered(route_of(models, name), as_rows(matrix))))
    assert body["classes"] == list(classes)
    expected = BundleScorer(models[name].bundle).score_matrix(matrix)
    for prediction, row in zip(body["predictions"], expected, strict=True):
        assert prediction["decision"] == classes[row.argmax()]
        assert prediction["probabilities"] == pytest.approx(row.tolist(), abs=1e-6)
        assert prediction["score"] == max(prediction["probabilities"])
        assert sum(prediction["probabilities"]) == pytest.approx(1, abs=1e-5)


def test_scores_that_are_not_finite_are_a_failed_arm(models):
    route = route_of(models, "grades")
    route.champion.scorer.score_matrix = lambda matrix: np.full((len(matrix), 3), np.nan)
    with pytest.raises(ArmError, match="not finite"):
        answered(route, as_rows(examples(1, seed=6)[0]))


def test_an_answer_of_a_binary_model_is_as_before(models):
    body = answered(route_of(models, "binary"), as_rows(examples(3, seed=6)[0]))
    assert "classes" not in body
    assert [set(prediction) for prediction in body["predictions"]] == [{"score", "decision"}] * 3


def feedback(route, *outcomes):
    entries = [{"request_id": f"r{i}", "outcome": outcome} for i, outcome in enumerate(outcomes)]
    return read_feedback(json.dumps({"feedback": entries}).encode(), max_rows=100, outcomes=route.outcomes)


def test_outcomes_are_classes_of_any_arm(models):
    codes = class_codes(MORE)
    taken = feedback(route_of(models, "grades", "more"), "late", "cancelled")
    assert [record.outcome for record in taken] == [codes["late"], codes["cancelled"]]
    assert [r.outcome for r in feedback(route_of(models, "numbers"), 7, 2.0, -1)] == [7.0, 2.0, -1.0]
    assert [r.outcome for r in feedback(route_of(models, "binary"), True, 0)] == [1.0, 0.0]


def test_an_outcome_of_a_class_that_only_the_champion_before_knows_is_taken(models):
    document = TrafficDocument("flights", 1, models["grades"].arm("1", 1.0), warm=(models["more"].arm("2", 0.0),))
    route, _ = load_route(document, {}, load=load_scorer)
    codes = class_codes(MORE)
    taken = feedback(route, "cancelled", "late")
    assert [record.outcome for record in taken] == [codes["cancelled"], codes["late"]]


@pytest.mark.parametrize(
    ("name", "outcome", "text"),
    [
        ("grades", "cancelled", "has to be early, late or on time, not cancelled"),
        ("grades", 1, "has to be early, late or on time, not 1"),
        ("grades", None, "has to be a class, not null"),
        ("grades", ["late"], "has to be a class, not a list"),
        ("numbers", 3, "has to be -1, 2 or 7, not 3"),
        ("numbers", "7", "has to be a number, not a text"),
        ("binary", 2, "has to be 0 or 1, not 2"),
    ],
)
def test_an_outcome_that_is_no_class_is_refused(models, name, outcome, text):
    with pytest.raises(RequestError) as caught:
        feedback(route_of(models, name), outcome)
    assert caught.value.status == 422
    assert caught.value.problems == ({"path": "$.feedback[0].outcome", "problem": text},)


def test_accuracy_is_counted_from_outcomes_though_the_arms_know_other_classes(models, catalog):
    route, records = route_of(models, "grades", "more"), RecordStore(catalog)
    challenger, (matrix, _) = route.challengers[0], examples(60, seed=7)
    scores = challenger.scorer.score_matrix(matrix)
    answer = Answer("one", 1.0, 3, challenger, scores, challenger.scorer.decide(scores), matrix, route.champion)
    (batch,) = record_batches([answer], LogPlan())
    written = [PredictionRecord._make(row) for row in catalog_rows(batch, endpoint="flights", keys=None)]
    assert [r.score for r in written] == scores.max(axis=1).tolist()
    records.add_predictions(written)
    ours = route.champion.scorer.score_matrix(matrix)
    assert [r.champion_score for r in written] == pytest.approx(ours.max(axis=1).tolist())
    truth = ["early" if row[0] < -10 else "on time" for row in matrix]
    entries = [{"request_id": f"one/{i}", "outcome": name} for i, name in enumerate(truth)]
    body = json.dumps({"feedback": entries}).encode()
    records.add_feedback("flights", read_feedback(body, max_rows=100, outcomes=route.outcomes))
    mine = np.array(truth) == np.array(MORE)[scores.argmax(axis=1)]
    theirs = np.array(truth) == np.array(GRADES)[ours.argmax(axis=1)]
    pairs = records.pairs("flights", "2", [3])
    assert (pairs.both_right, pairs.both_wrong) == ((mine & theirs).sum(), (~mine & ~theirs).sum())
    assert (pairs.only_challenger_right, pairs.only_champion_right) == ((mine & ~theirs).sum(), (~mine & theirs).sum())
    assert 0 < mine.sum() < 60
    (accuracy,) = OutcomeStore(catalog).accuracy()
    assert (accuracy.with_outcome, accuracy.right) == (60, mine.sum())

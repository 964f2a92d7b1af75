"""The scorer equals the booster, survives pickling, and refuses a bundle that does not fit itself."""

import pickle

import numpy as np
import pyarrow as pa
import pytest
import xgboost

from serving_models import as_rows, examples, train_small
from sluiceway.core.errors import ModelError
from sluiceway.registry.bundle import Bundle
from sluiceway.serving.scorer import ROWS_ON_ONE_THREAD, BundleScorer


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return train_small(tmp_path_factory.mktemp("models"), seed=1)


def predicted(model, matrix):
    return model.booster.predict(xgboost.DMatrix(matrix, feature_types=["q", "q", "c"], enable_categorical=True))


@pytest.mark.parametrize("rows", [1, 7, ROWS_ON_ONE_THREAD + 1])
def test_scores_equal_the_boosters(model, rows):
    matrix, _ = examples(rows, seed=2)
    scores = BundleScorer(model.bundle).score_matrix(matrix)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, predicted(model, matrix), atol=1e-6)


def test_a_table_is_scored_by_column_name(model):
    matrix, _ = examples(50, seed=3)
    rows = as_rows(matrix)
    table = pa.table({name: [row[name] for row in rows] for name in ("carrier", "distance", "delay")})
    table = table.append_column("more", pa.array(range(50)))
    np.testing.assert_allclose(BundleScorer(model.bundle).score(table), predicted(model, matrix), atol=1e-6)


def test_a_pickled_scorer_scores_the_same(model):
    matrix, _ = examples(20, seed=4)
    scorer = BundleScorer(model.bundle, threads=1)
    again = pickle.loads(pickle.dumps(scorer))
    np.testing.assert_array_equal(again.score_matrix(matrix), scorer.score_matrix(matrix))


def test_no_rows_give_no_scores(model):
    assert BundleScorer(model.bundle).score_matrix(np.empty((0, 3), dtype=np.float32)).shape == (0,)


def test_decisions_reach_the_threshold(model):
    scorer = BundleScorer(model.bundle)
    np.testing.assert_array_equal(scorer.decide(np.array([0.2, 0.5, 0.7])), [0, 1, 1])
    regression = Bundle(model.bundle.model, model.bundle.schema, {"kind": "regression", "threshold": None}, {})
    np.testing.assert_array_equal(BundleScorer(regression).decide(np.array([0.2, 3.5])), [0.2, 3.5])


def test_a_bundle_of_two_models_is_refused(model):
    schema = {**model.bundle.schema, "features": model.bundle.schema["features"][:2]}
    with pytest.raises(ModelError, match="3 features"):
        BundleScorer(Bundle(model.bundle.model, schema, model.bundle.decision, {}))


def test_bytes_that_are_no_booster_are_refused(model):
    with pytest.raises(ModelError, match="no booster"):
        BundleScorer(Bundle(model.bundle.model[:200], model.bundle.schema, model.bundle.decision, {}))


def calibrated(model, table):
    return Bundle(model.bundle.model, model.bundle.schema, {**model.bundle.decision, "calibrator": table}, {})


@pytest.mark.parametrize("rows", [1, 300, ROWS_ON_ONE_THREAD + 1])
def test_a_calibrator_is_applied_to_every_score(model, rows):
    table = {"scores": [0.1, 0.4, 0.9], "values": [0.2, 0.3, 0.95]}
    scorer = BundleScorer(calibrated(model, table))
    matrix, _ = examples(rows, seed=5)
    scores = scorer.score_matrix(matrix)
    raw = BundleScorer(model.bundle).score_matrix(matrix)
    assert scores.dtype == np.float64
    np.testing.assert_array_equal(scores, np.interp(raw, table["scores"], table["values"]))
    again = pickle.loads(pickle.dumps(scorer))
    np.testing.assert_array_equal(again.score_matrix(matrix), scores)
    np.testing.assert_array_equal(scorer.decide(scores), scores >= 0.5)
    one_by_one = [scorer.score_matrix(matrix[i : i + 1])[0] for i in range(min(rows, 50))]
    np.testing.assert_array_equal(one_by_one, scores[:50])
    assert scorer.score_matrix(np.empty((0, 3), dtype=np.float32)).shape == (0,)

"""The direct call gives what XGBoost's own method gives, to the bit."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xgboost

from serving_models import examples, train_grades, train_small
from sluiceway.serving.in_place import predict_in_place


@pytest.fixture(scope="module", params=["binary", "classes", "number"])
def booster(request, tmp_path_factory):
    if request.param == "number":
        matrix, _ = examples(300, seed=4)
        params = {"objective": "reg:squarederror", "nthread": 1, "base_score": 3.5}
        return xgboost.train(params, xgboost.DMatrix(matrix, label=np.nan_to_num(matrix[:, 1])), 5)
    train = train_small if request.param == "binary" else train_grades
    found = train(tmp_path_factory.mktemp("models"), seed=1).booster
    found.set_param({"nthread": 1})
    return found


def by_method(booster, matrix):
    return booster.inplace_predict(matrix, missing=np.nan, validate_features=False)


@pytest.mark.parametrize("rows", [1, 2, 300])
def test_the_two_ways_are_equal_to_the_bit(booster, rows):
    matrix, _ = examples(rows, seed=2)
    given, expected = predict_in_place(booster, matrix), by_method(booster, matrix)
    assert given.dtype == np.float64
    np.testing.assert_array_equal(given, expected)
    assert given.shape == expected.shape


def test_rows_of_another_layout_are_taken_too(booster):
    matrix, _ = examples(40, seed=2)
    for other in (np.asfortranarray(matrix), matrix.astype(np.float64), matrix[::2]):
        np.testing.assert_array_equal(predict_in_place(booster, other), by_method(booster, other.astype(np.float32)))


def test_a_result_is_the_callers_own(booster):
    matrix, _ = examples(40, seed=2)
    first = predict_in_place(booster, matrix)
    kept = first.copy()
    predict_in_place(booster, matrix[::-1])
    np.testing.assert_array_equal(first, kept)


def test_threads_do_not_get_each_others_results(booster):
    matrices = [examples(n, seed=n)[0] for n in range(1, 40)]
    expected = [by_method(booster, matrix) for matrix in matrices]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for given, wanted in zip(pool.map(lambda m: predict_in_place(booster, m), matrices), expected, strict=True):
                np.testing.assert_array_equal(given, wanted)


def test_rows_of_another_width_are_refused(booster):
    with pytest.raises(xgboost.core.XGBoostError):
        predict_in_place(booster, np.zeros((2, 2), np.float32))

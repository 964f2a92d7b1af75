"""The same numbers from Arrow and from JSON, and every problem of a request told at once."""

import math
import time
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from sluiceway.core.errors import DataError, RequestError, SchemaMismatchError
from sluiceway.features.encode import encode_rows, encode_table
from sluiceway.features.problems import MOST_PROBLEMS
from sluiceway.features.schema import Feature, FeatureSchema

SCHEMA = FeatureSchema(
    (Feature("x", "numeric"), Feature("carrier", "category", ("AA", "DL", "UA")), Feature("flag", "numeric"))
)
NAN = math.nan


def test_arrow_of_every_type():
    table = pa.table(
        {
            "flag": pa.array([True, None, False, True]),
            "ignored": pa.array(["a", "b", "c", "d"]),
            "carrier": pa.array(["UA", None, "ZZ", "AA"]),
            "x": pa.array([1.5, NAN, None, -2.0]),
        }
    )
    matrix, unseen = encode_table(table, SCHEMA)
    expected = np.array([[1.5, 2, 1], [NAN, NAN, NAN], [NAN, NAN, 0], [-2, 0, 1]], dtype=np.float32)
    np.testing.assert_array_equal(matrix, expected)
    assert unseen == 1
    assert matrix.dtype == np.float32
    assert matrix.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([3, None, 7], pa.int64()),
        pa.array([3, None, 7], pa.uint8()),
        pa.array([3, None, 7], pa.float16()),
        pa.array([3, None, 7], pa.float32()),
        pa.array([Decimal(3), None, Decimal(7)], pa.decimal128(5, 2)),
    ],
    ids=lambda values: str(values.type),
)
def test_numbers_of_every_type(values):
    matrix, _ = encode_table(pa.table({"x": values}), FeatureSchema((Feature("x", "numeric"),)))
    np.testing.assert_array_equal(matrix[:, 0], np.array([3, NAN, 7], np.float32))


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())], ids=str
)
def test_text_of_every_type_and_chunking(kind):
    values = pa.array(["DL", None, "new", "AA"], pa.string()).cast(kind)
    column = pa.chunked_array([values[:1], values[1:3], values[3:]])
    matrix, unseen = encode_table(pa.table({"carrier": column}), FeatureSchema((SCHEMA.features[1],)))
    np.testing.assert_array_equal(matrix[:, 0], np.array([1, NAN, NAN, 0], np.float32))
    assert unseen == 1


def test_a_batch_and_no_rows():
    batch = pa.record_batch({"x": [1.0], "carrier": ["AA"], "flag": [1]})
    np.testing.assert_array_equal(encode_table(batch, SCHEMA)[0], [[1, 0, 1]])
    assert encode_table(batch[:0], SCHEMA)[0].shape == (0, 3)


def test_columns_of_nothing_but_nulls():
    table = pa.table({"x": pa.nulls(2), "carrier": pa.nulls(2), "flag": pa.nulls(2, pa.bool_())})
    matrix, unseen = encode_table(table, SCHEMA)
    assert np.isnan(matrix).all()
    assert unseen == 0


def test_tables_that_do_not_fit():
    table = pa.table({"x": [1.0], "carrier": ["AA"], "flag": [1]})
    with pytest.raises(SchemaMismatchError, match="no column 'x'"):
        encode_table(table.drop_columns("x"), SCHEMA)
    with pytest.raises(SchemaMismatchError, match="'x' has type string"):
        encode_table(table.set_column(0, "x", [["a"]]), SCHEMA)
    with pytest.raises(SchemaMismatchError, match="'carrier' has type int64"):
        encode_table(table.set_column(1, "carrier", [[1]]), SCHEMA)
    for large in (math.inf, -math.inf, 1e300):
        with pytest.raises(DataError, match="'x' holds an infinite value"):
            encode_table(table.set_column(0, "x", [[large]]), SCHEMA)


def test_rows_as_a_request_brings_them():
    rows = [
        {"x": 1, "carrier": "UA", "flag": True},
        {"flag": 0, "x": None, "carrier": None},
        {"x": NAN, "carrier": "never seen", "flag": 2.5},
    ]
    matrix, unseen = encode_rows(rows, SCHEMA)
    np.testing.assert_array_equal(matrix, np.array([[1, 2, 1], [NAN, NAN, 0], [NAN, NAN, 2.5]], np.float32))
    assert unseen == 1
    assert matrix.dtype == np.float32
    assert encode_rows([], SCHEMA)[0].shape == (0, 3)


def test_numpy_scalars_take_the_slow_way_and_arrive():
    rows = [
        {"x": np.float64(1.5), "carrier": "DL", "flag": np.int64(1)},
        {"x": np.float32(2), "carrier": "??", "flag": True},
    ]
    matrix, unseen = encode_rows(rows, SCHEMA)
    np.testing.assert_array_equal(matrix, np.array([[1.5, 1, 1], [2, NAN, 1]], np.float32))
    assert unseen == 1


def test_both_ways_give_the_same_numbers():
    random = np.random.default_rng(3)
    rows = [
        {
            "x": None if random.random() < 0.2 else float(random.normal() * 10.0 ** random.integers(-20, 20)),
            "carrier": random.choice(["AA", "DL", "UA", "ZZ", None]),
            "flag": int(random.integers(-(2**40), 2**40)),
        }
        for _ in range(500)
    ]
    rows = [row | {"carrier": None if row["carrier"] is None else str(row["carrier"])} for row in rows]
    by_rows, unseen_rows = encode_rows(rows, SCHEMA)
    by_table, unseen_table = encode_table(pa.Table.from_pylist(rows), SCHEMA)
    np.testing.assert_array_equal(by_rows, by_table)
    assert unseen_rows == unseen_table


def test_every_problem_is_told_with_its_path():
    rows = [
        {"x": "1", "carrier": 5, "flag": 1},
        {"x": math.inf, "carrer": "AA", "flag": 1},
        [1, 2],
        {"x": 1e39, "carrier": "AA", "flag": [1]},
        {"x": 10**400, "carrier": ["AA"], "flag": {}, "a b": 1},
    ]
    with pytest.raises(RequestError) as caught:
        encode_rows(rows, SCHEMA)
    assert caught.value.status == 422
    told = {problem["path"]: problem["problem"] for problem in caught.value.problems}
    assert set(told) == {
        "$.rows[0].x",
        "$.rows[0].carrier",
        "$.rows[1].x",
        "$.rows[1].carrer",
        "$.rows[1].carrier",
        "$.rows[2]",
        "$.rows[3].x",
        "$.rows[3].flag",
        "$.rows[4].x",
        "$.rows[4].carrier",
        "$.rows[4].flag",
        "$.rows[4]['a b']",
    }
    assert "did you mean 'carrier'" in told["$.rows[1].carrer"]
    assert "missing" in told["$.rows[1].carrier"]
    assert "infinite" in told["$.rows[4].x"]


def test_a_very_bad_request_is_answered_briefly():
    with pytest.raises(RequestError) as caught:
        encode_rows([{"x": "bad", "carrier": "AA", "flag": 1}] * 1000, SCHEMA)
    assert len(caught.value.problems) == MOST_PROBLEMS + 1
    assert "900 more" in caught.value.problems[-1]["problem"]


def test_one_row_takes_microseconds():
    schema = FeatureSchema(tuple(Feature(f"f{i}", "numeric") for i in range(20)))
    rows = [{f"f{i}": float(i) for i in range(20)}]
    encode_rows(rows, schema)
    best = math.inf
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(50):
            encode_rows(rows, schema)
        best = min(best, (time.perf_counter() - start) / 50)
    assert best < 20 * 5e-6

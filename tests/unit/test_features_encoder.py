"""Rows, columns and tables are encoded alike, under the rules of an endpoint."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluiceway.core.errors import RequestError
from sluiceway.features.encoder import Encoder, column_place
from sluiceway.features.positions import with_categories
from sluiceway.features.rules import InputRules
from sluiceway.features.schema import Feature, FeatureSchema

SCHEMA = FeatureSchema(
    (Feature("x", "numeric"), Feature("carrier", "category", ("AA", "DL", "UA")), Feature("flag", "numeric"))
)
NAN = math.nan
VALUES = {
    "x": st.none() | st.floats(width=32, allow_infinity=False, allow_nan=False) | st.integers(-(2**60), 2**60),
    "carrier": st.none() | st.sampled_from(["AA", "DL", "UA", "new", ""]),
    "flag": st.none() | st.booleans(),
}


def columns_of(rows):
    return {name: [row[name] for row in rows] for name in SCHEMA.names}


def as_array(values):
    # Arrow takes no column of whole numbers and broken ones.
    numbers = any(isinstance(value, float) for value in values)
    return pa.array([float(value) if numbers and value is not None else value for value in values])


@given(st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_rows_columns_and_tables_give_the_same_numbers(rows):
    encoder = Encoder(SCHEMA)
    columns = columns_of(rows)
    table = pa.table({name: as_array(values) for name, values in columns.items()})
    by_rows, unseen = encoder.rows(rows)
    for matrix, count in (
        encoder.columns(columns, column_place),
        encoder.table(table),
        encoder._rows_slowly(rows, "$"),
    ):
        np.testing.assert_array_equal(matrix, by_rows)
        assert count == unseen
        assert matrix.dtype == np.float32
        assert matrix.flags["C_CONTIGUOUS"]


def problems(function, *args, **kwargs):
    with pytest.raises(RequestError) as caught:
        function(*args, **kwargs)
    assert caught.value.status == 422
    return {problem["path"]: problem["problem"] for problem in caught.value.problems}


def test_a_bound_holds_as_the_model_sees_it():
    encoder = Encoder(SCHEMA, InputRules(ranges={"x": (None, 0.1), "flag": (0.3, None)}))
    row = {"x": 0.1, "carrier": "AA", "flag": 0.3}
    assert encoder.rows([row])[0].tolist() == [[np.float32(0.1), 0, np.float32(0.3)]]
    assert problems(encoder.rows, [{**row, "x": 0.1001, "flag": 0.2999}]) == {
        "$.rows[0].x": "is 0.1001; at most 0.1 is allowed",
        "$.rows[0].flag": "is 0.2999; at least 0.3 is allowed",
    }
    assert np.isnan(encoder.rows([{"x": None, "carrier": None, "flag": NAN}])[0]).all()


def test_a_range_of_what_the_model_has_not_is_nobody_s():
    encoder = Encoder(SCHEMA, InputRules(ranges={"y": (0, 1), "carrier": (0, 1)}))
    assert encoder.rows([{"x": 7, "carrier": "UA", "flag": 7}])[0].tolist() == [[7, 2, 7]]


def test_further_fields_may_be_there_or_not():
    encoder = Encoder(SCHEMA, InputRules(frozenset({"id", "x"})))
    row = {"x": 1, "carrier": "AA", "flag": 0}
    assert encoder.rows([row, {**row, "id": [7]}])[0].tolist() == [[1, 0, 0]] * 2
    assert set(problems(encoder.rows, [{"carrier": "AA", "flag": 0, "id": 1, "ID": 2}])) == {
        "$.rows[0].x",
        "$.rows[0].ID",
    }


def test_unknown_categories_are_counted_or_refused():
    rows = [{"x": 1, "carrier": carrier, "flag": 0} for carrier in ("AA", "new", None)]
    matrix, unseen = Encoder(SCHEMA).rows(rows)
    assert unseen == 1
    assert np.isnan(matrix[1:, 1]).all()
    strict = Encoder(SCHEMA, InputRules(refuse_unknown=True))
    told = "is 'new'; the model knows 'AA', 'DL', 'UA'"
    assert problems(strict.rows, rows) == {"$.rows[1].carrier": told}
    assert problems(strict.columns, columns_of(rows), column_place) == {"$.carrier[1]": told}
    table = pa.table(columns_of(rows))
    assert problems(strict.table, table) == {"$.carrier[1]": told}
    encoded = table.set_column(1, "carrier", table.column("carrier").dictionary_encode())
    assert problems(strict.table, encoded) == {"$.carrier[1]": told}
    assert strict.rows(rows[::2])[1] == 0


def test_positions_of_categories():
    encoder = Encoder(SCHEMA)
    columns = {"x": [1, 1, 1, 1], "carrier": [2, 0.0, "DL", NAN], "flag": [0] * 4}
    named = with_categories(columns, SCHEMA)
    assert named["carrier"][:3] == ["UA", "AA", "DL"]
    matrix, unseen = encoder.columns(named, column_place)
    np.testing.assert_array_equal(matrix[:, 1], [2, 0, 1, NAN])
    assert unseen == 0
    for wrong in (3, -1, 0.5, True):
        columns = with_categories({"x": [1], "carrier": [wrong], "flag": [0]}, SCHEMA)
        assert set(problems(encoder.columns, columns, column_place)) == {"$.carrier[0]"}
    assert set(problems(encoder.columns, {"x": [1], "carrier": [1], "flag": [0]}, column_place)) == {"$.carrier[0]"}


def test_columns_without_a_position_are_left_alone():
    columns = {"x": [1, 2], "carrier": ["DL", None], "other": [1, 2]}
    assert with_categories(columns, SCHEMA) is columns
    assert with_categories({"x": [1]}, SCHEMA) == {"x": [1]}


@pytest.mark.parametrize("kind", ["<f8", "<f4", "<f2", "<i8", "<u4", "?"])
def test_columns_of_numbers_in_arrays(kind):
    values = np.array([0, 1, 1], dtype=kind)
    columns = {"x": values, "carrier": [None] * 3, "flag": values}
    np.testing.assert_array_equal(Encoder(SCHEMA).columns(columns, column_place)[0][:, 0], [0, 1, 1])


def test_what_is_infinite_or_too_large_is_found_in_arrays():
    columns = {"x": np.array([1, 1e300, -np.inf]), "carrier": [None] * 3, "flag": [1, 10**400, 1e39]}
    assert set(problems(Encoder(SCHEMA).columns, columns, column_place)) == {
        "$.x[1]",
        "$.x[2]",
        "$.flag[1]",
        "$.flag[2]",
    }

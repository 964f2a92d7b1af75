"""Profiles merge, and data that no model can be trained on is named."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from sluiceway.config.experiment import DataSection
from sluiceway.core.errors import DataError, SchemaMismatchError
from sluiceway.data.profile import TableProfile, check_trainable, merge, profile_table

DATA = DataSection(path="sales", features=("price", "shop"), target="sold")


def profiled(**columns) -> TableProfile:
    table = pa.table({"price": [1.0, 2.5, None], "shop": ["b", "a", None], "sold": [0, 1, 0]} | columns)
    return TableProfile(table.num_rows, profile_table(table), tuple(table.column_names))


def test_profile_of_columns():
    found = profiled(price=[1.0, float("nan"), float("inf")]).columns
    price = found["price"]
    assert (price.kind, price.n, price.nulls, price.infinite, price.low, price.high) == ("number", 3, 1, 1, 1.0, 1.0)
    assert (found["shop"].values, found["shop"].nulls) == (("a", "b"), 1)
    assert profiled().categories == {"shop": ("a", "b")}


def test_merged_profiles_equal_the_profile_of_all():
    numbers = [float(i % 7) if i % 5 else None for i in range(100)]
    table = pa.table({"x": numbers, "t": [f"v{i % 30}" for i in range(100)], "z": pa.nulls(100, pa.float64())})
    blocks = [profile_table(table.slice(start, 9)) for start in range(0, 100, 9)]
    assert merge(blocks) == merge(reversed(blocks)) == profile_table(table)


def test_zero_is_one_value_and_text_has_one_kind():
    found = profile_table(pa.table({"x": [0.0, -0.0, 1.0], "t": pa.array(["b", "a", None], pa.string_view())}))
    assert (found["x"].values, found["t"].values) == ((0.0, 1.0), ("a", "b"))


def test_the_smallest_of_many_numbers_are_kept_whatever_the_parts():
    random = np.random.default_rng(3)
    # The most are 0: a look at the smallest is not enough here.
    counts = pa.array(np.where(random.random(50_000) < 0.9, 0, random.integers(0, 500, 50_000)))
    few = pa.array(random.integers(0, 90, 50_000), mask=random.random(50_000) < 0.1)
    table = pa.table({"counts": counts, "measured": random.normal(size=50_000), "few": few})
    whole = profile_table(table)
    assert whole["counts"].values == tuple(range(101))
    assert whole["measured"].values == tuple(np.sort(table["measured"].to_numpy())[:101])
    assert whole["few"].values == tuple(range(90))
    assert [column.many for column in whole.values()] == [True, True, False]
    parts = [profile_table(table.slice(start, 7_000)) for start in (49_000, 42_000, 0, 35_000, 7_000, 28_000, 14_000)]
    assert merge([*parts, profile_table(table.slice(21_000, 7_000))]) == whole


def test_categories_stop_at_the_limit():
    column = profile_table(pa.table({"t": [f"{i}" for i in range(5000)]}))["t"]
    assert len(column.values) == 1001
    assert column.many
    edge = profile_table(pa.table({"t": [f"{i}" for i in range(1000)]}))["t"]
    assert not edge.many


def test_good_data_and_an_all_null_column_pass():
    check_trainable(profiled(), DATA)
    check_trainable(profiled(price=pa.nulls(3, pa.float64())), DATA)
    check_trainable(profiled(price=pa.nulls(3)), DATA)
    check_trainable(profiled(shop=pa.array(["a", "b", None]).dictionary_encode()), DATA)
    check_trainable(profiled(sold=[0.5, 3.0, 7.0]), DATA, kind="number")
    check_trainable(profiled(sold=[True, False, True]), DATA)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"sold": [1, 1, 1]}, "'sold' has one class, 1 in all 3 rows"),
        ({"sold": [0.5, 1, 2]}, "'sold' has values that are no whole numbers: 0.5, 1, 2"),
        ({"sold": list(range(200)), "price": [1.0] * 200, "shop": ["a"] * 200}, "'sold' has more than 100 values"),
        ({"sold": [0, 1, None]}, "'sold' is missing in 1 rows"),
        ({"sold": ["yes", "no", "no"]}, "'sold' has two classes that are not 0 and 1: no, yes"),
        ({"sold": [date(2024, 1, 1)] * 3}, "'sold' is no number"),
        ({"price": [1.0, float("-inf"), 2.0]}, "'price' has 1 infinite values"),
    ],
)
def test_refusals_name_the_column(columns, message):
    with pytest.raises(DataError, match=message):
        check_trainable(profiled(**columns), DATA)


def test_all_problems_at_once():
    wide = pa.table({"price": [float("inf")] * 1001, "shop": [f"{i}" for i in range(1001)], "sold": [1] * 1001})
    profile = TableProfile(1001, profile_table(wide), tuple(wide.column_names))
    with pytest.raises(DataError) as caught:
        check_trainable(profile, DATA)
    assert caught.value.fields["columns"] == ["sold", "price", "shop"]
    assert "more than 1,000 values" in str(caught.value)


def test_missing_columns_come_with_the_nearest_names():
    with pytest.raises(SchemaMismatchError, match="target 'sodl'") as caught:
        check_trainable(profiled(), DATA.model_copy(update={"target": "sodl"}))
    assert "did you mean sold" in str(caught.value)
    with pytest.raises(SchemaMismatchError, match="'when'"):
        check_trainable(
            profiled(when=pa.array([1, 2, 3], pa.timestamp("us"))), DATA.model_copy(update={"features": ("when",)})
        )


def test_empty_table():
    with pytest.raises(DataError, match="has no rows"):
        check_trainable(TableProfile(0, profiled().columns, ("price", "shop", "sold")), DATA)

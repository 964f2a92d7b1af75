"""What becomes a numeric feature, what a category, what is refused."""

import json

import pyarrow as pa
import pytest

from sluiceway.core.errors import DataError, ModelError, SchemaMismatchError
from sluiceway.features.schema import Feature, FeatureSchema, derive

TABLE = pa.schema(
    {
        "amount": pa.float64(),
        "count": pa.int32(),
        "weekend": pa.bool_(),
        "price": pa.decimal128(10, 2),
        "nothing": pa.null(),
        "carrier": pa.string(),
        "origin": pa.dictionary(pa.int8(), pa.large_string()),
        "seen_at": pa.timestamp("us"),
        "tags": pa.list_(pa.string()),
    }
)


def test_kinds_order_and_sorted_categories():
    schema = derive(
        TABLE,
        categories={"carrier": ["UA", "AA", "UA"], "origin": ("JFK", "EWR")},
        features=["origin", "amount", "carrier", "weekend", "price", "count", "nothing"],
    )
    assert schema.names == ("origin", "amount", "carrier", "weekend", "price", "count", "nothing")
    assert schema.xgboost_types == ["c", "q", "c", "q", "q", "q", "q"]
    assert schema.features[2] == Feature("carrier", "category", ("AA", "UA"))
    assert FeatureSchema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


def test_a_misspelt_column_is_named_with_its_neighbour():
    with pytest.raises(SchemaMismatchError, match="'amuont'; did you mean 'amount'"):
        derive(TABLE, categories={}, features=["amuont"])


@pytest.mark.parametrize(("column", "hint"), [("seen_at", "weekday"), ("tags", "leave it out")])
def test_types_that_no_model_can_see(column, hint):
    with pytest.raises(DataError, match=column) as caught:
        derive(TABLE, categories={}, features=[column])
    assert hint in caught.value.hint


def test_text_without_its_categories_is_refused():
    with pytest.raises(DataError, match="carrier"):
        derive(TABLE, categories={}, features=["carrier"])


@pytest.mark.parametrize(
    "document", [{}, {"version": 2, "features": []}, {"version": 1}, {"version": 1, "features": [{}]}]
)
def test_documents_that_cannot_be_read(document):
    with pytest.raises(ModelError):
        FeatureSchema.from_dict(document)

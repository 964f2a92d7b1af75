"""How people name a version of a table and of a model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.core.errors import InputError
from sluiceway.core.references import ModelReference, TableReference


@pytest.mark.parametrize(
    ("text", "table", "ref"),
    [
        ("sales", "sales", None),
        ("sales@v12", "sales", "v12"),
        ("data/sales@h1", "data/sales", "h1"),
        ("/tables/sales@3", "/tables/sales", "3"),
        ("s3://key@bucket/sales", "s3://key@bucket/sales", None),
        ("s3://key@bucket/sales@h1", "s3://key@bucket/sales", "h1"),
        ("s3://bucket/sales/", "s3://bucket/sales", None),
        ("sales@2013-07-01T00:00:00Z", "sales", "2013-07-01T00:00:00Z"),
    ],
)
def test_a_table_and_its_ref(text: str, table: str, ref: str | None) -> None:
    assert TableReference.parse(text) == TableReference(table, ref)


@pytest.mark.parametrize("text", ["", "@h1", "sales@", "data/@h1", "/"])
def test_what_is_no_table_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match="is not TABLE") as caught:
        TableReference.parse(text)
    assert caught.value.hint
    assert caught.value.exit_code == 2


names = st.from_regex(r"[a-z][a-z0-9_.-]{0,10}", fullmatch=True)


@given(folder=names, table=names, ref=st.none() | names)
def test_a_table_reference_is_read_back_as_it_was_written(folder: str, table: str, ref: str | None) -> None:
    reference = TableReference(f"{folder}/{table}", ref)
    assert TableReference.parse(str(reference)) == reference


def test_a_model_and_its_version() -> None:
    assert ModelReference.parse("flights_late@champion") == ModelReference("flights_late", "champion")
    assert str(ModelReference.parse("flights_late@3")) == "flights_late@3"


@pytest.mark.parametrize("text", ["", "flights_late", "@3", "flights_late@"])
def test_a_model_without_a_version_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not MODEL@VERSION"):
        ModelReference.parse(text)

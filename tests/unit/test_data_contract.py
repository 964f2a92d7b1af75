"""The data contract without Ray: the keys of the file, rows that do not fit, counts that add up, verdicts."""

from __future__ import annotations

import datetime as dt
import math
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sluiceway.core.errors import ConfigError, SchemaMismatchError
from sluiceway.core.verdict import Status
from sluiceway.data.contract.checks import Found, count, keys_of, no_rows, partitioned, repeats
from sluiceway.data.contract.conditions import decimal_at
from sluiceway.data.contract.draft import draft, outward
from sluiceway.data.contract.load import FILE_NAME, find_contract, parse_contract, read_contract
from sluiceway.data.contract.model import Contract
from sluiceway.data.contract.rows import row_problems
from sluiceway.data.contract.rules import KeyRule, rules_of
from sluiceway.data.contract.survey import Survey, may_be_unique, merged, survey
from sluiceway.data.contract.verdicts import Evidence, RuleVerdict, status_of, verdicts

NOW = dt.datetime(2024, 6, 1, 12, tzinfo=dt.UTC)


def document(*properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A contract of one table with these columns."""
    table = {"name": "t", "properties": list(properties), **more.pop("table", {})}
    head = {"apiVersion": "v3.1.0", "kind": "DataContract", "id": "t", "version": "1.0.0", "status": "active"}
    return {**head, "schema": [table], **more}


def contract(*properties: dict[str, Any], **more: Any) -> Contract:
    return parse_contract(yaml.safe_dump(document(*properties, **more)), path="c.yaml")


def problems_of(*properties: dict[str, Any], **more: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        contract(*properties, **more)
    return "\n".join(caught.value.problems)


def judged(table: pa.Table, agreed: Contract, *, committed: dt.datetime | None = NOW) -> dict[str, RuleVerdict]:
    """The verdicts on a table in memory, by the name of the rule."""
    rules = rules_of(agreed)
    total = no_rows(table.schema, rules)
    for batch in table.to_batches():
        total += count(batch, rules, now=NOW)
    keys = [
        repeats([keys_of(b, rule) for b in table.to_batches()]) if table.num_rows else Found() for rule in rules.keys
    ]
    found = verdicts(rules, Evidence(table.schema, table.num_rows, total, keys, committed, NOW))
    return {one.verdict.check: one for one in found}


# The file


def test_an_unknown_key_is_told_with_its_path_and_the_nearest_name():
    said = problems_of({"name": "x", "logicalTypeOptions": {"minimun": 1}, "requird": True}, statos="active")
    assert "c.yaml: schema[0].properties[0].logicalTypeOptions.minimun: unknown key; did you mean 'minimum'?" in said
    assert "schema[0].properties[0].requird: unknown key; did you mean 'required'?" in said
    assert "statos: unknown key; did you mean 'status'?" in said


@pytest.mark.parametrize(
    ("one", "said"),
    [
        ({"physicalType": "lonng"}, r"properties\[0\].physicalType: Delta has no type 'lonng'; did you mean 'long'"),
        ({"logicalType": "integer", "physicalType": "double"}, "double is no integer"),
        ({"logicalType": "string", "logicalTypeOptions": {"minimum": 1}}, "minimum: only numbers, dates and times"),
        ({"logicalType": "integer", "logicalTypeOptions": {"maxLength": 1}}, "maxLength: only text has a length"),
        ({"logicalType": "integer", "logicalTypeOptions": {"minimum": "low"}}, "minimum: has to be a number"),
        ({"logicalType": "number", "logicalTypeOptions": {"maximum": math.inf}}, "maximum: has to be a number"),
        ({"logicalType": "date", "logicalTypeOptions": {"minimum": 3}}, "minimum: has to be a date or a time"),
        ({"logicalType": "date", "logicalTypeOptions": {"minimum": "spring"}}, "minimum: has to be a date or a time"),
        ({"logicalTypeOptions": {"minimum": 3, "maximum": 2}}, "minimum: 3 is more than the maximum 2"),
        ({"logicalTypeOptions": {"exclusiveMinimum": True}}, "exclusiveMinimum: true needs a minimum"),
        ({"logicalTypeOptions": {"minLength": 3, "maxLength": 2}}, "minLength: 3 is more than the maxLength 2"),
        ({"logicalTypeOptions": {"minLength": -1}}, "minLength"),
        ({"logicalTypeOptions": {"pattern": "("}}, "pattern: Invalid regular expression"),
        ({"logicalTypeOptions": {"pattern": "(?=a)"}}, "look-around"),
        ({"logicalType": "array", "unique": True}, "unique: lists and structs cannot be a key"),
        ({"items": {"logicalType": "string"}}, "items: unknown key"),
        ({"quality": [{"metric": "rowCount", "mustBe": 3}]}, "metric: rowCount is for the table"),
        ({"quality": [{"type": "library"}]}, "a rule of the library needs a metric"),
        ({"quality": [{"type": "sql", "query": "select 1"}]}, r"quality\[0\].type"),
        ({"quality": [{"metric": "invalidValues"}]}, "needs arguments.validValues or arguments.pattern"),
        ({"quality": [{"metric": "missingValues"}]}, "needs arguments.missingValues"),
        ({"quality": [{"metric": "nullValues", "mustBe": 0, "mustNotBe": 1}]}, "more than one operator"),
        ({"quality": [{"metric": "nullValues", "mustBeBetween": [2, 1]}]}, "smaller number first"),
        (
            {
                "logicalType": "string",
                "quality": [{"metric": "invalidValues", "arguments": {"validValues": ["a", True]}}],
            },
            r"validValues\[1\]: True is no text; put it in quotes",
        ),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(one, said):
    assert re.search(said, problems_of({"name": "x", **one}))


def test_what_is_wrong_with_the_table_and_its_service_is_told():
    x = {"name": "x", "logicalType": "integer"}
    assert "described a second time; first at schema[0].properties[0]" in problems_of(x, x)
    rows = {"metric": "rowCount"}
    assert "rowCount needs an operator" in problems_of(x, table={"quality": [rows]})
    key = {"metric": "duplicateValues", "arguments": {"properties": ["x", "xy"]}}
    assert "properties[1]: no property 'xy'; did you mean 'x'?" in problems_of(x, table={"quality": [key]})
    old = {"property": "freshness", "value": 0, "unit": "m", "element": "t.y"}
    said = problems_of(x, slaProperties=[old, {"property": "latency", "value": 1, "unit": "d", "element": "x"}])
    assert "slaProperties[0].value: has to be a number above 0" in said
    assert "slaProperties[0].unit: 'm' is none of" in said
    assert "slaProperties[0].element: no property 't.y'" in said
    assert "slaProperties[1].element: x is neither a date nor a time" in said
    assert "strict is true or false" in problems_of(x, customProperties=[{"property": "strict", "value": "yes"}])
    with pytest.raises(ConfigError, match="1 problem") as caught:
        parse_contract(yaml.safe_dump({**document(x), "schema": document(x)["schema"] * 2}), path="c.yaml")
    assert "a file for each" in caught.value.problems[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is not YAML"),
        ("- 1", "no mapping"),
        ("id: 1\nid: 2", "stands twice"),
        ("id: 2024-02-31", "quotes"),
        ("id: 0b_", "quotes"),
    ],
)
def test_what_is_no_contract_is_told(text, said):
    with pytest.raises(ConfigError) as caught:
        parse_contract(text, path="c.yaml")
    assert said in str(caught.value)


def test_the_contract_lies_in_the_table_s_folder_or_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="contract init"):
        find_contract(str(tmp_path))
    named = tmp_path / "other.yaml"
    assert find_contract("s3://bucket/table", named) == str(named)
    path = tmp_path / FILE_NAME
    path.write_text(yaml.safe_dump(document({"name": "x"})), encoding="utf-8")
    assert read_contract(find_contract(str(tmp_path))).table.properties[0].name == "x"
    with pytest.raises(ConfigError, match="cannot be read"):
        read_contract(named)


def test_owner_and_purpose_are_those_of_either_version_of_the_standard():
    x = {"name": "x"}
    ann, bob = {"username": "ann"}, {"username": "b", "name": "Bob", "role": "Data Owner"}
    assert contract(x, team=[ann, bob]).owner == "Bob"
    assert contract(x, team={"name": "data", "members": [ann]}).owner == "data"
    assert contract(x, team=[{**bob, "dateOut": "2024-01-01"}, ann]).owner == "ann"
    assert contract(x).owner is None
    assert contract(x, description={"purpose": "to\n learn"}).purpose == "to learn"
    assert contract(x, table={"description": "trips"}).purpose == "trips"


def test_names_of_the_first_version_are_understood():
    valid = {"type": "library", "rule": "validValues", "validValues": ["a", "b"]}
    agreed = contract(
        {"name": "x", "quality": [valid, {"rule": "nullCheck"}], "logicalTypeOptions": {"minLength": 1}},
        {"name": "y", "quality": [{"rule": "duplicateCount", "mustBeLessThan": 2, "unit": "percent"}]},
        {"name": "z", "quality": [{"type": "text", "description": "never late"}]},
        apiVersion="v3.0.2",
    )
    rules = rules_of(agreed)
    assert [rule.name for rule in rules.rows] == ["x minLength", "x validValues", "x nullValues"]
    assert [(rule.name, rule.limits.text) for rule in rules.keys] == [("y duplicateValues", "< 2")]


def test_a_primary_key_has_the_order_of_its_positions():
    agreed = contract(
        {"name": "a", "primaryKey": True, "primaryKeyPosition": 2, "unique": True},
        {"name": "b", "physicalName": "B", "primaryKey": True, "primaryKeyPosition": 1},
    )
    assert [rule.columns for rule in rules_of(agreed).keys] == [("B", "a"), ("a",)]
    assert [rule.name for rule in rules_of(agreed).rows] == ["a required", "B required"]


def test_the_example_of_the_document_is_a_contract(repository: Path):
    text = (repository / "docs/data/contract.md").read_text(encoding="utf-8")
    agreed = parse_contract(text.partition("```yaml\n")[2].partition("```")[0], path="contract.md")
    assert (agreed.owner, agreed.purpose, agreed.strict) == ("Ann", "Paid trips, a row each", True)
    assert len(rules_of(agreed).rows) == 8


# Rows


def test_rows_that_do_not_fit_say_why_in_the_order_of_the_contract():
    agreed = contract(
        {"name": "id", "logicalType": "integer", "required": True, "logicalTypeOptions": {"minimum": 0}},
        {"name": "code", "logicalTypeOptions": {"pattern": "^[a-z]+$", "maxLength": 3}},
        {"name": "color", "quality": [{"metric": "invalidValues", "arguments": {"validValues": ["red", "blue"]}}]},
        {"name": "free"},
    )
    rows = pa.table(
        {
            "free": [1, 1, 1, 1],
            "color": ["red", "pink", None, "blue"],
            "code": ["ab", "ABCD", None, "é"],
            "id": pa.array([1, -1, None, 2]),
        }
    )
    assert row_problems(rows, agreed).to_pylist() == [
        None,
        "id: less than 0; code: longer than 3 characters; code: does not match ^[a-z]+$; "
        "color: not one of 'red', 'blue'",
        "id: missing",
        "code: does not match ^[a-z]+$",
    ]
    assert row_problems(rows.to_batches()[0], agreed).equals(row_problems(rows, agreed))
    assert row_problems(rows.slice(0, 1), agreed).equals(pa.nulls(1, pa.string()))
    assert row_problems(rows.slice(0, 0), agreed).equals(pa.nulls(0, pa.string()))
    chunked = pa.concat_tables([rows.slice(i, 1) for i in range(4)])
    assert row_problems(chunked, agreed).equals(row_problems(rows, agreed))


def test_rows_of_another_schema_are_refused():
    agreed = contract({"name": "id", "physicalType": "long"}, {"name": "x", "logicalTypeOptions": {"minimum": 1}})
    with pytest.raises(SchemaMismatchError, match="no column 'id'"):
        row_problems(pa.table({"x": [1]}), agreed)
    with pytest.raises(SchemaMismatchError, match="'id' is integer, the contract has long"):
        row_problems(pa.table({"id": pa.array([1], pa.int32()), "x": [1]}), agreed)
    with pytest.raises(SchemaMismatchError, match="x minimum makes no sense for string"):
        row_problems(pa.table({"id": [1], "x": ["a"]}), agreed)


def test_a_rule_that_tolerates_some_rows_blames_none():
    some = {"metric": "nullValues", "mustBeLessThan": 5, "unit": "percent"}
    none = {"metric": "nullValues", "mustBeLessThan": 1}
    assert (
        row_problems(pa.table({"x": [None, 1]}), contract({"name": "x", "quality": [some]})).to_pylist() == [None] * 2
    )
    assert row_problems(pa.table({"x": [None, 1]}), contract({"name": "x", "quality": [none]})).to_pylist() == [
        "x: missing",
        None,
    ]


def utc(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.UTC)


DECIMALS = pa.decimal128(10, 2)
EDGES = [
    # type, options, a value that fits, one that does not
    (pa.int64(), {"minimum": 0.5}, 1, 0),
    (pa.int64(), {"maximum": 2**53 + 1}, 2**53 + 1, 2**53 + 2),
    (pa.int64(), {"exclusiveMaximum": 10}, 9, 10),
    (pa.int64(), {"minimum": 9, "exclusiveMinimum": True}, 10, 9),
    (pa.int64(), {"exclusiveMinimum": 9.5}, 10, 9),
    (pa.int64(), {"maximum": -(2**70)}, None, 0),
    (pa.int64(), {"maximum": 2**70}, 0, None),
    (pa.int8(), {"minimum": -1}, -1, -2),
    (pa.uint64(), {"maximum": 2**63}, 2**63, 2**63 + 1),
    (pa.float32(), {"exclusiveMinimum": 0}, 0.1, 0),
    (pa.float64(), {"minimum": 0.1}, 0.1, 0.09999999999999999),
    (pa.float64(), {"minimum": 0}, math.nan, -math.inf),
    (pa.float64(), {"maximum": -(10**400)}, -math.inf, -1.7e308),
    (DECIMALS, {"minimum": 0.015}, Decimal("0.02"), Decimal("0.01")),
    (DECIMALS, {"exclusiveMaximum": 0.1}, Decimal("0.09"), Decimal("0.10")),
    (pa.decimal128(38, 0), {"maximum": 10**37}, Decimal(10**37), Decimal(10**37 + 1)),
    (pa.date32(), {"minimum": dt.date(2024, 1, 1)}, dt.date(2024, 1, 1), dt.date(2023, 12, 31)),
    (pa.date32(), {"maximum": "2024-01-01T12:00:00"}, dt.date(2024, 1, 1), dt.date(2024, 1, 2)),
    (
        pa.timestamp("us", "UTC"),
        {"maximum": "2024-01-01T01:00:00+01:00"},
        utc(2024, 1, 1),
        utc(2024, 1, 2),
    ),
    (pa.timestamp("ms"), {"exclusiveMinimum": "2024-01-01"}, utc(2024, 1, 1, 1), utc(2024, 1, 1)),
    (pa.string(), {"minLength": 2}, "éé", "é"),
    (pa.large_string(), {"pattern": "b"}, "abc", "ac"),
    (pa.dictionary(pa.int8(), pa.string()), {"maxLength": 1}, "a", "ab"),
]


@pytest.mark.parametrize(("kind", "options", "good", "bad"), EDGES, ids=[f"{e[0]}-{e[1]}" for e in EDGES])
def test_limits_are_exact_at_their_edges(kind, options, good, bad):
    agreed = contract({"name": "x", "logicalTypeOptions": options})
    found = row_problems(pa.table({"x": pa.array([good, bad, None], kind)}), agreed)
    assert [one is None for one in found.to_pylist()] == [True, bad is None, True]


@pytest.mark.parametrize(
    ("kind", "listed", "good", "bad"),
    [
        (pa.int32(), [1, 2.0, 3.5], 2, 3),
        (pa.uint64(), [2**64 - 1], 2**64 - 1, 1),
        (pa.float64(), [0.5, 1], 1.0, 0.25),
        (DECIMALS, [0.1, 2, 0.005], Decimal("0.10"), Decimal("0.01")),
        (pa.bool_(), [True], True, False),
        (pa.date32(), [dt.date(2024, 1, 1)], dt.date(2024, 1, 1), dt.date(2024, 1, 2)),
        (pa.timestamp("us", "UTC"), ["2024-01-01T00:00:00Z"], utc(2024, 1, 1), utc(2024, 1, 2)),
        (pa.string(), ["", "no"], "", "yes"),
    ],
)
def test_values_are_compared_by_what_they_mean(kind, listed, good, bad):
    column = pa.table({"x": pa.array([good, bad, None], kind)})
    valid = contract({"name": "x", "quality": [{"metric": "invalidValues", "arguments": {"validValues": listed}}]})
    assert [one is None for one in row_problems(column, valid).to_pylist()] == [True, False, True]
    absent = contract({"name": "x", "quality": [{"metric": "missingValues", "arguments": {"missingValues": listed}}]})
    assert [one is None for one in row_problems(column, absent).to_pylist()] == [False, True, True]


NUMBER = st.none() | st.integers(-(2**62), 2**62) | st.integers(-5, 5)


@given(st.lists(NUMBER, max_size=12), st.integers(-5, 5), st.integers(-5, 5), st.booleans())
def test_ranges_agree_with_plain_python(values, low, span, exclusive):
    high = low + abs(span)
    options = {"minimum": low, "exclusiveMinimum": exclusive, "maximum": high}
    found = row_problems(
        pa.table({"x": pa.array(values, pa.int64())}),
        contract({"name": "x", "required": True, "logicalTypeOptions": options}),
    )
    fits = [v is not None and (low < v if exclusive else low <= v) and v <= high for v in values]
    assert [one is None for one in found.to_pylist()] == fits


# Counts and verdicts


@given(st.lists(st.none() | st.integers(-3, 3), max_size=30), st.integers(1, 5))
def test_counts_of_parts_add_up_whatever_the_parts(values, size):
    agreed = contract({"name": "x", "required": True, "logicalTypeOptions": {"minimum": 0}})
    table = pa.table({"x": pa.array(values, pa.int64())})
    rules = rules_of(agreed)
    whole = no_rows(table.schema, rules)
    for batch in table.to_batches():
        whole += count(batch, rules, now=NOW)
    parts = no_rows(table.schema, rules)
    for batch in reversed(table.to_batches(max_chunksize=size)):
        parts += count(batch, rules, now=NOW)
    assert parts == whole
    required, minimum = whole.row_rules
    assert (whole.rows, required.n, required.broken) == (len(values), len(values), values.count(None))
    below = {v for v in values if v is not None and v < 0}
    assert minimum.broken == sum(v in below for v in values)
    assert minimum.examples == tuple(sorted(map(str, below))[:3])


KEYS = st.tuples(st.none() | st.integers(0, 3), st.none() | st.sampled_from(["a", "b"]) | st.text(max_size=2))


@given(st.lists(KEYS, max_size=40), st.integers(1, 7), st.integers(1, 4))
def test_repeated_keys_are_counted_exactly_over_parts(rows, size, parts):
    rule = KeyRule("key", ("a", "b"))
    table = pa.table(
        {"a": pa.array([r[0] for r in rows], pa.int64()), "b": pa.array([r[1] for r in rows], pa.string())}
    )
    dealt = [partitioned(keys_of(batch, rule), parts) for batch in table.to_batches(max_chunksize=size)]
    found = Found()
    for part in range(parts if dealt else 0):
        found += repeats([of_batch[part] for of_batch in dealt])
    complete = [r for r in rows if None not in r]
    assert (found.n, found.broken) == (len(complete), len(complete) - len(set(complete)))
    assert len(found.examples) == min(3, len({r for r in complete if complete.count(r) > 1}))


def test_keys_are_compared_as_values():
    rule = KeyRule("key", ("x",))
    floats = pa.table({"x": [0.0, -0.0, math.nan, math.nan, 1.0]})
    found = repeats(partitioned(keys_of(floats.to_batches()[0], rule), 1))
    assert (found.n, found.broken, found.examples) == (3, 1, ("0.0",))


def test_verdicts_say_what_broke_with_examples():
    agreed = contract(
        {"name": "id", "logicalType": "integer", "primaryKey": True},
        {"name": "x", "logicalType": "number", "logicalTypeOptions": {"minimum": 0}},
        {"name": "secret", "classification": "restricted", "logicalTypeOptions": {"maxLength": 1}},
        {"name": "at", "logicalType": "timestamp"},
        table={"quality": [{"metric": "rowCount", "mustBeBetween": [1, 3]}]},
        slaProperties=[{"property": "freshness", "value": 2, "unit": "h", "element": "t.at"}],
        customProperties=[{"property": "strict", "value": True}],
    )
    times = [NOW - dt.timedelta(hours=1), NOW + dt.timedelta(days=1), None, NOW - dt.timedelta(hours=5)]
    table = pa.table(
        {
            "id": [1, 1, 2, None],
            "x": [-1.5, 2, None, 3],
            "secret": ["ab", "c", "d", "e"],
            "at": pa.array(times, pa.timestamp("us", "UTC")),
            "more": [1, 2, 3, 4],
        }
    )
    found = judged(table, agreed)
    assert {name: one.verdict.status.value for name, one in found.items()} == {
        "id type": "PASS",
        "x type": "PASS",
        "secret exists": "PASS",
        "at type": "PASS",
        "no other columns": "FAIL",
        "id required": "FAIL",
        "x minimum": "FAIL",
        "secret maxLength": "FAIL",
        "primary key id": "FAIL",
        "row count": "FAIL",
        "freshness at": "PASS",
    }
    assert found["no other columns"].examples == ("more",)
    assert (found["x minimum"].examples, found["x minimum"].verdict.measurement.n) == (("-1.5",), 3)
    assert found["secret maxLength"].examples == ()
    assert found["primary key id"].examples == ("1",)
    assert found["row count"].limit == "between 1 and 3 rows"
    age = found["freshness at"].verdict.measurement
    assert (age.value, age.n, age.detail) == (1.0, 2, "1 values in the future")
    assert status_of(list(found.values())) is Status.FAIL


def test_no_data_is_never_a_pass():
    agreed = contract(
        {"name": "id", "logicalType": "integer", "unique": True, "required": True},
        {"name": "gone", "logicalTypeOptions": {"minimum": 0}},
        {"name": "x", "logicalType": "string"},
        table={
            "quality": [
                {"metric": "rowCount", "mustBeGreaterOrEqualTo": 0, "name": "any"},
                {"metric": "rowCount", "mustBeGreaterThan": 0, "name": "some"},
            ]
        },
        slaProperties=[{"property": "freshness", "value": 1, "unit": "d"}],
        customProperties=[{"property": "strict", "value": True}],
    )
    empty = pa.table({"id": pa.array([], pa.int64()), "x": pa.array([], pa.int64())})
    statuses = {name: one.verdict.status.value for name, one in judged(empty, agreed).items()}
    fails = {"gone exists", "x type", "some"}
    assert statuses == {name: "FAIL" if name in fails else "INCONCLUSIVE" for name in statuses}
    assert len(statuses) == 10


def test_a_rule_whose_column_has_no_value_is_inconclusive():
    table = pa.table({"x": pa.array([None, None], pa.int64())})
    found = judged(table, contract({"name": "x", "unique": True, "logicalTypeOptions": {"minimum": 0}}))
    assert found["x exists"].verdict.status is Status.PASS
    assert found["x minimum"].verdict.status is Status.INCONCLUSIVE
    assert found["x unique"].verdict.status is Status.INCONCLUSIVE


@pytest.mark.parametrize(
    ("operator", "good", "bad"),
    [
        ({"mustBe": 2}, [2], [1, 3]),
        ({"mustNotBe": 2}, [1, 3], [2]),
        ({"mustBeGreaterThan": 2}, [3], [2]),
        ({"mustBeGreaterOrEqualTo": 2}, [2, 3], [1]),
        ({"mustBeLessThan": 2}, [1], [2]),
        ({"mustBeLessOrEqualTo": 2}, [1, 2], [3]),
        ({"mustBeBetween": [2, 3]}, [2, 3], [1, 4]),
        ({"mustNotBeBetween": [2, 3]}, [1, 4], [2, 3]),
    ],
)
def test_operators(operator, good, bad):
    agreed = contract({"name": "x"}, table={"quality": [{"metric": "rowCount", **operator}]})
    for rows in (*good, *bad):
        found = judged(pa.table({"x": list(range(rows))}), agreed)["row count"].verdict.status
        assert found is (Status.PASS if rows in good else Status.FAIL), (operator, rows)


def test_a_percentage_is_of_the_rows_that_could_break_the_rule():
    rule = {"metric": "invalidValues", "validValues": [1], "unit": "percent", "mustBeLessOrEqualTo": 25, "name": "ones"}
    agreed = contract({"name": "x", "quality": [rule]})
    assert judged(pa.table({"x": [1, 1, 1, 2, None]}), agreed)["ones"].verdict.status is Status.PASS
    found = judged(pa.table({"x": [1, 1, 2, None, None]}), agreed)["ones"]
    assert (found.verdict.status, found.limit) == (Status.FAIL, "<= 25 percent")
    assert found.verdict.measurement.value == pytest.approx(100 / 3)


def test_freshness_of_dates_and_of_the_commit():
    day = contract({"name": "d"}, slaProperties=[{"property": "latency", "value": 1, "unit": "d", "element": "d"}])
    column = pa.array([NOW.date(), dt.date(1970, 1, 1)], pa.date32())
    assert judged(pa.table({"d": column}), day)["latency d"].verdict.measurement.value == 0.5
    only_later = judged(pa.table({"d": pa.array([dt.date(2999, 1, 1)])}), day)["latency d"].verdict
    assert only_later.status is Status.INCONCLUSIVE
    commit = contract({"name": "d"}, slaProperties=[{"property": "freshness", "value": 1, "unit": "d"}])
    old = judged(pa.table({"d": column}), commit, committed=NOW - dt.timedelta(days=2))["freshness of the commit"]
    assert (old.verdict.status, old.verdict.measurement.value) == (Status.FAIL, 2.0)
    ahead = judged(pa.table({"d": column}), commit, committed=NOW + dt.timedelta(days=2))["freshness of the commit"]
    assert (ahead.verdict.status, ahead.verdict.measurement.value) == (Status.PASS, 0.0)
    unknown = judged(pa.table({"d": column}), commit, committed=None)["freshness of the commit"]
    assert unknown.verdict.status is Status.INCONCLUSIVE


def test_a_date_of_the_first_version_may_be_a_time():
    time = pa.table({"d": pa.array([NOW], pa.timestamp("us", "UTC"))})
    date = {"name": "d", "logicalType": "date"}
    assert judged(time, contract(date, apiVersion="v3.0.2"))["d type"].verdict.status is Status.PASS
    assert judged(time, contract(date))["d type"].verdict.status is Status.FAIL


def test_a_failed_task_is_an_error_and_no_verdict_on_the_rows():
    agreed = contract(
        {"name": "x", "unique": True, "required": True}, table={"quality": [{"metric": "rowCount", "mustBe": 1}]}
    )
    rules, table = rules_of(agreed), pa.table({"x": [1]})
    found = verdicts(rules, Evidence(table.schema, 1, "a file is gone", ["a file is gone"], NOW, NOW))
    assert [one.verdict.status.value for one in found] == ["PASS", "ERROR", "ERROR", "PASS"]
    assert found[1].verdict.reason == "a file is gone"
    assert status_of(found) is Status.ERROR


# The draft


def drafted(table: pa.Table, *, batch_rows: int = 1_000) -> str:
    found: dict[str, Survey] = {}
    for batch in table.to_batches(max_chunksize=batch_rows):
        found = merged(found, survey(batch))
    unique = set()
    for name in may_be_unique(table.schema, found):
        keys = [keys_of(batch, KeyRule(name, (name,))) for batch in table.to_batches()]
        if repeats(keys).broken == 0:
            unique.add(name)
    return draft(table="t", told="a test", schema=table.schema, rows=table.num_rows, found=found, unique=unique)


COLUMNS = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1) | st.integers(-20, 20),
    pa.int8(): st.integers(-128, 127),
    pa.float64(): st.floats() | st.floats(-10, 10),
    pa.float32(): st.floats(width=32),
    pa.decimal128(38, 20): st.integers(-(10**37), 10**37).map(lambda whole: decimal_at(whole, 20)),
    pa.decimal128(9, 2): st.integers(-99_999, 99_999).map(lambda whole: decimal_at(whole, 2)),
    pa.string(): st.text(max_size=4) | st.sampled_from(["yes", "null", "1", "2024-01-01", "", "~", "\n", "a: b", "#"]),
    pa.bool_(): st.booleans(),
    pa.date32(): st.dates(),
    pa.timestamp("us", "UTC"): st.datetimes(timezones=st.just(dt.UTC)),
    pa.timestamp("us"): st.datetimes(),
    pa.binary(): st.binary(max_size=3),
    pa.list_(pa.int64()): st.lists(st.integers(0, 3), max_size=2),
}


@st.composite
def small_tables(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(1, 25))
    kinds = draw(st.lists(st.sampled_from(list(COLUMNS)), min_size=1, max_size=4))
    names = draw(st.lists(st.text(min_size=1, max_size=6) | st.just("id"), min_size=4, max_size=4, unique=True))
    columns = {}
    for name, kind in zip(names, kinds, strict=False):
        values = COLUMNS[kind] if draw(st.booleans()) else st.none() | COLUMNS[kind]
        columns[name] = pa.array(draw(st.lists(values, min_size=rows, max_size=rows)), kind)
    return pa.table(columns)


@settings(max_examples=100, deadline=None)
@given(small_tables(), st.integers(1, 30))
def test_what_was_drafted_from_rows_is_passed_by_them(table, batch_rows):
    text = drafted(table, batch_rows=batch_rows)
    agreed = parse_contract(text, path="c.yaml")
    found = judged(table, agreed)
    assert {one.verdict.line() for one in found.values() if one.verdict.status is not Status.PASS} == set()
    assert row_problems(table, agreed).null_count == table.num_rows


def test_a_draft_says_what_was_found_with_room():
    table = pa.table(
        {
            "id": [f"k{i:03}" for i in range(100)],
            "amount": [0.37 + 48.1 * i for i in range(100)],
            "kind": pa.array([None, *["a", "b"] * 49, "no"]),
            "day": [dt.date(2013, 3, 4) + dt.timedelta(days=i) for i in range(100)],
            "constant": [7] * 100,
        }
    )
    text = drafted(table)
    found = {p.name: p for p in parse_contract(text, path="c.yaml").table.properties}
    assert (found["id"].unique, found["id"].required, found["id"].physicalType) == (True, True, "string")
    numbered = pa.table({"order_id": [5, 6, 7], "x": [5, 6, 7]})
    order, x = parse_contract(drafted(numbered), path="c.yaml").table.properties
    assert (order.unique, order.logicalTypeOptions.maximum, x.unique, x.logicalTypeOptions.maximum) == (
        True,
        None,
        False,
        7,
    )
    assert not found["amount"].unique
    options = found["amount"].logicalTypeOptions
    assert (options.minimum, options.maximum) == (0, 5000)
    assert not found["kind"].required
    assert found["kind"].quality[0].allowed == ("a", "b", "no")
    assert "# required: true  # 1 of 100 values are missing" in text
    assert "# unique: true  # all 100 values differ" in text
    assert (found["day"].unique, found["day"].logicalTypeOptions.minimum) == (False, "2013-01-01")
    assert found["day"].logicalTypeOptions.maximum is None
    assert (found["constant"].logicalTypeOptions.minimum, found["constant"].logicalTypeOptions.maximum) == (7, 7)
    assert "mustBeBetween: [50, 1000]  # found 100" in text
    other = table.set_column(2, "kind", pa.array(["c"] * 100))
    assert judged(other, parse_contract(text, path="c.yaml"))["kind validValues"].examples == ("c",)


@pytest.mark.parametrize(
    ("low", "high", "limits"),
    [
        (3, 4823, (0, 5000)),
        (1998, 2024, (1990, 2030)),
        (-0.4, 0.97, (-1, 1)),
        (0.0213, 0.0288, (0.021, 0.029)),
        (Decimal("123456789012345678.91"), Decimal("123456789012345678.93"), (123456789012345678, 123456789012345679)),
        (5e-324, 1.7e308, (0, None)),
        (7, 7, (7, 7)),
        (0, 0, (0, 0)),
    ],
)
def test_ends_are_rounded_away_from_each_other(low, high, limits):
    assert outward(low, high) == limits

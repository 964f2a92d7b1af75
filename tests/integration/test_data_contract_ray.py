"""Versions held against contracts by Ray tasks: many files, partition columns, keys across files, missing files."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from deltalake import DeltaTable

from sluiceway.catalog.tags import TagStore
from sluiceway.core.references import TableVersion
from sluiceway.core.verdict import Status
from sluiceway.data import commit, ray_files
from sluiceway.data.contract.load import parse_contract
from sluiceway.data.contract.model import Contract
from sluiceway.data.contract.verdicts import RuleVerdict, status_of
from sluiceway.data.ray_contract import check_version
from sluiceway.data.ray_contract_draft import draft_contract
from sluiceway.data.references import resolve

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_cluster")]


def contract(*properties: dict[str, Any], **more: Any) -> Contract:
    table = {"name": "t", "properties": list(properties), **more.pop("table", {})}
    head = {"apiVersion": "v3.1.0", "kind": "DataContract", "id": "t", "version": "1.0.0", "status": "active"}
    return parse_contract(yaml.safe_dump({**head, "schema": [table], **more}), path="c.yaml")


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return str(tmp_path / "table")


@pytest.fixture(autouse=True)
def a_task_for_each_file(monkeypatch):
    """So that small tables are merged from many tasks, as large ones are."""
    monkeypatch.setattr(ray_files, "BYTES_PER_TASK", 1)


@pytest.fixture
def tags(catalog) -> TagStore:
    return TagStore(catalog)


def added(uri: str, table: pa.Table, **options: Any) -> None:
    commit.append(uri, table, message="rows", source="test", **options)


def checked(version: TableVersion, agreed: Contract, **options: Any) -> dict[str, RuleVerdict]:
    now = options.pop("now", dt.datetime.now(dt.UTC))
    return {one.verdict.check: one for one in check_version(version, agreed, now=now, **options)}


def statuses(found: dict[str, RuleVerdict]) -> dict[str, str]:
    return {name: one.verdict.status.value for name, one in found.items()}


def test_rows_of_all_files_are_counted(uri, tags):
    for start in (0, 100, 200):
        ids = np.arange(start, start + 100)
        shops = pa.array([None if i % 10 == 0 else f"s{i % 3}" for i in ids])
        added(uri, pa.table({"id": ids, "x": np.sqrt(ids), "shop": shops}), partition_by=("shop",))
    agreed = contract(
        {"name": "id", "physicalType": "long", "primaryKey": True, "logicalTypeOptions": {"maximum": 289}},
        {"name": "x", "logicalType": "number", "logicalTypeOptions": {"minimum": 1.5}},
        {
            "name": "shop",
            "required": True,
            "quality": [{"metric": "invalidValues", "arguments": {"validValues": ["s0", "s1"]}}],
        },
        table={"quality": [{"metric": "rowCount", "mustBeBetween": [300, 300]}]},
        slaProperties=[{"property": "freshness", "value": 1, "unit": "d"}],
    )
    version = resolve(uri, None, tags=tags, allow_empty=True)
    assert len(DeltaTable(uri).file_uris()) == 12
    found = checked(version, agreed)
    counted = {name: one.verdict.measurement for name, one in found.items()}
    assert (counted["id required"].value, counted["id required"].n) == (0, 300)
    assert (counted["id maximum"].value, found["id maximum"].examples) == (10, ("290", "291", "292"))
    assert (counted["x minimum"].value, counted["x minimum"].n) == (3, 300)
    assert (counted["shop required"].value, counted["shop required"].n) == (30, 300)
    assert found["shop validValues"].examples == ("s2",)
    assert counted["shop validValues"].n == 270
    assert counted["primary key id"].n == 300
    passed = {name for name, status in statuses(found).items() if status == "PASS"}
    assert passed >= {"id type", "primary key id", "row count", "freshness of the commit", "id required"}
    assert set(statuses(found)) - passed == {"id maximum", "x minimum", "shop required", "shop validValues"}
    old = checked(resolve(uri, "0", tags=tags), agreed)
    assert statuses(old)["row count"] == "FAIL"
    assert statuses(old)["id maximum"] == "PASS"


@pytest.mark.parametrize("rows_per_part", [10, 1_000_000])
def test_keys_that_repeat_in_other_files_are_found_exactly(uri, tags, rows_per_part):
    # 3 and 7 are in two files each, 7 three times; b repeats only together with a.
    for ids in (range(40), [*range(40, 80), 3, 7], [*range(80, 100), 7]):
        table = pa.table({"a": pa.array(list(ids), pa.int64()), "b": [f"b{i % 2}" for i in ids]})
        added(uri, table.append_column("c", pa.array([Decimal(i) for i in ids], pa.decimal128(12, 3))))
    agreed = contract(
        {"name": "a", "unique": True},
        {"name": "b", "quality": [{"metric": "duplicateValues", "mustBe": 101, "name": "b repeats"}]},
        {"name": "c", "unique": True},
        table={
            "quality": [
                {"metric": "duplicateValues", "arguments": {"properties": ["b", "a"]}, "mustBeLessOrEqualTo": 3},
            ]
        },
    )
    found = checked(resolve(uri, None, tags=tags, allow_empty=True), agreed, rows_per_part=rows_per_part)
    values = {name: one.verdict.measurement.value for name, one in found.items()}
    assert (values["a unique"], values["c unique"], values["b repeats"]) == (3, 3, 101)
    assert found["a unique"].examples == ("3", "7")
    assert found["duplicateValues b, a"].examples == ("b1, 3", "b1, 7")
    assert statuses(found)["duplicateValues b, a"] == "PASS"
    assert statuses(found)["a unique"] == "FAIL"


def test_age_is_that_of_the_newest_value_not_in_the_future(uri, tags):
    now = dt.datetime.now(dt.UTC)
    for hours in ([30, 5], [9, -1]):
        times = [now - dt.timedelta(hours=h) for h in hours]
        added(uri, pa.table({"at": pa.array(times, pa.timestamp("us", "UTC"))}))
    agreed = contract(
        {"name": "at"}, slaProperties=[{"property": "freshness", "value": 6, "unit": "h", "element": "at"}]
    )
    version = resolve(uri, None, tags=tags, allow_empty=True)
    one = checked(version, agreed, now=now)["freshness at"].verdict
    assert (one.status, one.measurement.value, one.measurement.n) == (Status.PASS, pytest.approx(5), 3)
    later = checked(version, agreed, now=now + dt.timedelta(hours=8))["freshness at"].verdict
    assert (later.status, later.measurement.value) == (Status.FAIL, pytest.approx(7))


def test_an_empty_version_does_not_pass(uri, tags):
    agreed = contract(
        {"name": "id", "physicalType": "long", "unique": True, "required": True},
        table={"quality": [{"metric": "rowCount", "mustBeGreaterOrEqualTo": 0}]},
        slaProperties=[{"property": "freshness", "value": 1, "unit": "d"}],
    )
    added(uri, pa.table({"id": pa.array([], pa.int64())}))
    version = resolve(uri, None, tags=tags, allow_empty=True)
    assert (version.version, version.rows) == (0, 0)
    found = checked(version, agreed)
    assert set(statuses(found).values()) == {"INCONCLUSIVE"}
    assert len(found) == 5


def test_a_file_that_is_gone_is_an_error_of_the_rules_that_need_it(uri, tags, caplog):
    added(uri, pa.table({"id": [1, 2]}))
    added(uri, pa.table({"id": [3, 4]}))
    version = resolve(uri, None, tags=tags, allow_empty=True)
    Path(DeltaTable(uri).file_uris()[0]).unlink()
    agreed = contract(
        {"name": "id", "physicalType": "long", "unique": True, "required": True},
        table={"quality": [{"metric": "rowCount", "mustBe": 4}]},
    )
    found = checked(version, agreed)
    assert statuses(found) == {"id type": "PASS", "id required": "ERROR", "id unique": "ERROR", "row count": "PASS"}
    assert "is gone" in found["id required"].verdict.reason
    assert status_of(list(found.values())) is Status.ERROR
    assert "Unhandled error" not in caplog.text


def test_a_file_that_is_broken_is_told_in_one_line(uri, tags):
    added(uri, pa.table({"id": [1, 2]}))
    version = resolve(uri, None, tags=tags, allow_empty=True)
    path = Path(DeltaTable(uri).file_uris()[0])
    path.write_bytes(b"x" * path.stat().st_size)
    found = checked(version, contract({"name": "id", "required": True}))
    assert statuses(found) == {"id exists": "PASS", "id required": "ERROR"}
    reason = found["id required"].verdict.reason
    assert "Parquet" in reason
    assert "\n" not in reason


@pytest.mark.parametrize("rows_per_part", [7, 1_000_000])
def test_a_draft_is_of_all_files_and_its_version_passes_it(uri, tags, rows_per_part):
    for start in (0, 30, 60):
        ids = np.arange(start, start + 30)
        columns = {
            "order_id": pa.array(ids),
            "line_id": pa.array(ids % 45),  # repeats in another file only
            "code": pa.array([f"c{i}" for i in ids]),
            "day": pa.array([dt.date(2020, 5, 1 + i % 2) for i in ids]),
            "x": pa.array([None if i == 50 else float(i) for i in ids]),
        }
        added(uri, pa.table(columns), partition_by=("day",))
    version = resolve(uri, None, tags=tags, allow_empty=True)
    text = draft_contract(version, rows_per_part=rows_per_part)
    agreed = parse_contract(text, path="c.yaml")
    properties = {p.name: p for p in agreed.table.properties}
    assert [name for name, p in properties.items() if p.unique] == ["order_id"]
    assert "# unique: true  # all 90 values differ" in text
    assert properties["line_id"].logicalTypeOptions.maximum == 50
    assert properties["day"].logicalTypeOptions.minimum == "2020-01-01"
    assert [name for name, p in properties.items() if not p.required] == ["x"]
    assert set(statuses(checked(version, agreed)).values()) == {"PASS"}

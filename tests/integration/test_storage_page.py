"""The lifecycle rules of docs/data/storage.md, against the keys that real tables have; and the page's commands."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import obstore
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from obstore.store import from_url

import s3_gateway
from command_line import sluiceway
from sluiceway.catalog.repository import RepositoryStore
from sluiceway.core.clock import SystemClock
from sluiceway.data import commit
from sluiceway.data.repository import Repository

pytestmark = pytest.mark.integration


def page(repository: Path) -> str:
    return (repository / "docs/data/storage.md").read_text(encoding="utf-8")


@pytest.fixture
def configuration(repository) -> dict[str, Any]:
    shown = page(repository).split("<!-- lifecycle -->")[1].split("<!-- /lifecycle -->")[0]
    return json.loads(shown.replace("```json", "").replace("```", ""))


def touches(rule: dict[str, Any]) -> bool:
    """Whether a rule does anything to a present object."""
    expiration = rule.get("Expiration", {})
    return bool(rule.get("Transitions")) or any(key != "ExpiredObjectDeleteMarker" for key in expiration)


def prefix(rule: dict[str, Any]) -> str:
    assert set(rule["Filter"]) == {"Prefix"}
    return rule["Filter"]["Prefix"]


def test_no_rule_can_match_a_key_of_a_log(configuration):
    active = [prefix(rule) for rule in configuration["Rules"] if touches(rule)]
    assert active
    for beginning in active:
        table, _, name = beginning.rpartition("/")
        # It has to tell data files from everything that begins with an underscore, in the table's own folder.
        assert table
        assert re.match("[a-z]", name), beginning
        assert "_delta_log" not in beginning
        assert not f"{table}/_delta_log/00000000000000000000.json".startswith(beginning)


def test_no_rule_archives_what_readers_have_to_wait_for(configuration):
    classes = {move["StorageClass"] for rule in configuration["Rules"] for move in rule.get("Transitions", [])}
    assert classes
    assert classes <= {"INTELLIGENT_TIERING", "STANDARD_IA", "GLACIER_IR"}


def test_the_rules_meet_the_data_files_of_real_tables_and_nothing_else(configuration, catalog, monkeypatch):
    with s3_gateway.running() as address:
        for name, value in s3_gateway.environment(address).items():
            monkeypatch.setenv(name, value)
        bucket = s3_gateway.new_bucket(address)
        sales, events = f"{bucket}/tables/sales", f"{bucket}/tables/events"
        lake = Repository(RepositoryStore(catalog), SystemClock())
        for number in range(2):
            commit.append(sales, pa.table({"id": [number]}), message="rows", source="test")
            commit.append(
                events,
                pa.table({"id": [number], "day": [f"2026-11-0{number + 1}"]}),
                message="rows",
                source="test",
                partition_by=("day",),
            )
        lake.add(sales)
        lake.add(events)
        lake.commit(message="first")
        lake.branch("exp")
        for table in (sales, events):
            rows = DeltaTable(table).to_pyarrow_table()
            commit.append(lake.place_to_write(table, "exp"), rows, message="rows", source="test")
            DeltaTable(table).create_checkpoint()
        keys = [str(meta["path"]) for part in obstore.list(from_url(bucket)) for meta in part]
        live = {uri.removeprefix(f"{bucket}/") for table in (sales, events) for uri in DeltaTable(table).file_uris()}
        put_rules(address, bucket, configuration)
    active = [rule for rule in configuration["Rules"] if touches(rule)]
    met = {key: [rule["ID"] for rule in active if key.startswith(prefix(rule))] for key in keys}
    assert {key for key, rules in met.items() if rules} == live
    assert all(len(rules) <= 1 for rules in met.values())
    logs = [key for key in keys if "/_delta_log/" in key]
    assert len([key for key in logs if "_branches" in key]) >= 2
    assert any(key.endswith(".parquet") for key in logs)
    assert any(key.endswith("_last_checkpoint") for key in logs)
    assert any(re.search(r"_branches/\w+/.*part-", key) for key in keys)


def put_rules(address: str, bucket: str, configuration: dict[str, Any]) -> None:
    """The store takes the rules as they are, and gives them back."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import boto3  # noqa: PLC0415 (it comes with moto)

        client = boto3.client("s3", endpoint_url=address, region_name="us-east-1")
        name = bucket.removeprefix("s3://")
        client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration=configuration)
        given = client.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    assert [rule["ID"] for rule in given] == [rule["ID"] for rule in configuration["Rules"]]


def test_cold_history_is_archived_by_the_commands_of_the_page(repository, tmp_path, ray_cluster, monkeypatch):
    monkeypatch.setattr("sluiceway.wiring.cluster.disconnect", lambda: None)
    for number in range(3):
        commit.append(str(tmp_path / "lake/events"), pa.table({"id": [number]}), message="rows", source="test")
    lines = [line.strip() for line in page(repository).splitlines() if line.startswith("    sluiceway ")]
    assert len(lines) == 2
    for line in lines:
        words = re.findall(r'"[^"]*"|\S+', line.replace("@1841", "@1"))
        sluiceway(tmp_path, *(word.strip('"') for word in words[1:]))
    rows = {
        name: sluiceway(tmp_path, "data", "digest", name)["rows"]
        for name in ("lake/events@end-of-2023", "archive/events-2023", "lake/events")
    }
    assert rows["archive/events-2023"] == rows["lake/events@end-of-2023"] != rows["lake/events"]

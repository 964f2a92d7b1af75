"""Ingest from and into an object store, and the races there: moto's S3, over HTTP on this machine."""

from __future__ import annotations

import random
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

import s3_gateway
from data_actors import actors
from ingest_victim import victims
from raced_table import RacedTable
from sluiceway.data import commit, history, tables

pytestmark = pytest.mark.integration

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: sales
version: 1.0.0
status: active
schema:
  - name: sales
    properties:
      - name: value
        logicalType: integer
        logicalTypeOptions:
          minimum: 0
"""


@pytest.fixture(scope="module")
def ingesting(s3_server):
    """A driver with a Ray of its own, all of whose processes know the store by their environment."""
    with victims(s3_gateway.environment(s3_server) | {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}) as one:
        yield one


def rows(*ids: int, value: int = 0) -> pa.Table:
    shops = [f"s {i % 2}" for i in ids]
    return pa.table({"id": pa.array(ids, pa.int64()), "value": pa.array([value] * len(ids), pa.int64()), "shop": shops})


def put(bucket: str, name: str, table: pa.Table) -> str:
    """A source in the bucket."""
    store, path = pyarrow.fs.FileSystem.from_uri(bucket)
    write = pq.write_table if name.endswith("parquet") else pv.write_csv
    with store.open_output_stream(f"{path}/{name}") as out:
        write(table, out)
    return f"{bucket}/{name}"


def files(uri: str) -> list[str]:
    return [f"{uri}/{path}" for path in tables.files(tables.open_table(uri))["path"].to_pylist()]


def held(uri: str) -> list[tuple[int, int]]:
    found = tables.open_table(uri).to_pyarrow_table()
    return sorted(zip(found["id"].to_pylist(), found["value"].to_pylist(), strict=True))


def zeros(*ids: int, value: int = 0) -> list[tuple[int, int]]:
    return [(i, value) for i in ids]


@pytest.mark.parametrize("name", ["sales", "my tables/sales 50%"])
def test_every_mode(bucket, ingesting, name):
    uri = f"{bucket}/{name}"

    def ingest(source: str, **request):
        told = ingesting.ingest(sources=[source], uri=uri, request=request)
        assert "error" not in told, told["message"]
        return told

    first = put(bucket, "in/a.parquet", rows(*range(6)))
    assert ingest(first, partition_by=("shop",), batch_id="b1", message="first")["version"] == 0
    assert ingest(first, batch_id="b1")["skipped"]
    assert held(uri) == zeros(*range(6))
    told = ingest(put(bucket, "in/b.csv", rows(6, 7)))
    assert (told["version"], told["rows"]) == (1, 2)
    assert held(uri) == zeros(*range(8))
    ingest(put(bucket, "in/c.parquet", rows(0, 8, value=1)), mode="upsert", key=("id",))
    assert held(uri) == sorted(zeros(*range(1, 8)) + zeros(0, 8, value=1))
    gone = ingest(put(bucket, "in/d.csv", rows(1, 2)), mode="delete", key=("id",))
    assert gone["deleted"] == 2
    assert held(uri) == sorted(zeros(*range(3, 8)) + zeros(0, 8, value=1))
    ingest(put(bucket, "in/e.parquet", rows(101)), mode="partition-overwrite")
    assert held(uri) == sorted(zeros(4, 6, 101) + zeros(0, 8, value=1))
    more = rows(9).append_column("new", pa.array([1]))
    assert ingest(put(bucket, "in/f.parquet", more), evolve=True)["added_columns"] == ["new"]
    ingest(f"{bucket}/in/[ac].parquet", mode="overwrite", evolve=True)
    assert held(uri) == sorted(zeros(*range(6)) + zeros(0, 8, value=1))
    assert [info.rows for info in history.log(uri)] == [8, 1, 1, 2, 2, 2, 6]
    copied = ingesting.ingest(sources=[uri], uri=f"{uri} again", request={"mode": "overwrite"})
    assert "error" not in copied, copied["message"]
    assert copied["rows"] == 8
    assert held(f"{uri} again") == held(uri)


def test_misfits_go_beside_and_what_fails_leaves_nothing(bucket, ingesting):
    uri = f"{bucket}/sales"
    commit.append(uri, rows(1), message="first", source="test")
    store, path = pyarrow.fs.FileSystem.from_uri(bucket)
    with store.open_output_stream(f"{path}/sales/_contract.yaml") as out:
        out.write(CONTRACT.encode())
    source = put(bucket, "in/a.csv", pa.concat_tables([rows(2, 3), rows(4, value=-1)]))
    refused = ingesting.ingest(sources=[source], uri=uri, request={"strict": True})
    assert refused["quarantined"] == 1
    assert "1 rows break the contract" in refused["refused"]
    assert not tables.is_table(f"{uri}_quarantine")
    for again in (False, True):
        told = ingesting.ingest(sources=[source], uri=uri, request={"batch_id": "b"})
        assert (told["skipped"], told["rows"]) == (again, 2)
        assert (held(uri), held(f"{uri}_quarantine")) == (zeros(1, 2, 3), zeros(4, value=-1))
    broken = put(bucket, "in/b.csv", pa.table({"id": ["x"], "value": [1], "shop": ["s"]}))
    assert ingesting.ingest(sources=[source, broken], uri=uri, request={})["error"] == "DataError"
    new = ingesting.ingest(sources=[put(bucket, "in/c.csv", rows(1)), broken], uri=f"{bucket}/new", request={})
    assert new["error"] == "SchemaMismatchError"
    with store.open_output_stream(f"{path}/sales/_contract.yaml") as out:
        out.write(b"version: [")
    wrong = ingesting.ingest(sources=[source], uri=uri, request={})
    assert (wrong["error"], "sales/_contract.yaml is not YAML" in wrong["message"]) == ("ConfigError", True)
    listed = store.get_file_info(pyarrow.fs.FileSelector(path, recursive=True))
    there = sorted(one.path.removeprefix(path) for one in listed if one.path.endswith(".parquet"))
    named = sorted(unquote(name) for place in (uri, f"{uri}_quarantine") for name in files(place))
    assert there == [name.removeprefix(bucket) for name in named]


@pytest.fixture(scope="module")
def pair(s3_server):
    with actors(2, s3_gateway.environment(s3_server)) as both:
        yield both


def test_racing_appends_lose_nothing_and_double_nothing(bucket, pair, tmp_path):
    table = RacedTable(f"{bucket}/my table", pair, tmp_path)
    one, other = (
        [table.op("append") if number % 2 else table.op("files", mode="append") for number in range(10)]
        for _ in range(2)
    )
    told = table.race(one, other)
    assert not [answer for answer in told if "refused" in answer]
    assert len(table.check(every=5)) == 21


def test_of_racing_overwrites_the_last_holds(bucket, pair, tmp_path):
    table = RacedTable(f"{bucket}/my table", pair, tmp_path)
    kinds = ({}, {"mode": "overwrite"}, {"mode": "partition-overwrite"})
    programs = [[table.op("files" if more else "overwrite", 2, **more) for more in kinds * 2] for _ in range(2)]
    table.race(*programs)
    assert len(table.check()) == 13


@pytest.mark.parametrize("seed", range(2))
def test_random_programs_side_by_side(bucket, pair, tmp_path, seed):
    table, chance = RacedTable(f"{bucket}/t", pair, tmp_path), random.Random(seed)
    table.race(*([table.anything(chance) for _ in range(6)] for _ in range(2)))
    table.check()

"""A checkpoint gives the same state as the entries that it stands for, and as reading it row by row."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from sluiceway.data import delta_log

pytestmark = pytest.mark.integration

TEXTS = st.sampled_from(["a", "b c", "ü", ""])
MAPS = st.dictionaries(TEXTS, st.none() | TEXTS, max_size=3)
MAP = pa.map_(pa.string(), pa.string())
ADD = pa.struct(
    {
        "path": pa.string(),
        "partitionValues": MAP,
        "size": pa.int64(),
        "modificationTime": pa.int64(),
        "dataChange": pa.bool_(),
        "stats": pa.string(),
        "tags": MAP,
        "deletionVector": pa.struct({"storageType": pa.string(), "cardinality": pa.int64()}),
        "stats_parsed": pa.struct({"numRecords": pa.int64()}),
    }
)
METADATA = pa.struct({"id": pa.string(), "schemaString": pa.string(), "configuration": MAP, "createdTime": pa.int64()})
PROTOCOL = pa.struct({"minReaderVersion": pa.int32(), "writerFeatures": pa.list_(pa.string())})
TXN = pa.struct({"appId": pa.string(), "version": pa.int64(), "lastUpdated": pa.int64()})
COLUMNS = {
    "add": ADD,
    "metaData": METADATA,
    "protocol": PROTOCOL,
    "txn": TXN,
    "remove": pa.struct({"path": pa.string()}),
}


@st.composite
def rows(draw):
    """Rows of a checkpoint, in any order: each has one action."""
    adds = st.fixed_dictionaries(
        {"path": st.uuids().map(str), "partitionValues": MAPS, "size": st.integers(0, 2**40)},
        optional={
            "dataChange": st.booleans(),
            "stats": TEXTS,
            "tags": st.none() | MAPS,
            "deletionVector": st.none() | st.fixed_dictionaries({"storageType": TEXTS, "cardinality": st.none()}),
            "stats_parsed": st.just({"numRecords": 3}),
        },
    )
    made = [{"add": add} for add in draw(st.lists(adds, max_size=12))]
    made += [{"txn": {"appId": app, "version": 3}} for app in draw(st.sets(TEXTS, max_size=2))]
    made += [{"remove": {"path": "gone"}} for _ in range(draw(st.integers(0, 2)))]
    made += [{"protocol": {"minReaderVersion": 1, "writerFeatures": draw(st.none() | st.lists(TEXTS, max_size=2))}}]
    made += [{"metaData": {"id": "x", "schemaString": "{}", "configuration": draw(MAPS)}}]
    return draw(st.permutations(made))


def checkpoint(actions) -> bytes:
    columns = {name: pa.array([action.get(name) for action in actions], kind) for name, kind in COLUMNS.items()}
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, row_group_size=5)
    return out.getvalue()


def by_rows(content: bytes) -> delta_log._Replayed:
    """The plain way."""
    state = delta_log._Replayed()
    table = pq.read_table(io.BytesIO(content)).drop_columns(["remove"])
    for row in table.to_pylist(maps_as_pydicts="strict"):
        (row.get("add") or {}).pop("stats_parsed", None)
        state._take({name: value for name, value in row.items() if value is not None})
    return state


@settings(max_examples=150, deadline=None)
@given(rows())
def test_columns_give_what_rows_give(actions):
    content = checkpoint(actions)
    found, expected = delta_log._Replayed(), by_rows(content)
    found.take_checkpoint(content)
    assert vars(found) == vars(expected)
    assert list(found.adds) == list(expected.adds)


def test_a_checkpoint_stands_for_its_entries(tmp_path: Path):
    uri = str(tmp_path / "t")
    for number in range(4):
        table = pa.table({"n": [number, number + 10], "part": ["a b", None]})
        write_deltalake(uri, table, mode="append", partition_by=["part"])
    DeltaTable(uri).delete("n = 2")
    version = DeltaTable(uri).version()
    before = delta_log.replay(uri, version)
    DeltaTable(uri).create_checkpoint()
    for entry in Path(uri, "_delta_log").glob("*.json"):
        entry.unlink()
    after = delta_log.replay(uri, version)
    assert after.metadata["schemaString"] == before.metadata["schemaString"]
    assert after.protocol == before.protocol
    assert {path: _known(add) for path, add in after.adds.items()} == {p: _known(a) for p, a in before.adds.items()}


def _known(add: delta_log.Action) -> tuple[object, ...]:
    return add["partitionValues"], add["size"], json.loads(add["stats"])

"""A table of very many files that is a log only: what opening, planning and branching cost does not depend on rows."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, Schema

from sluiceway.data import delta_log

PARTITION = "day"
COLUMNS = pa.schema(
    [
        ("id", pa.int64()),
        ("amount", pa.float64()),
        ("shop", pa.string()),
        ("quantity", pa.int32()),
        (PARTITION, pa.string()),
    ]
)
# Of a file, by its entry in the log.
ROWS = 2


def make_log(uri: str, *, files: int, partitions: int) -> None:
    """Write a log that names files, with statistics of four columns, and its checkpoint; no file is there.

    Args:
        uri: an empty place.
        files: how many.
        partitions: into how many values of ``day`` they are dealt.
    """
    schema = Schema.from_arrow(COLUMNS).to_json()
    table = {"id": "many-files", "format": {"provider": "parquet", "options": {}}, "schemaString": schema}
    actions = [
        delta_log.commit_info("WRITE", {}),
        {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}},
        {"metaData": table | {"partitionColumns": [PARTITION], "configuration": {}, "createdTime": 0}},
        *({"add": _add(number, f"d{number % partitions:03}")} for number in range(files)),
    ]
    delta_log.write_entry(uri, 0, actions)
    DeltaTable(uri).create_checkpoint()


def lay_files(uri: str, paths: list[str]) -> None:
    """Put one small file where the log names many: names of the same one."""
    rows = pa.table(
        [pa.array([1, 2]).cast(field.type) for field in COLUMNS if field.name != PARTITION], COLUMNS.names[:-1]
    )
    one = Path(uri) / "_one.parquet"
    pq.write_table(rows, one)
    for path in paths:
        (Path(uri) / path).parent.mkdir(exist_ok=True)
        os.link(one, Path(uri) / path)


def _add(number: int, partition: str) -> delta_log.Action:
    low = {"id": number * 1000, "amount": 0.5, "shop": "aachen", "quantity": 1}
    high = {"id": number * 1000 + 999, "amount": 99.5, "shop": "zwolle", "quantity": 40}
    stats = {"numRecords": ROWS, "minValues": low, "maxValues": high, "nullCount": dict.fromkeys(low, 0)}
    return {
        "path": f"{PARTITION}={partition}/part-{number:06}-5f0c6a0e-3c3d-4a4e-9f9f-2a3b4c5d6e7f-c000.snappy.parquet",
        "partitionValues": {PARTITION: partition},
        "size": 200_000_000 + number,
        "modificationTime": 1_700_000_000_000,
        "dataChange": True,
        "stats": json.dumps(stats, separators=(",", ":")),
    }

"""Rows by partition: the text that the log keeps for a value, and the folder that a file goes to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.core.errors import DataError

NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"
# A file's partition: the text of each partition column, None for null.
Partition: TypeAlias = tuple[str | None, ...]


def refuse_unpartitionable(schema: pa.Schema, columns: Sequence[str]) -> None:
    """Refuse columns that cannot name a folder.

    Raises:
        DataError: a column is not there, or its type has no text that every reader takes for the same value.
    """
    for name in columns:
        if name not in schema.names:
            raise DataError(f"there is no column {name} to partition by", hint=f"columns: {', '.join(schema.names)}")
        kind = schema.field(name).type
        if pa.types.is_nested(kind) or pa.types.is_floating(kind) or pa.types.is_binary(kind):
            raise DataError(f"column {name} is {kind}, which cannot be partitioned by", hint="use text, whole or date")
    if columns and len(set(columns)) == len(schema.names):
        raise DataError("a table needs a column beside those that it is partitioned by")


def by_partition(
    batch: pa.RecordBatch, columns: Sequence[str], *, where: str
) -> Iterator[tuple[Partition, pa.RecordBatch]]:
    """The rows of a batch, each partition once, without the partition columns.

    Args:
        batch: any rows.
        columns: partition columns; without any all rows are one partition.
        where: for errors.

    Raises:
        DataError: a value is an empty text, which Delta cannot tell from null.
    """
    if not columns:
        yield (), batch
        return
    texts = [_texts(batch.column(name), name, where=where) for name in columns]
    codes = np.zeros(batch.num_rows, np.int64)
    for text in texts:
        encoded = text.dictionary_encode(null_encoding="encode")
        codes = codes * max(len(encoded.dictionary), 1) + encoded.indices.to_numpy(zero_copy_only=False)
        codes = np.unique(codes, return_inverse=True)[1].astype(np.int64)
    order = np.argsort(codes, kind="stable")
    kept = batch.drop_columns(list(columns))
    for rows in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
        if len(rows):
            partition = tuple(text[int(rows[0])].as_py() for text in texts)
            yield partition, kept if len(rows) == batch.num_rows else kept.take(pa.array(rows))


def folder_of(columns: Sequence[str], partition: Partition) -> str:
    """The folder within the table, with a slash at its end; empty without partitions."""
    parts = [
        f"{quote(name, safe='')}={NULL_FOLDER if text is None else quote(text, safe=' ').replace(' ', '%20')}/"
        for name, text in zip(columns, partition, strict=True)
    ]
    return "".join(parts)


def _texts(array: pa.Array, name: str, *, where: str) -> pa.Array:
    kind = array.type
    if pa.types.is_timestamp(kind):
        # Delta's text has no zone: it is UTC where the column has one.
        return pc.strftime(array, format="%Y-%m-%d %H:%M:%S")
    text = array.cast(pa.string())
    if pa.types.is_string(kind) and pc.any(pc.equal(text, "")).as_py():
        raise DataError(
            f"{where}: partition column {name} has empty texts, which Delta reads as null",
            hint="replace them by null or by a word",
        )
    return text

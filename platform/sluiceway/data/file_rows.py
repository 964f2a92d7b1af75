"""Rows of one data file, wherever it lies, in the columns of its table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sluiceway.core.errors import DataError
from sluiceway.data.places import filesystem_of, plain_path

BATCH_BYTES = 16 * 2**20
BATCH_ROWS = 1 << 17
_NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"


def file_batches(
    identity: str, schema: pa.Schema, *, partition: Mapping[str, str | None] | None = None
) -> Iterator[pa.RecordBatch]:
    """Read a file in its order, at most about 16 MiB at once.

    Args:
        identity: absolute URI of the file, encoded as in a log.
        schema: columns to read and their types; one that neither the file nor its partition has is null.
        partition: text of the partition's values as the log has them; None takes them from the names of the folders.

    Raises:
        FileNotFoundError: the file is gone.
        DataError: it cannot be read, or holds other types.
    """
    given = folders_of(identity) if partition is None else partition
    try:
        with filesystem_of(identity).open_input_file(plain_path(identity)) as opened:
            reader = pq.ParquetFile(opened)
            stored = [name for name in schema.names if name in reader.schema_arrow.names]
            for batch in reader.iter_batches(_batch_rows(reader.metadata), columns=stored, use_threads=False):
                yield _whole(batch, schema, given)
    except FileNotFoundError:
        raise
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise DataError(
            f"{identity} cannot be read: {error}", hint="restore the file from a copy", file=identity
        ) from error


def folders_of(identity: str) -> dict[str, str | None]:
    """The partition's values that the folders above a file are named for (``day=2024-01-01/``)."""
    found: dict[str, str | None] = {}
    for folder in plain_path(identity).split("/")[:-1]:
        name, equals, text = folder.partition("=")
        if equals:
            found[unquote(name)] = None if text == _NULL_FOLDER else unquote(text)
    return found


def partition_array(texts: list[str | None], kind: pa.DataType) -> Any:
    """Partition values from their texts in the log; Delta's empty text is null."""
    given = pa.array([text or None for text in texts], pa.string())
    # A text without a zone is UTC; there is one in those of newer writers.
    if pa.types.is_timestamp(kind) and not any(text and text.endswith("Z") for text in texts):
        return given.cast(pa.timestamp("us")).cast(kind)
    return given.cast(kind)


def _batch_rows(footer: Any) -> int:
    weight = sum(footer.row_group(group).total_byte_size for group in range(footer.num_row_groups))
    return int(max(256, min(BATCH_ROWS, footer.num_rows * BATCH_BYTES // max(weight, 1))))


def _whole(batch: pa.RecordBatch, schema: pa.Schema, partition: Mapping[str, str | None]) -> pa.RecordBatch:
    arrays = []
    for field in schema:
        if field.name in batch.schema.names:
            arrays.append(batch[field.name].cast(field.type))
        else:
            value = partition_array([partition.get(field.name)], field.type)
            arrays.append(value.take(pa.array(np.zeros(len(batch), np.int8))))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)

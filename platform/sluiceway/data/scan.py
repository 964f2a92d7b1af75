"""Plans a read: which files of a version, as a dataset, from the log's Arrow columns and without looking at a file.

The engine's own dataset makes an expression of every file's statistics: 18 s of a CPU for 100,000 files, and Ray's
reader has it made for all of them. Here a file that is not asked for costs no object at all, and one that is costs a
fragment with the values of its partition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
from deltalake import DeltaTable
from deltalake.fs import DeltaStorageHandler

from sluiceway.core.errors import DataError
from sluiceway.data import tables
from sluiceway.data.places import filesystem

if TYPE_CHECKING:
    import pyarrow.dataset as pads

# For each partition column the values that are wanted; None is null.
Partitions = Mapping[str, Sequence[Any]]
_PARTITION = "partition."
# What a reader holds at a time: so many rows, or fewer of a wide table.
_BATCH_ROWS = 1 << 17
_BATCH_BYTES = 1 << 26
# Batches that are decoded ahead of who takes them.
AHEAD = 2


def batch_rows(columns: int) -> int:
    """Rows of a batch that is read: at most 131,072, and of values of 8 bytes at most 64 MiB.

    Args:
        columns: that are read.
    """
    return max(1_024, min(_BATCH_ROWS, _BATCH_BYTES // (8 * max(columns, 1))))


def files_in(table: DeltaTable, partitions: Partitions | None = None) -> pa.Table:
    """The live files of an open table that lie in some partitions.

    Args:
        table: open.
        partitions: the wanted values by partition column, as the column has them or as text; all columns have to fit.
            Nothing wants every file.

    Returns:
        what :func:`sluiceway.data.tables.files` gives, without the others, and in the engine's own order: the rows of
        a version then come in the order in which its dataset has them.

    Raises:
        DataError: a column does not partition the table, or a value cannot be one of its.
    """
    live = pa.table(table.get_add_actions(flatten=True))
    if not partitions:
        return live
    schema, uri = tables.arrow_schema(table), tables.place_of(table)
    by = list(table.metadata().partition_columns)
    strangers = [name for name in partitions if name not in by]
    if strangers:
        known = f"it is partitioned by {', '.join(by)}" if by else "it has no partitions"
        raise DataError(f"{', '.join(strangers)} does not partition {uri}", hint=known, table=uri)
    fits = [
        pc.is_in(live[_PARTITION + name], value_set=_values(values, schema.field(name), uri=uri))
        for name, values in partitions.items()
    ]
    return live.filter(reduce(pc.and_, fits))


def gone(uri: str, told: object) -> DataError:
    """What is to be raised where a file that a version needs is not there; ``told`` names it."""
    first = str(told).strip().partition("\n")[0]
    return DataError(
        f"a data file of {uri} is gone: {first}",
        hint="a vacuum deleted it; versions that need it cannot be read any more, unless from a copy",
        table=uri,
    )


def dataset_of(table: DeltaTable, files: pa.Table) -> pads.Dataset:
    """Files of an open table as a dataset, wherever they lie; its fragments can be sent to other processes.

    Args:
        table: open.
        files: some of :func:`sluiceway.data.tables.files`, in the order that the dataset will have.

    Returns:
        the dataset; the values of the partition columns are known to each fragment, statistics are not.
    """
    import pyarrow.dataset as pads  # noqa: PLC0415 (brings pandas along, a second that other words have no use for)

    place, schema = tables.place_of(table), tables.arrow_schema(table)
    # The log has a path as a URI writes it; readers of files take it plain.
    paths = [unquote(path) for path in files["path"].to_pylist()]
    store = filesystem(place)
    if store is None:
        sizes = dict(zip(paths, files["size_bytes"].to_pylist(), strict=True))
        store = pafs.PyFileSystem(DeltaStorageHandler(table.table_uri, None, sizes))
    kind = pads.ParquetFileFormat(default_fragment_scan_options=pads.ParquetFragmentScanOptions(pre_buffer=True))
    known = _partition_expressions(files, schema, list(table.metadata().partition_columns))
    fragments = [
        kind.make_fragment(path, filesystem=store, partition_expression=expression)
        for path, expression in zip(paths, known, strict=True)
    ]
    return pads.FileSystemDataset(fragments, schema, kind, store)


def _partition_expressions(files: pa.Table, schema: pa.Schema, by: Sequence[str]) -> list[Any]:
    """What is known of each file's rows; one expression a partition, not one a file."""
    if not by or not files.num_rows:
        return [None] * files.num_rows
    columns = [files[_PARTITION + name].cast(schema.field(name).type).combine_chunks() for name in by]
    coded = [column.dictionary_encode(null_encoding="encode") for column in columns]
    made: dict[tuple[int, ...], Any] = {}
    expressions = []
    for codes in zip(*(one.indices.to_pylist() for one in coded), strict=True):
        if codes not in made:
            values = [one.dictionary[code] for one, code in zip(coded, codes, strict=True)]
            made[codes] = reduce(
                lambda one, other: one & other,
                (
                    pc.field(name) == value if value.is_valid else pc.field(name).is_null()
                    for name, value in zip(by, values, strict=True)
                ),
            )
        expressions.append(made[codes])
    return expressions


def _values(values: Sequence[Any], field: pa.Field, *, uri: str) -> pa.Array:
    try:
        if any(isinstance(value, str) for value in values):
            return pa.array([None if value is None else str(value) for value in values], pa.string()).cast(field.type)
        return pa.array(values).cast(field.type)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(
            f"{field.name} of {uri} is {field.type} and cannot be any of {list(values)!r}: {error}", table=uri
        ) from error

"""Reads pinned versions of tables with Ray Data; the driver holds references, never rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import ray
import ray.data
from ray.data._internal.datasource.parquet_datasource import ParquetDatasource

from sluiceway.config.experiment import DataSection, SplitSection
from sluiceway.core.errors import DataError, SchemaMismatchError
from sluiceway.core.references import TableVersion
from sluiceway.data import membership, tables
from sluiceway.data.scan import Partitions, dataset_of, files_in

if TYPE_CHECKING:
    from ray import ObjectRef

# Columns that are added to the table's own.
KEY_COLUMN, PART_COLUMN, FOLD_COLUMN = "__key__", "__part__", "__fold__"


def read_version(
    version: TableVersion, *, columns: Sequence[str], partitions: Partitions | None = None
) -> ray.data.Dataset:
    """A version of a table as a streaming dataset.

    Args:
        version: which.
        columns: which columns, in which order; only these are read.
        partitions: only the rows of these, the wanted values by partition column; files of others are not looked at,
            here neither. All rows where left out.

    Returns:
        the rows, in an order that is the same each time.

    Raises:
        TableNotFoundError, ReferenceNotFoundError, UnsupportedTableError: the version cannot be read any more.
        SchemaMismatchError: a column is not there.
        DataError: a column does not partition the table, or no file lies in these partitions.
    """
    table = tables.open_table(version.uri, version=version.version)
    _refuse_missing(tables.arrow_schema(table), columns, uri=version.uri)
    files = files_in(table, partitions)
    if partitions and not files.num_rows:
        raise DataError(
            f"version {version.version} of {version.uri} has no rows where {_said(partitions)}",
            hint="`sluiceway data show` tells by what the table is partitioned",
            table=version.uri,
        )
    # What `ray.data.read_delta` does, but for the dataset that it lets the engine build (see scan.py).
    source = ParquetDatasource.from_pyarrow_dataset(dataset_of(table, files), columns=list(columns))
    dataset = ray.data.read_datasource(source)
    dataset.context.execution_options.preserve_order = True
    return dataset


def labelled_dataset(
    version: TableVersion, *, data: DataSection, seed: int, n_folds: int, extra_columns: Sequence[str] = ()
) -> ray.data.Dataset:
    """What training sees: features, target, and where each row belongs.

    Args:
        version: which version.
        data: names features, target, key and split.
        seed: of the experiment.
        n_folds: folds of the cross-validation.
        extra_columns: carried along.

    Returns:
        features in their order, target, extra columns, ``__part__`` (uint8: 0 train, 1 validation, 2 test),
        ``__fold__`` (uint8) and ``__key__`` (uint64, the row hash); in an order that is the same each time.
    """
    schema = tables.schema(version.uri, version.version)
    wanted = _unique([*data.features, data.target, *extra_columns])
    key = key_columns(schema, data)
    dataset = read_version(version, columns=_unique([*wanted, *key]))
    return dataset.map_batches(
        _label,
        fn_kwargs={"columns": wanted, "key": key, "seed": seed, "split": data.split, "n_folds": n_folds},
        batch_format="pyarrow",
        batch_size=None,
        zero_copy_batch=True,
    )


def read_part(
    version: TableVersion,
    *,
    data: DataSection,
    seed: int,
    part: int,
    extra_columns: Sequence[str] = (),
    row_limit: int | None = None,
) -> ObjectRef[pa.Table]:
    """The rows of one part as one table in the object store, put together by a Ray worker.

    Args:
        version: which version.
        data: names features, target, key and split.
        seed: of the experiment.
        part: ``membership.TRAIN``, ``VALIDATION`` or ``TEST``.
        extra_columns: carried along.
        row_limit: at most so many rows, drawn by hash, so that a larger limit only adds to them.

    Returns:
        a reference to features, target, extra columns and ``__key__``; ``ray.get`` it in a task, not in a driver.
    """
    labelled = labelled_dataset(version, data=data, seed=seed, n_folds=1, extra_columns=extra_columns)
    kept = labelled.map_batches(
        _keep_part,
        fn_kwargs={"part": part, "seed": seed, "row_limit": row_limit},
        batch_format="pyarrow",
        batch_size=None,
        zero_copy_batch=True,
    )
    return _one_table.remote(seed, row_limit, *kept.to_arrow_refs())


def key_columns(schema: pa.Schema, data: DataSection) -> tuple[str, ...]:
    """The columns whose hash decides membership: the declared key, or else every column of the table.

    All columns, not the features alone: two models with different features have to agree on which rows are test rows.

    Raises:
        SchemaMismatchError: a declared column is not there.
        DataError: no key is declared and a column cannot be hashed.
    """
    if data.key:
        _refuse_missing(schema, data.key, uri=data.path)
        return data.key
    nested = [field.name for field in schema if not membership.hashable(field.type)]
    if nested:
        raise DataError(
            f"rows of {data.path} cannot be told apart by their content: {', '.join(nested)} is a list or a struct",
            hint="name the columns that identify a row in data.key",
        )
    return tuple(schema.names)


def _label(
    batch: pa.Table, *, columns: Sequence[str], key: Sequence[str], seed: int, split: SplitSection, n_folds: int
) -> pa.Table:
    hashes = membership.row_hashes(batch, key)
    labelled = batch.select(columns)
    labelled = labelled.append_column(PART_COLUMN, pa.array(membership.parts(hashes, seed, split)))
    labelled = labelled.append_column(FOLD_COLUMN, pa.array(membership.folds(hashes, seed, n_folds)))
    return labelled.append_column(KEY_COLUMN, pa.array(hashes))


def _keep_part(batch: pa.Table, *, part: int, seed: int, row_limit: int | None) -> pa.Table:
    chosen = batch.filter(pa.array(batch[PART_COLUMN].to_numpy() == part))
    return _limited(chosen.drop_columns([PART_COLUMN, FOLD_COLUMN]), seed=seed, row_limit=row_limit)


# Without a CPU of its own: it only joins blocks, and must not wait behind the tasks that wait for it.
@ray.remote(num_cpus=0)
def _one_table(seed: int, row_limit: int | None, *blocks: pa.Table) -> pa.Table:
    filled = [block for block in blocks if block.num_rows] or list(blocks[:1])
    return _limited(pa.concat_tables(filled), seed=seed, row_limit=row_limit).combine_chunks()


def _limited(table: pa.Table, *, seed: int, row_limit: int | None) -> pa.Table:
    """The rows that come first in the hash's own random order, in the order of the table."""
    if row_limit is None or table.num_rows <= row_limit:
        return table
    order = membership.sample_order(table[KEY_COLUMN].to_numpy(), seed)
    return table.take(pa.array(np.sort(np.argsort(order, kind="stable")[:row_limit])))


def _refuse_missing(schema: pa.Schema, columns: Iterable[str], *, uri: str) -> None:
    missing = [name for name in columns if name not in schema.names]
    if missing:
        raise SchemaMismatchError(
            f"{uri} has no column {', '.join(missing)}", hint=f"its columns: {', '.join(schema.names)}", table=uri
        )


def _said(partitions: Partitions) -> str:
    return " and ".join(f"{name} is one of {list(values)!r}" for name, values in partitions.items())


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))

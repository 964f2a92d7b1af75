"""Reads pinned versions of tables with Ray Data; the driver holds references, never rows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import ray
import ray.data
from ray.data._internal.datasource.parquet_datasource import ParquetDatasource

from sluiceway.config.experiment import DataSection, SplitSection
from sluiceway.core.errors import DataError, SchemaMismatchError, SluicewayError
from sluiceway.core.references import TableVersion
from sluiceway.data import membership, tables
from sluiceway.data.labelled_rows import LabelledRows
from sluiceway.data.placing import FOLD_COLUMN, KEY_COLUMN, PART_COLUMN, SINCE_COLUMN, Placing, label, unique
from sluiceway.data.ray_order_statistics import order_statistics, ordered_bits, signed
from sluiceway.data.scan import Partitions, dataset_of, files_in
from sluiceway.data.time_order import (
    TimeCuts,
    check_cuts,
    fold_ranks,
    gap_ticks,
    part_ranks,
    ticks_of,
)

if TYPE_CHECKING:
    from ray import ObjectRef


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


def labelled_dataset(rows: LabelledRows) -> ray.data.Dataset:
    """What training sees: features, target, and where each row belongs.

    Args:
        rows: from :func:`labelled_rows`.

    Returns:
        features in their order, target, weight, extra columns, ``__part__`` (uint8: 0 train, 1 validation, 2 test, 3
        left out), ``__fold__`` (uint8, 255: validated in none), ``__since__`` (uint8: first fold that trains on the
        row) where rows are in time order, and ``__key__`` (uint64, the row hash); in an order that is the same each
        time.
    """
    return read_version(rows.version, columns=rows.read).map_batches(
        label,
        fn_kwargs={"columns": rows.columns, "placing": rows.placing},
        batch_format="pyarrow",
        batch_size=None,
        zero_copy_batch=True,
    )


def labelled_rows(
    version: TableVersion,
    *,
    data: DataSection,
    seed: int,
    n_folds: int,
    extra_columns: Sequence[str] = (),
    fold_column: str | None = None,
    later_than: int | None = None,
) -> LabelledRows:
    """What training sees of a version, to be read by Ray Data or by one process; nothing is read yet but cut points.

    Args:
        version: which version.
        data: names features, target, weight, key, and the split with its columns.
        seed: of the experiment.
        n_folds: folds of the cross-validation.
        extra_columns: carried along.
        fold_column: column that says each row's fold, in place of the split.
        later_than: tick of ``data.time``; rows of training and validation up to it are left out.

    Raises:
        DataError: a column is not there; a time or a fold cannot be used; rows have too few different times.
    """
    schema = tables.schema(version.uri, version.version)
    weight = [] if data.weight is None else [data.weight]
    wanted = unique([*data.features, data.target, *weight, *extra_columns])
    key = key_columns(schema, data)
    placing = Placing(
        key=key,
        group=data.group if data.split.by == "group" else key,
        seed=seed,
        split=data.split,
        n_folds=n_folds,
        time=data.time if data.split.by == "time" or later_than is not None else None,
        cuts=_cuts(version, data, schema, n_folds, later_than) if data.split.by == "time" else None,
        fold_column=fold_column,
        later_than=later_than,
    )
    rows = LabelledRows(version, tuple(wanted), placing)
    _refuse_missing(schema, rows.read, uri=version.uri)
    return rows


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
    rows = labelled_rows(version, data=data, seed=seed, n_folds=1, extra_columns=extra_columns)
    labelled = labelled_dataset(rows)
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


def _cuts(
    version: TableVersion, data: DataSection, schema: pa.Schema, n_folds: int, later_than: int | None
) -> TimeCuts:
    name = str(data.time)
    _refuse_missing(schema, [name], uri=data.path)
    gap = gap_ticks(data.split.gap, schema.field(name).type, name)
    split = data.split
    shares = (split.train, split.validation, split.test)
    return _cuts_of(version.uri, version.version, version.digest, name, gap, shares, n_folds, later_than)


@functools.lru_cache(maxsize=64)  # the gates ask for the same cuts as training did
def _cuts_of(
    uri: str,
    version: int,
    digest: str,
    name: str,
    gap: int,
    shares: tuple[float, float, float],
    n_folds: int,
    later_than: int | None,
) -> TimeCuts:
    blocks = read_version(TableVersion(uri, version, digest, 0, str(version)), columns=[name]).to_arrow_refs()
    split = SplitSection(train=shares[0], validation=shares[1], test=shares[2])

    def wanted(rows: int) -> list[int]:
        return fold_ranks(rows * split.train, n_folds) + part_ranks(rows, split)

    *folds, validation, test = _at_ranks(blocks, name, wanted, uri)
    if later_than is not None:  # the parts are those of the whole version; the folds share the window
        window = (later_than + 1, validation)
        folds = _at_ranks(blocks, name, lambda rows: fold_ranks(rows, n_folds), uri, window)
    return check_cuts(TimeCuts(validation, test, tuple(folds), gap), name)


def _at_ranks(
    blocks: Sequence[ObjectRef[pa.Table]],
    name: str,
    wanted: Callable[[int], list[int]],
    uri: str,
    window: tuple[int, int] | None = None,
) -> list[int]:
    """The ticks at ranks among those of a window (from, before) of a column."""
    try:
        found = order_statistics(
            blocks,
            functools.partial(_ordered_ticks, name=name, window=window),
            lambda counts: {kind: wanted(rows) for kind, rows in counts.items()},
        )
    except ray.exceptions.RayTaskError as error:
        # Our own error, without the lines of the task that raised it.
        raise (error.cause if isinstance(error.cause, SluicewayError) else error) from None
    if not found:
        told = f"{uri} has no rows" + ("" if window is None else " for training later than those that were seen")
        raise DataError(told, hint="look at data.path and data.version, or at the window")
    return [signed(bits) for bits in found[0]]


def newest_tick(version: TableVersion, name: str) -> int:
    """The latest time of a version.

    Args:
        version: which.
        name: of the column: timestamps, dates or whole numbers.

    Returns:
        microseconds since 1970 (UTC), or the number itself.

    Raises:
        DataError: the column cannot be a time, or there are no rows.
    """
    blocks = read_version(version, columns=[name]).to_arrow_refs()
    return _at_ranks(blocks, name, lambda rows: [rows - 1], version.uri)[0]


def time_cuts(version: TableVersion, data: DataSection) -> TimeCuts:
    """Where validation and test part of a version begin, with one fold.

    Args:
        version: which.
        data: names the time and the split by it.

    Raises:
        DataError: the column cannot be a time, or has too few different values.
    """
    return _cuts(version, data, tables.schema(version.uri, version.version), 1, None)


def _ordered_ticks(block: pa.Table, *, name: str, window: tuple[int, int] | None) -> tuple[np.ndarray, np.ndarray]:
    ticks = ticks_of(block[name], name)
    if window is not None:
        ticks = ticks[(ticks >= window[0]) & (ticks < window[1])]
    return ordered_bits(ticks), np.zeros(len(ticks), np.uint8)


def _keep_part(batch: pa.Table, *, part: int, seed: int, row_limit: int | None) -> pa.Table:
    chosen = batch.filter(pa.array(batch[PART_COLUMN].to_numpy() == part))
    return _limited(
        chosen.drop_columns([n for n in (PART_COLUMN, FOLD_COLUMN, SINCE_COLUMN) if n in chosen.column_names]),
        seed=seed,
        row_limit=row_limit,
    )


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

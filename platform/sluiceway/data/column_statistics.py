"""What the log of a version says of its columns: nulls and bounds, without a look at a data file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class ColumnStatistics:
    """A column by the log; what the log does not say of every file is None.

    Attributes:
        column: name.
        type: as Arrow has it.
        nulls: number of rows without a value.
        low: the smallest value, as its writer recorded it (long text may be cut short); None where all are null, too.
        high: the largest.
    """

    column: str
    type: str
    nulls: int | None
    low: Any = None
    high: Any = None


def column_statistics(live: pa.Table, schema: pa.Schema) -> tuple[ColumnStatistics, ...]:
    """Statistics of all columns, in their order; nested ones have none.

    Args:
        live: the files, as :func:`sluiceway.data.tables.files` has them.
        schema: of the version.
    """
    return tuple(_statistics(live, field) for field in schema)


def _statistics(live: pa.Table, field: Any) -> ColumnStatistics:
    rows = live["num_records"]
    partition = _column(live, f"partition.{field.name}")
    if partition is not None:
        empty = pc.filter(rows, pc.is_null(partition))
        return _found(field, nulls=empty, all_null=pc.is_null(partition), low=partition, high=partition)
    nulls = _column(live, f"null_count.{field.name}")
    low, high = (_column(live, f"{name}.{field.name}") for name in ("min", "max"))
    if nulls is None:
        nulls = pa.chunked_array([pa.nulls(live.num_rows, pa.int64())])
    return _found(field, nulls=nulls, all_null=pc.fill_null(pc.equal(nulls, rows), False), low=low, high=high)


def _found(field: Any, *, nulls: Any, all_null: Any, low: Any, high: Any) -> ColumnStatistics:
    total = None if nulls.null_count else int(pc.sum(nulls, min_count=0).as_py())
    bounds = [_bound(column, all_null, end) for column, end in ((low, "min"), (high, "max"))]
    return ColumnStatistics(field.name, str(field.type), total, *bounds)


def _bound(column: Any, all_null: Any, end: str) -> Any:
    if column is None or pc.any(pc.and_(pc.is_null(column), pc.invert(all_null))).as_py():
        return None
    return pc.min_max(column)[end].as_py()


def _column(live: pa.Table, name: str) -> Any:
    return live[name] if name in live.column_names else None

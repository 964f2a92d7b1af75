"""Which of a table's partitions a commit takes out, in the words of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from sluiceway.core.errors import DataError
from sluiceway.data import tables
from sluiceway.data.write_target import WriteTarget


def partition_filters(
    table: DeltaTable, target: WriteTarget, partitions: Sequence[tuple[str | None, ...]]
) -> list[tuple[str, str, Any]]:
    """Filters that take exactly these partitions out of the table.

    The engine joins filters by AND only and knows no IN with null: the partitions that they catch are looked up first.

    Args:
        table: open.
        target: the same table as files were written for it.
        partitions: of the files: the text of each partition column's value, None for null.

    Returns:
        column, operator and value or values of each filter.

    Raises:
        DataError: the table has no partitions, or the filters would catch further ones.
    """
    if not target.partition_by:
        raise DataError(f"{target.uri} has no partitions", hint="use --mode overwrite", table=target.uri)
    live_files = tables.files(table)
    live = set(zip(*(live_files[f"partition.{name}"].to_pylist() for name in target.partition_by), strict=True))
    texts = [[partition[i] for partition in partitions] for i in range(len(target.partition_by))]
    values = [_values(one, target, name) for one, name in zip(texts, target.partition_by, strict=True)]
    wanted = set(zip(*values, strict=True))
    filters: list[tuple[str, str, Any]] = []
    caught = live
    for i, name in enumerate(target.partition_by):
        found = set(texts[i])
        if found == {None}:
            filters.append((name, "=", ""))
        elif None not in found:
            filters.append((name, "in", sorted(text for text in found if text is not None)))
        else:
            continue
        caught = {one for one in caught if one[i] in set(values[i])}
    if caught - wanted:
        raise DataError(
            f"the partitions of these rows cannot be replaced in one commit: "
            f"{dict(zip(target.partition_by, next(iter(caught - wanted)), strict=True))} would go, too",
            hint=f"deliver the values of {target.partition_by[0]} one by one, and null by itself",
            table=target.uri,
        )
    return filters


def _values(texts: list[str | None], target: WriteTarget, name: str) -> list[Any]:
    """Partition values as the log's reader gives them."""
    kind = target.schema.field(name).type
    if pa.types.is_timestamp(kind):
        return list(pa.array(texts).cast(pa.timestamp("us")).cast(kind).to_pylist())
    return list(pa.array(texts, pa.string()).cast(kind).to_pylist())

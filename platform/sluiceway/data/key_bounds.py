"""Which files of a version can hold rows of given keys, by what its log says of them."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.data.delta_log import Action
from sluiceway.data.file_rows import partition_array

# Some writers cut the bounds of times to the millisecond.
_TIME_SLACK = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Whether a file can have rows of the keys.
_Test: TypeAlias = Callable[[Action, Mapping[str, Any]], bool]


def files_with(
    adds: Mapping[str, Action], keys: pa.Table, *, schema: pa.Schema, partition_by: Sequence[str] = ()
) -> list[str]:
    """Files that can hold a row of one of the keys; reads none of them.

    Floats and decimals are not judged: writers differ in what they take for the bounds of these.

    Args:
        adds: live files by path, the content of ``add``.
        keys: columns of the key, in the types of the table.
        schema: of the table.
        partition_by: its partition columns.

    Returns:
        their paths, in the order of ``adds``; those of which the log does not say enough are among them.
    """
    whole = keys.drop_null()
    if not whole.num_rows:
        return []
    tests: list[_Test] = []
    for name in keys.column_names:
        if name in partition_by:
            tests.append(_partition_test(name, adds, whole[name], schema.field(name).type))
        else:
            values = _sorted_values(whole[name])
            if values is not None:
                tests.append(_bounds_test(name, values, schema.field(name).type))
    return [path for path, add in adds.items() if _passes(add, tests)]


def _passes(add: Action, tests: Sequence[_Test]) -> bool:
    statistics = json.loads(add.get("stats") or "{}")
    return all(test(add, statistics) for test in tests)


def _partition_test(name: str, adds: Mapping[str, Action], wanted: Any, kind: pa.DataType) -> _Test:
    texts = list({(add.get("partitionValues") or {}).get(name) for add in adds.values()})
    hits = pc.is_in(partition_array(texts, kind), value_set=wanted.combine_chunks(), skip_nulls=True).to_pylist()
    there = {text for text, hit in zip(texts, hits, strict=True) if hit}
    return lambda add, _: (add.get("partitionValues") or {}).get(name) in there


def _bounds_test(name: str, values: Any, kind: pa.DataType) -> _Test:
    def test(_: Action, statistics: Mapping[str, Any]) -> bool:
        low, high = (statistics.get(end, {}).get(name) for end in ("minValues", "maxValues"))
        if low is None or high is None:
            return True
        try:
            first, last = _comparable(low, kind), _comparable(high, kind)
        except (ValueError, TypeError):  # a bound that is written in no way that we know says nothing
            return True
        if pa.types.is_timestamp(kind):
            last += _TIME_SLACK
        return bisect_left(values, first) < bisect_right(values, last)

    return test


def _sorted_values(column: Any) -> Any:
    """Distinct values in their order, in a form that bounds are brought to, or None for types without."""
    kind = column.type
    if pa.types.is_integer(kind):
        return np.unique(column.to_numpy())
    if pa.types.is_date(kind):
        return np.unique(column.cast(pa.int32()).to_numpy())
    if pa.types.is_timestamp(kind):
        return np.unique(column.cast(pa.timestamp("us", kind.tz)).cast(pa.int64()).to_numpy())
    return sorted(column.unique().to_pylist()) if pa.types.is_string(kind) else None


def _comparable(bound: Any, kind: pa.DataType) -> Any:
    if pa.types.is_integer(kind):
        return int(bound)
    if not isinstance(bound, str):
        raise TypeError(f"{bound!r} is no text")
    if pa.types.is_date(kind):
        return (date.fromisoformat(bound) - _EPOCH.date()).days
    if pa.types.is_timestamp(kind):
        given = datetime.fromisoformat(bound)
        since = (given if given.tzinfo else given.replace(tzinfo=UTC)) - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return bound

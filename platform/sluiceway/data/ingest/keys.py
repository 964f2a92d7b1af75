"""Rows that are named by a key: each key once, and never null."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pyarrow as pa

from sluiceway.core.errors import DataError
from sluiceway.data.membership import row_hashes

EXAMPLES = 5
# So many suspects are looked at; more can be no accident of the hash.
SUSPECTS = 1_000


def refuse_bad_keys(read: Callable[[], Iterable[pa.RecordBatch]], key: Sequence[str]) -> int:
    """Refuse rows whose key is null or comes twice; reads them once, and twice where a key seems to be repeated.

    Args:
        read: gives the key columns of all rows, anew at each call.
        key: the columns.

    Returns:
        how many rows there are.

    Raises:
        DataError: names how many rows, and examples.
    """
    # 8 bytes a row are all that is kept.
    hashes: list[np.ndarray] = []
    for batch in read():
        for name in key:
            if batch.column(name).null_count:
                raise DataError(
                    f"key column {name} is null in {batch.column(name).null_count:,} rows or more",
                    hint="a row without a key cannot be found again; leave these rows out",
                )
        hashes.append(row_hashes(pa.table(batch), list(key)))
    every = np.sort(np.concatenate(hashes)) if hashes else np.empty(0, np.uint64)
    suspects = np.unique(every[1:][every[1:] == every[:-1]])[:SUSPECTS]
    if len(suspects):
        _refuse_repeated(read, key, suspects)
    return len(every)


def _refuse_repeated(read: Callable[[], Iterable[pa.RecordBatch]], key: Sequence[str], suspects: np.ndarray) -> None:
    seen: dict[tuple[object, ...], int] = {}
    for batch in read():
        suspected = np.isin(row_hashes(pa.table(batch), list(key)), suspects)
        if not suspected.any():
            continue
        rows = batch.select(list(key)).filter(pa.array(suspected))
        for values in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            if len(seen) < SUSPECTS * 10 or values in seen:
                seen[values] = seen.get(values, 0) + 1
    repeated = {values: count for values, count in seen.items() if count > 1}
    if repeated:
        shown = [f"{dict(zip(key, values, strict=True))} {count} times" for values, count in repeated.items()]
        at_least = "at least " if len(suspects) == SUSPECTS else ""
        raise DataError(
            f"{at_least}{len(repeated):,} keys come more than once, for example {'; '.join(shown[:EXAMPLES])}",
            hint="which of these rows counts is for you to say: deliver each key once",
        )

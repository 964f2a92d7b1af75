"""Counts over a table, batch by batch in this process; for small tables of ours such as records of predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

import pyarrow.compute as pc

from sluiceway.data.tables import open_table


def grouped_counts(
    uri: str, *, by: tuple[str, ...], known: str, equal: tuple[str, str]
) -> dict[tuple[Hashable, ...], tuple[int, int, int]]:
    """Rows a group, those where a column is known, and those of them where two columns are equal.

    Args:
        uri: the table; its newest version is read, one batch at a time.
        by: columns that make the groups.
        known: rows with a value here count as known.
        equal: two columns to compare.
    """
    columns = [*dict.fromkeys((*by, known, *equal))]
    totals: dict[str, Counter[tuple[Hashable, ...]]] = {"rows": Counter(), "known": Counter(), "right": Counter()}
    for batch in open_table(uri).to_pyarrow_dataset().to_batches(columns=columns):
        groups = list(zip(*(batch[name].to_pylist() for name in by), strict=True))
        is_known = pc.is_valid(batch[known]).to_pylist()
        is_right = pc.fill_null(pc.equal(batch[equal[0]], batch[equal[1]]), False).to_pylist()
        totals["rows"].update(groups)
        totals["known"].update(group for group, yes in zip(groups, is_known, strict=True) if yes)
        totals["right"].update(group for group, yes in zip(groups, is_right, strict=True) if yes)
    return {group: (n, totals["known"][group], totals["right"][group]) for group, n in totals["rows"].items()}

"""Outcomes that came after their predictions had left the catalog: they are written beside them in the archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.catalog.outcomes import OutcomeStore
from sluiceway.catalog.records import FeedbackRecord
from sluiceway.data.commit_files import UPSERT, Delivery, merge
from sluiceway.data.tables import is_table, open_table

# Bounds what is held in memory, and looked for in one pass over the archive. Each pass writes every file anew that has
# one of them: smaller pages write more, and hold no less.
OUTCOMES_AT_ONCE = 100_000
# An outcome may be in the catalog before its prediction: longer than replicas keep records on their way, while the
# recorder starts again or the catalog is away. Before that, an id that was used before would find the older prediction.
ON_THEIR_WAY_SECONDS = 600.0
KEY = "request_id"
# Columns of the archive, by the field of an outcome.
FIELDS = {"outcome": "outcome", "outcome_time": "time", "value": "value"}


class LateOutcomes(NamedTuple):
    """What became of them.

    Attributes:
        joined: predictions that got their outcome.
        unmatched: outcomes whose prediction was nowhere, and that were given up.
    """

    joined: int
    unmatched: int


def join_late(
    store: OutcomeStore, folder: Path, *, endpoint: str, now: float, give_up: float | None = None
) -> LateOutcomes:
    """Write outcomes beside the predictions that were archived without them, and remove them from the catalog.

    Where it is killed in between, the next call finds them written and removes them. An outcome that the archive has
    already stays: the first one counts. One whose prediction may still be on its way waits for a later call; one whose
    prediction is nowhere stays in the catalog until it is given up. Without an archive none is.

    Args:
        store: the catalog's side.
        folder: where the Delta tables of records live.
        endpoint: whose.
        now: UTC epoch seconds.
        give_up: outcomes that came until then are deleted where their prediction is nowhere; None: none is.

    Raises:
        BackendError: the catalog cannot be used.
        ConflictError: other writers of the table won every race.
        DataError: the table cannot be read or written; what has not been joined stays in the catalog.
    """
    uri, joined, unmatched = str(folder / endpoint), 0, 0
    if not is_table(uri):
        return LateOutcomes(0, 0)
    for outcomes in store.unmatched(endpoint, until=now - ON_THEIR_WAY_SECONDS, at_once=OUTCOMES_AT_ONCE):
        by_id = {one.request_id: one for one in outcomes}
        old = [one.request_id for one in outcomes if give_up is not None and one.received <= give_up]
        # Before the archive is read: predictions go from the catalog there, and never back.
        nowhere = store.unrecorded(endpoint, old)
        there = _rows(uri, list(by_id), columns=[KEY])[KEY].to_pylist()
        if there:
            joined += _join(uri, endpoint, {name: by_id[name] for name in there})
            store.remove_outcomes(endpoint, there)
        unmatched += store.remove_outcomes(endpoint, sorted(nowhere.difference(there)))
    return LateOutcomes(joined, unmatched)


def _join(uri: str, endpoint: str, outcomes: Mapping[str, FeedbackRecord]) -> int:
    rows = _first_without_outcome(_rows(uri, list(outcomes)))
    if not rows.num_rows:
        return 0
    own = [outcomes[name] for name in rows[KEY].to_pylist()]
    for name, field in FIELDS.items():
        if name in rows.column_names:  # not in an archive of a release that kept fewer
            place = rows.column_names.index(name)
            values = pa.array([getattr(one, field) for one in own], pa.float64())
            rows = rows.set_column(place, pa.field(name, pa.float64()), values)
    told = Delivery(f"{rows.num_rows:,} late outcomes of {endpoint}", f"catalog of {endpoint}")
    merge(uri, rows.to_reader, rows=rows.num_rows, key=(KEY, "time"), mode=UPSERT, delivery=told)
    return len(own)


def _first_without_outcome(rows: pa.Table) -> pa.Table:
    """Of each request the first answer, where none has its outcome: one id is there twice if it came again later."""
    rows = rows.sort_by("time")
    known = set(rows.filter(pc.is_valid(rows["outcome"]))[KEY].to_pylist())
    first: dict[str, int] = {}
    for place, name in enumerate(rows[KEY].to_pylist()):
        if name not in known:
            first.setdefault(name, place)
    return rows.take(pa.array(first.values(), pa.int64()))


def _rows(uri: str, ids: Sequence[str], *, columns: list[str] | None = None) -> pa.Table:
    wanted, scanner = pa.array(ids, pa.string()), open_table(uri).to_pyarrow_dataset().scanner(columns=columns)
    # Not by a filter of the scan: it compares with the files' bounds, which the engine writes as another type of text.
    found = (batch.filter(pc.is_in(batch[KEY], value_set=wanted)) for batch in scanner.to_batches())
    return pa.Table.from_batches([batch for batch in found if batch.num_rows], schema=scanner.projected_schema)

"""Brings what rollouts decided into a Delta table, with the measurements that each decision saw.

A row is a decision and a metric; a decision that no metric was judged for has one row without. Each rollout is a sender
of numbered deliveries, one an entry of its journal: an entry is in the table once, however often it is sent, by however
many at a time, and whatever crashes. What is missing is what the journals have and the table has not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Protocol

import pyarrow as pa

from sluiceway.catalog.rollouts import JournalRow, RolloutRow
from sluiceway.core.errors import DataError
from sluiceway.data import tables
from sluiceway.data.commit_numbered import Numbered, append_numbered, arrived
from sluiceway.rollout.journal import Entry, read_entry
from sluiceway.rollout.outcome import weight_in
from sluiceway.rollout.plan import RolloutPlan

# Entries of one commit.
BATCH = 2000
SCHEMA = pa.schema(
    [
        ("rollout", pa.string()),
        ("sequence", pa.int64()),
        ("time", pa.timestamp("us", tz="UTC")),
        ("endpoint", pa.string()),
        ("model", pa.string()),
        ("version", pa.string()),
        ("champion", pa.string()),
        ("phase", pa.string()),
        ("step", pa.int64()),
        ("weight", pa.float64()),
        ("action", pa.string()),
        ("cause", pa.string()),
        ("reason", pa.string()),
        ("metric", pa.string()),
        ("status", pa.string()),
        ("decides", pa.bool_()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("unit", pa.string()),
        ("n", pa.int64()),
        ("n_needed", pa.int64()),
        ("threshold", pa.float64()),
        ("direction", pa.string()),
        ("told", pa.string()),
        ("champion_requests", pa.int64()),
        ("champion_errors", pa.int64()),
        ("challenger_requests", pa.int64()),
        ("challenger_errors", pa.int64()),
        ("outcomes", pa.int64()),
    ]
)
# A table that lacks one of these is one of something else.
OURS = ("rollout", "sequence", "metric", "threshold")


class Journals(Protocol):
    """What is needed of :class:`sluiceway.catalog.rollouts.RolloutStore`."""

    def lengths(self) -> dict[str, int]:
        """How many entries each journal has."""

    def get(self, rollout_id: str) -> RolloutRow | None:
        """One rollout, or None."""

    def journal(self, rollout_id: str) -> Sequence[JournalRow]:
        """All entries, in order."""


@dataclass(frozen=True)
class Exported:
    """What an export brought: ``decisions`` of ``rollouts``, as ``rows``."""

    rollouts: int
    decisions: int
    rows: int


def missing(uri: str, journals: Journals) -> dict[str, int]:
    """How many decisions of which rollouts are not in a table; {} where all are.

    Args:
        uri: folder or URI of the table; where there is none, all are missing.
        journals: of the catalog.

    Raises:
        DataError: the table cannot be read, or is one of something else.
    """
    return {name: length - there for name, (there, length) in _spans(uri, journals).items()}


def export(uri: str, journals: Journals) -> Exported:
    """Append every decision that a table lacks.

    Args:
        uri: folder or URI of the table; made where there is none.
        journals: of the catalog.

    Raises:
        DataError: the table cannot be written, or is one of something else.
        ConflictError: other writers won every race.
    """
    spans = _spans(uri, journals)
    waiting = _deliveries(journals, spans)
    decisions = rows = 0
    while batch := list(islice(waiting, BATCH)):
        message = f"{len(batch):,} decisions of rollouts"
        done = append_numbered(uri, batch, message=message, source="journals of rollouts")
        decisions += len(batch)
        rows += done.rows
    return Exported(len(spans), decisions, rows)


def rows_of(plan: RolloutPlan, entry: Entry) -> pa.Table:
    """The rows of one decision."""
    state, seen = entry.state, entry.evidence.get("seen") or {}
    step = seen["steps"][-1] if seen.get("steps") else {}
    common = {
        "rollout": plan.rollout_id,
        "sequence": entry.sequence,
        "time": datetime.fromtimestamp(entry.time, UTC),
        "endpoint": plan.endpoint,
        "model": plan.model,
        "version": plan.won_by(state.winner).version,
        "champion": plan.champion.version if plan.champion else None,
        "phase": str(state.phase),
        "step": state.step,
        "weight": weight_in(plan, state),
        "action": entry.action,
        "cause": state.cause or None,
        "reason": state.reason or None,
        "outcomes": seen.get("outcomes"),
        **{
            f"{arm}_{what}": step.get(arm, {}).get(what)
            for arm in ("champion", "challenger")
            for what in ("requests", "errors")
        },
    }
    verdicts = entry.evidence.get("verdicts") or [None]
    return pa.Table.from_pylist([common | _metric(verdict) for verdict in verdicts], schema=SCHEMA)


def _metric(verdict: Mapping[str, Any] | None) -> dict[str, Any]:
    if verdict is None:
        return {}
    measured, limit = verdict["measurement"], verdict["threshold"] or {}
    return {
        "metric": measured["name"],
        "status": verdict["status"],
        "decides": verdict.get("severity", "block") == "block",
        **{name: measured[name] for name in ("value", "low", "high", "unit", "n")},
        "n_needed": limit.get("n_needed"),
        "threshold": limit.get("limit"),
        "direction": limit.get("direction"),
        "told": verdict["line"],
    }


def _spans(uri: str, journals: Journals) -> dict[str, tuple[int, int]]:
    """Of each rollout that has decisions which the table lacks: how many it has, and how many there are."""
    if tables.is_table(uri):
        lacking = [name for name in OURS if name not in tables.schema(uri).names]
        if lacking:
            raise DataError(
                f"{uri} is no table of rollouts: it has no column {lacking[0]}", hint="name another place", table=uri
            )
    lengths = journals.lengths()
    there = arrived(uri, lengths)
    return {name: (there.get(name, 0), n) for name, n in sorted(lengths.items()) if n > there.get(name, 0)}


def _deliveries(journals: Journals, spans: Mapping[str, tuple[int, int]]) -> Iterator[Numbered]:
    for name, (there, _) in spans.items():
        row = journals.get(name)
        if row is None:
            continue
        plan = RolloutPlan.from_json(row.plan)
        for entry in map(read_entry, journals.journal(name)):
            if entry.sequence > there:
                yield Numbered(name, entry.sequence, rows_of(plan, entry))

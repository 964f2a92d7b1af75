"""Takes an endpoint's records out of the catalog, but not those that a rollout is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sluiceway.catalog.outcomes import OutcomeStore
from sluiceway.catalog.rollouts import RolloutStore
from sluiceway.monitoring.archive import archive
from sluiceway.monitoring.late_outcomes import join_late
from sluiceway.rollout.journal import unfinished
from sluiceway.rollout.observe import SETTLE_SECONDS


@dataclass(frozen=True)
class Archived:
    """What was done.

    Attributes:
        rows: moved from the catalog to the archive.
        late_outcomes: written beside predictions that had been archived without one.
        unmatched_outcomes: deleted, as they had waited long enough and their predictions were nowhere.
        kept_for: the oldest unfinished rollout of the endpoint, whose records and later ones stay; "" without one.
    """

    rows: int
    late_outcomes: int
    unmatched_outcomes: int
    kept_for: str = ""


def archive_endpoint(
    outcomes: OutcomeStore, rollouts: RolloutStore, folder: Path, *, endpoint: str, wait_days: float, now: float
) -> Archived:
    """Move the records of an endpoint that are complete, and join outcomes that came after theirs had been moved.

    Args:
        outcomes: the catalog's side.
        rollouts: of all endpoints.
        folder: where the Delta tables of records live.
        endpoint: whose records.
        wait_days: that a prediction waits for its outcome, and an outcome that matches nothing for its prediction.
        now: UTC epoch seconds.

    Raises:
        BackendError: the catalog cannot be used.
        ConflictError: other writers of the table won every race.
        DataError: the table cannot be written; what has not been moved stays in the catalog.
    """
    # A few seconds back, as what is newer may still be on its way.
    cutoff, kept_for = now - SETTLE_SECONDS, ""
    for rollout_id in unfinished(rollouts, endpoint):
        row = rollouts.get(rollout_id)
        if row is not None and row.created <= cutoff:
            cutoff, kept_for = row.created, rollout_id
    wait = wait_days * 86_400
    moved = archive(outcomes, folder, endpoint=endpoint, cutoff=cutoff, wait=wait)
    # Outcomes that a rollout counts as lost stay as long as it does: without them it would call too little enough.
    late = join_late(outcomes, folder, endpoint=endpoint, now=now, give_up=cutoff - wait)
    return Archived(moved, late.joined, late.unmatched, kept_for)

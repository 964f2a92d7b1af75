"""A rollout's story on its version, as tags in MLflow: of the journal, so the same however often it is written."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from sluiceway.core.errors import ModelError
from sluiceway.core.traffic import TrafficDocument
from sluiceway.registry.mlflow_registry import Registry
from sluiceway.rollout.journal import Entry, Journal, Rollouts
from sluiceway.rollout.state import Phase

TAG = "rollout"
PARTS = ("id", "outcome", "cause", "reason", "time")
_log = logging.getLogger(__name__)


def story_of(journal: Journal) -> dict[str, str]:
    """The tags of a rollout that has begun.

    Args:
        journal: of the rollout; what it says now is told.

    Returns:
        ``rollout.ENDPOINT.id``, ``.outcome`` (``started``, ``promoted``, ``rolled_back``, or ``undone`` of a promotion
        that was taken back), ``.cause`` (the metric, or ""), ``.reason``, and ``.time`` of the decision.
    """
    decided = _decided(journal.entries)
    promoted = any(entry.state.phase is Phase.PROMOTING for entry in journal.entries)
    back = decided.state.phase is Phase.ROLLING_BACK
    outcome = ("undone" if promoted else "rolled_back") if back else "promoted" if promoted else "started"
    values = (journal.plan.rollout_id, outcome, decided.state.cause, decided.state.reason, _time(decided.time))
    return told(journal.plan.endpoint, dict(zip(PARTS, values, strict=True)))


def told(endpoint: str, parts: dict[str, str]) -> dict[str, str]:
    """The tags of an endpoint."""
    return {f"{TAG}.{endpoint}.{part}": value for part, value in parts.items()}


def tell(registry: Registry, rollouts: Rollouts, rollout_id: str) -> None:
    """Write a rollout's story on its version; one that somebody has deleted in MLflow is told nothing.

    Raises:
        BackendError: MLflow refused or does not answer.
    """
    journal = Journal.open(rollouts, rollout_id)
    try:
        registry.tag(journal.plan.model, journal.plan.version, dict(story_of(journal)))
    except ModelError as error:  # a rollback must not wait for a version that is gone
        _log.warning("the story of rollout %s is told nowhere: %s", rollout_id, error.message)


def tell_by_hand(registry: Registry, model: str, document: TrafficDocument, *, now: float) -> None:
    """Write on the champion that a person has just replaced what has become of it.

    Args:
        registry: that has the model.
        model: its name.
        document: the new one, which keeps the old champion warm.
        now: UTC epoch seconds.

    Raises:
        ModelError: the version is not there any more.
        BackendError: MLflow refused or does not answer.
    """
    for old in document.warm:
        reason = f"version {document.champion.version} by hand"
        values = (document.rollout_id, "replaced", "", reason, _time(now))
        registry.tag(model, old.version, dict(told(document.endpoint, dict(zip(PARTS, values, strict=True)))))


def _decided(entries: tuple[Entry, ...]) -> Entry:
    """The entry that decided how it stands: the newest of going back or promoting, else the first one."""
    moves = [entry for entry in entries if entry.state.phase in (Phase.ROLLING_BACK, Phase.PROMOTING)]
    return moves[-1] if moves else entries[0]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")

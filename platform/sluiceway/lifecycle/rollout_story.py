"""A rollout's story on its version, as tags in MLflow: of the journal, so the same however often it is written."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from itertools import pairwise

from sluiceway.catalog.traffic import TrafficStore
from sluiceway.core.errors import ModelError
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.registry.mlflow_registry import Registry
from sluiceway.rollout.journal import Entry, Journal, Rollouts
from sluiceway.rollout.state import Phase, RolloutState

TAG = "rollout"
PARTS = ("id", "outcome", "cause", "reason", "time")
_log = logging.getLogger(__name__)


def story_of(journal: Journal, version: str = "") -> dict[str, str]:
    """The tags of a rollout that has begun, for one of its versions.

    Args:
        journal: of the rollout; what it says now is told.
        version: which one of an A/B/n test; what was asked for if left out.

    Returns:
        ``rollout.ENDPOINT.id``, ``.outcome`` (``started``, ``paused``, ``promoted``, ``rolled_back``, or ``undone``
        of a promotion that was taken back), ``.cause`` (the metric, or ""), ``.reason``, and ``.time`` of the decision.
    """
    decided = _decided(journal.entries)
    outcome, cause, reason = _outcome(journal.entries), decided.state.cause, decided.state.reason
    lost = _lost(journal, version or journal.plan.version)
    if lost is not None:
        (decided, reason), outcome, cause = lost, "rolled_back", ""
    values = (journal.plan.rollout_id, outcome, cause, reason, _time(decided.time))
    return told(journal.plan.endpoint, dict(zip(PARTS, values, strict=True)))


def told(endpoint: str, parts: dict[str, str]) -> dict[str, str]:
    """The tags of an endpoint."""
    return {f"{TAG}.{endpoint}.{part}": value for part, value in parts.items()}


def tell(registry: Registry, rollouts: Rollouts, rollout_id: str) -> None:
    """Write a rollout's story on its versions; one that somebody has deleted in MLflow is told nothing.

    Raises:
        BackendError: MLflow refused or does not answer.
    """
    journal = Journal.open(rollouts, rollout_id)
    for version in journal.plan.versions:
        try:
            registry.tag(journal.plan.model, version, dict(story_of(journal, version)))
        except ModelError as error:  # a rollback must not wait for a version that is gone
            _log.warning("the story of rollout %s is told nowhere: %s", rollout_id, error.message)


def tell_by_hand(registry: Registry, model: str, traffic: TrafficStore, document: TrafficDocument) -> None:
    """Write on the champion that a person has replaced what has become of it; where a rollout has done so, nothing.

    Args:
        registry: that has the model.
        model: its name.
        traffic: the endpoint's documents.
        document: one whose champion has replaced another one, in it or in an earlier one.

    Raises:
        ModelError: the version is not there any more.
        BackendError: MLflow refused or does not answer.
    """
    replaced = _replaced(traffic, document)
    if replaced is None:
        return
    old, by = replaced
    if by.rollout_id:  # it has told its own story
        return
    reason, time = f"version {by.champion.version} by hand", _time(traffic.times(by.endpoint)[by.generation])
    values = ("", "replaced", "", reason, time)
    registry.tag(model, old.version, dict(told(by.endpoint, dict(zip(PARTS, values, strict=True)))))


def _replaced(traffic: TrafficStore, document: TrafficDocument) -> tuple[Arm, TrafficDocument] | None:
    """The champion before that of a document, and the document that replaced it; None where it is the first one."""
    by = document
    for earlier in traffic.history(document.endpoint):
        if earlier.generation >= document.generation:
            continue
        if earlier.champion.version != document.champion.version:
            return earlier.champion, by
        by = earlier
    return None


def _decided(entries: tuple[Entry, ...]) -> Entry:
    """The entry that decided how it stands: the newest of going back, promoting or a pause, else the first one."""
    return next((new for old, new in reversed([*pairwise(entries)]) if _decides(old.state, new.state)), entries[0])


def _decides(old: RolloutState, new: RolloutState) -> bool:
    # A refusal leaves a pause, and its reason, as it is.
    return new.phase in (Phase.ROLLING_BACK, Phase.PROMOTING) or new.waits_otherwise(old)


def _outcome(entries: tuple[Entry, ...]) -> str:
    promoted = any(entry.state.phase is Phase.PROMOTING for entry in entries)
    decided = _decided(entries).state
    if decided.phase is Phase.ROLLING_BACK:
        return "undone" if promoted else "rolled_back"
    if decided.waits:
        return "paused"
    return "promoted" if promoted else "started"


def _lost(journal: Journal, version: str) -> tuple[Entry, str] | None:
    """What ended a version of a test beside which another one has won, or which was stopped, and why; else None."""
    for entry in journal.entries:
        state = entry.state
        if version in state.stopped:
            return entry, state.reason
        winner = state.winner or journal.plan.version
        if state.phase is Phase.PROMOTING and version != winner:
            return entry, f"version {winner} has won the test"
    return None


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")

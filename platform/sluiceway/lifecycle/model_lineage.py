"""Where a registered version came from, and what became of it: data, code, run, parents, gates, rollouts, traffic."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sluiceway.catalog.stores import Stores
from sluiceway.core.errors import ModelError
from sluiceway.core.traffic import TrafficDocument
from sluiceway.lifecycle.rollout_story import PARTS, TAG, story_of
from sluiceway.registry.mlflow_registry import Registry
from sluiceway.registry.version_record import VersionRecord
from sluiceway.registry.versions import IMPORTED_FROM_TAG, RETIRED_BY_TAG, RETIRED_REASON_TAG, ModelVersion
from sluiceway.rollout.journal import Journal
from sluiceway.rollout.plan import RolloutPlan

BY_HAND = "by hand"


def lineage_of(registry: Registry, stores: Stores, name: str, version: str) -> dict[str, Any]:
    """The whole story of a version, JSON-ready; a version whose booster is gone has one, too.

    Args:
        registry: that has it.
        stores: the catalog's: rollouts and traffic.
        name: of the model.
        version: number or alias.

    Raises:
        ModelError: there is no such version.
        BackendError: MLflow or the catalog do not answer.
    """
    record = registry.record(name, version)
    found = record.version
    return {
        "model": name,
        "version": found.version,
        "digest": found.digest,
        "aliases": list(found.aliases),
        "registered": _time(found.created_at),
        **_origin(record),
        "run": {"id": found.run_id, "name": record.run_name},
        "parent": _parent(registry, record),
        "gates": found.gates,
        "rollouts": list(rollouts_of(stores, name, found)),
        "traffic": [one for endpoint in stores.traffic.endpoints() for one in _served(stores, endpoint, found)],
        "retired": _retired(found),
    }


def _origin(record: VersionRecord) -> dict[str, Any]:
    lineage, tags = record.lineage, record.version.tags
    imported = lineage.get("imported")
    return {
        "imported": None if imported is None else {"from": tags.get(IMPORTED_FROM_TAG, ""), **imported},
        "data": None if "data" not in lineage else {**lineage["data"], "ref": tags.get("data_ref", "")},
        "code": lineage.get("code"),
        "lock": tags.get("env_lock"),
        "config": tags.get("config_digest"),
    }


def _parent(registry: Registry, record: VersionRecord) -> dict[str, Any] | None:
    """The version that this one goes on from, and those before it."""
    base = record.lineage.get("base")
    if base is None:
        return None
    told = {"version": base["version"], "digest": base["digest"]}
    try:
        parent = registry.record(record.name, base["version"])
    except ModelError:
        return {**told, "data": None, "there": False, "parent": None}
    there = parent.version.digest == base["digest"]
    return {**told, "data": parent.lineage.get("data"), "there": there, "parent": _parent(registry, parent)}


def rollouts_of(stores: Stores, name: str, found: ModelVersion) -> Iterator[dict[str, Any]]:
    """The rollouts of a version that have begun, the oldest first.

    Args:
        stores: the catalog's.
        name: of the model.
        found: the version.

    Yields:
        JSON-ready: ``endpoint``, ``began``, the parts of its story (:mod:`sluiceway.lifecycle.rollout_story`),
        ``phase``, and ``instead_of``: the champion of then.
    """
    for row in reversed(stores.rollouts.list()):
        plan = RolloutPlan.from_json(row.plan)
        arms = {plan.version: plan.digest, **{arm.version: arm.digest for arm in plan.others}}
        if plan.model != name or arms.get(found.version) != found.digest:
            continue
        journal = Journal(stores.rollouts, plan)
        if not journal.entries:
            continue
        story = story_of(journal, found.version)
        yield {
            "endpoint": plan.endpoint,
            "began": _time(plan.created),
            **{part: story[f"{TAG}.{plan.endpoint}.{part}"] for part in PARTS},
            "phase": str(journal.state.phase),
            "instead_of": plan.champion.version if plan.champion else None,
        }


def _served(stores: Stores, endpoint: str, found: ModelVersion) -> Iterator[dict[str, Any]]:
    """The times for which a version was the champion of an endpoint, the oldest first."""
    times = stores.traffic.times(endpoint)
    documents = list(stores.traffic.history(endpoint))[::-1]
    began: TrafficDocument | None = None
    for document in documents:
        is_champion = (document.champion.version, document.champion.digest) == (found.version, found.digest)
        if is_champion and began is None:
            began = document
        elif not is_champion and began is not None:
            yield _span(endpoint, began, document, times)
            began = None
    if began is not None:
        yield _span(endpoint, began, None, times)


def _span(
    endpoint: str, began: TrafficDocument, ended: TrafficDocument | None, times: dict[int, float]
) -> dict[str, Any]:
    return {
        "endpoint": endpoint,
        "from": _time(times[began.generation]),
        "by": began.rollout_id or BY_HAND,
        "to": None if ended is None else _time(times[ended.generation]),
        "ended_by": None if ended is None else ended.rollout_id or BY_HAND,
        "followed_by": None if ended is None else ended.champion.version,
    }


def _retired(found: ModelVersion) -> dict[str, Any] | None:
    if found.retired is None:
        return None
    return {
        "since": found.retired,
        "by": found.tags.get(RETIRED_BY_TAG, ""),
        "reason": found.tags.get(RETIRED_REASON_TAG, ""),
        "files_deleted": found.deleted,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")

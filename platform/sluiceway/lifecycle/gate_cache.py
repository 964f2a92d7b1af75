"""Verdicts that were given before on the same content: found by it, and by nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from sluiceway.catalog.pipeline import DONE, PipelineStore
from sluiceway.config.gates import DataQualitySection
from sluiceway.core.clock import Clock
from sluiceway.core.verdict import GateResult, Status
from sluiceway.data.contract.model import Contract
from sluiceway.data.contract.rules import rules_of
from sluiceway.gates.column_facts import ColumnFacts
from sluiceway.gates.context import Gate, GateContext, JudgedGate
from sluiceway.gates.drawn import ReportData
from sluiceway.gates.row_facts import SECONDS_OF_A_DAY
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.keys import code_digest, content_key
from sluiceway.lifecycle.subject import Subject

# Under this name the verdicts stand in the catalog, beside the steps of the runs.
KEPT_BY = "gates"
# What comes of a verdict is no part of it.
POLICY = {"severity", "on_inconclusive", "dry_run", "timeout_seconds", "memory_mb", "retries"}
# A verdict about an age is given again after this part of the shortest age that it was held against.
PART_OF_AN_AGE = 20
LIBRARIES = ("numpy", "pyarrow", "scikit-learn", "scipy", "xgboost")


def gate_key(context: Context, subject: Subject, gate: Gate, view: GateContext, contract: Contract | None) -> str:
    """Everything that a gate's verdicts depend on.

    Data digest, model digest, the champion's digest where it is compared with, the gate's own section, thresholds and
    metrics, the code of the platform and of an own gate, the libraries that compute, and whatever else the gate is
    shown. The time counts for gates that look at it: an age changes, and an own gate may ask.
    """
    evaluation = view.evaluation
    champion = subject.champion
    return content_key(
        "gate",
        gate.name,
        gate.source or code_digest(),
        code_digest(),
        {name: metadata.version(name) for name in LIBRARIES},
        view.section.model_dump(mode="json", exclude=POLICY),
        evaluation.metrics,
        evaluation.thresholds,
        subject.bundle.digest,
        subject.version.uri,
        subject.version.digest,
        context.data.model_dump(mode="json", exclude={"path", "version"}),
        context.experiment.seed,
        context.serving.model_dump(mode="json", exclude={"log"}) if "replica" in gate.needs else None,
        [champion.version, champion.bundle.digest] if champion and _looks_at_champion(gate) else None,
        _facts(view, contract) if _looks_around(gate) else None,
        _moment(gate, view, contract),
    )


class GateCache:
    """Keeps verdicts in the catalog.

    Args:
        store: of the catalog.
        clock: gives the times that are written down.
    """

    def __init__(self, store: PipelineStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def find(self, key: str) -> JudgedGate | None:
        """What was judged on this content, or None."""
        step = self._store.done(key)
        if step is None:
            return None
        result = replace(GateResult.from_dict(step.result["result"]), cached=True)
        facts = tuple(ColumnFacts.from_dict(fact) for fact in step.result["facts"])
        return JudgedGate(result, ReportData.from_dict(step.result["data"]), facts)

    def keep(self, key: str, judged: JudgedGate) -> None:
        """Write down what was judged; not an ERROR, which is no judgement."""
        if any(verdict.status is Status.ERROR for verdict in judged.result.verdicts):
            return
        name, now = f"{judged.result.gate} {key}", self._clock.now().timestamp()
        document = {
            "result": judged.result.to_dict(),
            "data": judged.data.to_dict(),
            "facts": [fact.to_dict() for fact in judged.facts],
        }
        self._store.begin_step(KEPT_BY, name, key=key, now=now)
        self._store.end_step(KEPT_BY, name, status=DONE, result=document, now=now)


def _looks_at_champion(gate: Gate) -> bool:
    return "champion" in gate.needs


def _looks_around(gate: Gate) -> bool:
    return gate.name == "data_quality" or bool(gate.source)


def _moment(gate: Gate, view: GateContext, contract: Contract | None) -> str | int | None:
    """The time as coarsely as the gate may take it; None where it does not look at the clock."""
    if gate.source:
        return datetime.fromtimestamp(view.now, UTC).date().isoformat()
    if not isinstance(view.section, DataQualitySection):
        return None
    ages = [rule.value * rule.seconds for rule in rules_of(contract).freshness] if contract else []
    if view.section.max_age_days is not None:
        ages.append(view.section.max_age_days * SECONDS_OF_A_DAY)
    return int(view.now // (min(ages) / PART_OF_AN_AGE)) if ages and min(ages) > 0 else None


def _facts(view: GateContext, contract: Contract | None) -> str:
    """Digest of what is known beside the rows."""
    parts: list[Any] = [
        None if view.reference is None else [fact.to_dict() for fact in view.reference],
        [asdict(fact) for fact in view.production],
        None if contract is None else contract.model_dump(mode="json"),
        view.version_time,
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()

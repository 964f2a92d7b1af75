"""Judges a model: all gates, verdicts that are known taken from the catalog, then what comes of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from sluiceway.config.evaluation import WaiverSection
from sluiceway.core.doors import Replica
from sluiceway.core.verdict import GateResult, Status
from sluiceway.data.contract.model import Contract
from sluiceway.features.schema import FeatureSchema
from sluiceway.gates import waivers
from sluiceway.gates.catalogue import gates_of
from sluiceway.gates.column_facts import ColumnFacts
from sluiceway.gates.context import Gate, GateContext, JudgedGate
from sluiceway.gates.drawn import ReportData
from sluiceway.gates.ray_tasks import judge
from sluiceway.gates.severity import settled
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.gate_cache import GateCache, gate_key
from sluiceway.lifecycle.gate_rows import contract_of, contract_verdicts, gate_context, gate_inputs, own_view
from sluiceway.lifecycle.keys import content_key
from sluiceway.lifecycle.preflight import check_gate_columns
from sluiceway.lifecycle.production import production_facts
from sluiceway.lifecycle.subject import Subject
from sluiceway.serving.preflight import preflight
from sluiceway.serving.preflight_replica import PreflightSpec

QUALITY = "data_quality"


@dataclass(frozen=True)
class Evaluation:
    """What the gates said of a model, before severities and waivers.

    Attributes:
        results: of all gates.
        data: what the report draws.
        facts: of the training columns, JSON-ready, kept with the model for the next one's drift.
        champion: the version that it was compared with, or None.
        production: facts of recent requests that it was judged by, JSON-ready; None where it was not.
    """

    results: tuple[GateResult, ...]
    data: ReportData = field(default_factory=ReportData)
    facts: tuple[dict[str, Any], ...] = ()
    champion: str | None = None
    production: tuple[dict[str, Any], ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON for the pipeline journal."""
        return {
            "results": [r.to_dict() for r in self.results],
            "data": self.data.to_dict(),
            "facts": list(self.facts),
            "champion": self.champion,
            "production": None if self.production is None else list(self.production),
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Evaluation:
        """The inverse of :meth:`to_dict`."""
        production = document.get("production")
        return cls(
            tuple(GateResult.from_dict(r) for r in document["results"]),
            ReportData.from_dict(document["data"]),
            tuple(document["facts"]),
            document["champion"],
            None if production is None else tuple(production),
        )


@dataclass(frozen=True)
class Bench:
    """The gates of a configuration, each with what it gets and the key of its verdicts.

    Attributes:
        gates: all of them, in the order in which they are told.
        views: what each gets, without rows, by its name.
        keys: of the verdicts, by the gate's name.
        contract: of the table, or None.
    """

    gates: tuple[Gate, ...]
    views: dict[str, GateContext]
    keys: dict[str, str]
    contract: Contract | None

    @property
    def key(self) -> str:
        """Of all verdicts together; severities and waivers are no part of it."""
        return content_key("gates", self.keys)


def bench_of(context: Context, subject: Subject) -> Bench:
    """Put up the gates for a model.

    Raises:
        ConfigError: an own gate cannot be loaded, the table's contract cannot be read, or a gate's section names
            columns that the version does not have.
    """
    check_gate_columns(context.evaluation, subject.version)
    gates = gates_of(context.evaluation)
    plain = gate_context(context, subject)
    views = {gate.name: own_view(plain, gate) for gate in gates}
    if QUALITY in views and _judges_production(context):
        views[QUALITY] = replace(views[QUALITY], production=_production(context, subject))
    contract = contract_of(context, subject.version)
    keys = {gate.name: gate_key(context, subject, gate, views[gate.name], contract) for gate in gates}
    return Bench(gates, views, keys, contract)


def evaluate(context: Context, subject: Subject, bench: Bench, *, afresh: bool = False) -> Evaluation:
    """Run the gates whose verdicts are not known yet.

    Args:
        context: what to work with.
        subject: what is judged.
        bench: the gates (:func:`bench_of`).
        afresh: judge everything again.
    """
    cache = GateCache(context.stores.pipeline, context.clock)
    context.progress.stage("gates", ", ".join(gate.name.replace("_", " ") for gate in bench.gates))
    known = {} if afresh else {gate.name: cache.find(bench.keys[gate.name]) for gate in bench.gates}
    done: dict[str, JudgedGate] = {name: judged for name, judged in known.items() if judged is not None}
    for judged in done.values():
        _tell(context, judged)
    missing = [gate for gate in bench.gates if gate.name not in done]
    if missing:
        with _replica(context, subject, missing) as replica:
            inputs = gate_inputs(context, subject, _shown(context, subject, bench, missing), replica)
            for judged in judge(missing, inputs, on_done=lambda one: _tell(context, one)):
                done[judged.result.gate] = judged
                cache.keep(bench.keys[judged.result.gate], judged)
    found = _together([done[gate.name] for gate in bench.gates], subject)
    if QUALITY in bench.views and _judges_production(context):
        found = replace(found, production=tuple(fact.to_dict() for fact in bench.views[QUALITY].production))
    return found


def ended_in_error(document: dict[str, Any]) -> bool:
    """Whether a gate of an evaluation, JSON-ready, has judged nothing: it is judged again, and not remembered."""
    results = Evaluation.from_dict(document).results
    return any(verdict.status is Status.ERROR for result in results for verdict in result.verdicts)


def settle(
    context: Context, evaluation: Evaluation, declared: Sequence[WaiverSection] | None = None
) -> tuple[GateResult, ...]:
    """The results with what comes of them: severities, dry runs, and the waivers that count today.

    Args:
        context: the configuration.
        evaluation: what the gates said.
        declared: waivers beside those of the configuration.
    """
    results = tuple(
        replace(result, verdicts=settled(result.verdicts, context.evaluation.gate(result.gate)))
        for result in evaluation.results
    )
    today = context.clock.now().date()
    return waivers.apply(results, (*context.evaluation.waivers, *(declared or ())), today=today)


def _shown(context: Context, subject: Subject, bench: Bench, gates: Sequence[Gate]) -> dict[str, GateContext]:
    """What the gates get; contract and requests are only asked where somebody wants to know."""
    views = {gate.name: bench.views[gate.name] for gate in gates}
    if QUALITY in views and not _judges_production(context):
        # Only shown: no verdict depends on it, and so neither does its key.
        views[QUALITY] = replace(views[QUALITY], production=_production(context, subject))
    if bench.contract is not None and QUALITY in views:
        told = contract_verdicts(context, subject.version, bench.contract)
        views[QUALITY] = replace(views[QUALITY], contract=told)
    return views


def _judges_production(context: Context) -> bool:
    return context.evaluation.data_quality.max_production_drift is not None


def _production(context: Context, subject: Subject) -> tuple[ColumnFacts, ...]:
    if subject.production is not None:
        return subject.production
    kinds = {feature.name: feature.kind for feature in FeatureSchema.from_dict(subject.bundle.schema).features}
    champion = subject.champion.version if subject.champion else None
    return production_facts(context, subject.name, kinds, champion=champion)


def _replica(context: Context, subject: Subject, gates: Sequence[Gate]) -> AbstractContextManager[Replica | None]:
    if not any("replica" in gate.needs for gate in gates):
        return nullcontext()
    return preflight(PreflightSpec(subject.name, subject.uri, subject.bundle.digest, context.serving))


def _together(judged: Sequence[JudgedGate], subject: Subject) -> Evaluation:
    data = ReportData()
    for one in judged:
        data = data.merged(one.data)
    facts = tuple(fact.to_dict() for one in judged for fact in one.facts)
    champion = subject.champion.version if subject.champion else None
    return Evaluation(tuple(one.result for one in judged), data, facts, champion)


def _tell(context: Context, judged: JudgedGate) -> None:
    known = " (known)" if judged.result.cached else ""
    context.progress.advance(f"{judged.result.gate} {judged.result.status}{known}")

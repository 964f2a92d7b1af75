"""What the gates are given: rows, facts, the contract's verdicts, and what all of that depends on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sluiceway.config.evaluation import GATES, EvaluationSection
from sluiceway.core.doors import Replica
from sluiceway.core.references import TableVersion
from sluiceway.core.verdict import Verdict
from sluiceway.data import history, tables
from sluiceway.data.contract.load import contract_beside
from sluiceway.data.contract.model import Contract
from sluiceway.data.membership import TEST, TRAIN
from sluiceway.data.places import main_of
from sluiceway.data.ray_contract import check_version
from sluiceway.data.ray_read import read_part
from sluiceway.features.schema import FeatureSchema
from sluiceway.gates.context import Gate, GateContext
from sluiceway.gates.ray_tasks import GateInputs
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.subject import Subject
from sluiceway.serving.scorer import BundleScorer

# The gates look at so many training rows at most; their numbers do not move any more beyond that.
TRAINING_ROWS = 1_000_000
# Gates of the package that look at `evaluation.metrics` and `evaluation.thresholds`.
ABOUT_METRICS = ("performance", "champion")


def contract_of(context: Context, version: TableVersion) -> Contract | None:
    """The contract that lies beside the table, or None where there is none, or nobody asks.

    Raises:
        ConfigError: it cannot be read.
    """
    if context.evaluation.data_quality.contract == "ignore":
        return None
    return contract_beside(main_of(version.uri))


def contract_verdicts(context: Context, version: TableVersion, contract: Contract) -> tuple[Verdict, ...]:
    """What a version says to its contract, counted by Ray tasks."""
    return tuple(one.verdict for one in check_version(version, contract, now=context.clock.now()))


def _written(version: TableVersion) -> float | None:
    """UTC epoch seconds at which a version was committed, or None where the log does not say."""
    entry = next((commit for commit in history.log(version.uri) if commit.version == version.version), None)
    return entry.time.timestamp() if entry is not None and entry.time is not None else None


def gate_context(context: Context, subject: Subject) -> GateContext:
    """What every gate gets, without rows."""
    decision, data = subject.bundle.decision, context.data
    schema = FeatureSchema.from_dict(subject.bundle.schema)
    return GateContext(
        gate="",
        section=context.evaluation.performance,
        evaluation=context.evaluation,
        features=schema.names,
        kinds={feature.name: feature.kind for feature in schema.features},
        target=decision["target"],
        threshold=decision["threshold"],
        task=decision["kind"],
        classes=tuple(decision["classes"]) if decision["kind"] == "multiclass" else (),
        key=data.key,
        time=data.time,
        seed=context.experiment.seed,
        now=context.now(),
        reference=subject.champion.facts if subject.champion else None,
        version_time=_written(subject.version),
    )


def gate_inputs(
    context: Context, subject: Subject, contexts: Mapping[str, GateContext], replica: Replica | None
) -> GateInputs:
    """Read the rows and put everything together.

    Args:
        context: what to work with.
        subject: what is judged.
        contexts: what each gate gets, by its name.
        replica: the candidate in a real replica, or None.
    """
    plain = next(iter(contexts.values()))
    wanted = _columns(context, subject, plain)
    data = context.data.model_copy(update={"features": plain.features, "target": plain.target})
    read: dict[str, Any] = {"data": data, "seed": context.experiment.seed, "extra_columns": wanted}
    return GateInputs(
        contexts=contexts,
        test=read_part(subject.version, part=TEST, **read),
        train=read_part(subject.version, part=TRAIN, row_limit=TRAINING_ROWS, **read),
        scorer=BundleScorer(subject.bundle),
        champion=subject.compared,
        replica=replica,
        timeout_seconds=context.evaluation.timeout_seconds,
    )


def own_view(plain: GateContext, gate: Gate) -> GateContext:
    """The context with the gate's own section only: what is not shown to it cannot be what its verdict depends on."""
    section = plain.evaluation.gate(gate.name)
    options = dict(getattr(section, "options", {}))
    own = _own(plain.evaluation, gate.name)
    return replace(plain, gate=gate.name, section=section, evaluation=own, options=options)


def _own(evaluation: EvaluationSection, gate: str) -> EvaluationSection:
    defaults = EvaluationSection()
    others: dict[str, Any] = {name: getattr(defaults, name) for name in GATES if name != gate}
    own = {gate: evaluation.own[gate]} if gate in evaluation.own else {}
    if gate in GATES and gate not in ABOUT_METRICS:
        others |= {"metrics": defaults.metrics, "thresholds": defaults.thresholds}
    return evaluation.model_copy(update={**others, "own": own, "waivers": ()})


def _columns(context: Context, subject: Subject, plain: GateContext) -> tuple[str, ...]:
    """Columns beside features and target that the table has and a gate looks at; what is missing fails there."""
    evaluation = context.evaluation
    declared = [*evaluation.fairness.columns, *evaluation.slices.columns]
    theirs = FeatureSchema.from_dict(subject.champion.bundle.schema).names if subject.champion else ()
    asked = [column for section in evaluation.own.values() for column in section.columns]
    time = [plain.time] if plain.time else []
    there = set(tables.schema(subject.version.uri, subject.version.version).names)
    known = {*plain.features, plain.target}
    return tuple(c for c in _unique([*declared, *time, *theirs, *asked]) if c in there and c not in known)


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))

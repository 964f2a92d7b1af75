"""Judges a candidate: the four gates, waivers, the report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sluiceway.config.evaluation import WaiverSection
from sluiceway.core.references import ModelReference, TableVersion
from sluiceway.core.verdict import GateResult
from sluiceway.data.membership import TEST, TRAIN
from sluiceway.data.ray_read import read_part
from sluiceway.gates import report, waivers
from sluiceway.gates.column_facts import ColumnFacts
from sluiceway.gates.ray_tasks import GateInputs, Judgement, judge_model
from sluiceway.lifecycle.candidate import Candidate
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.keys import code_digest, content_key
from sluiceway.lifecycle.preflight import check_evaluation
from sluiceway.registry.bundle import Bundle
from sluiceway.registry.mlflow_registry import CHAMPION
from sluiceway.serving.scorer import BundleScorer

FACTS_ARTIFACT = "column_facts.json"
# The data quality gate looks at so many training rows at most; its numbers do not move any more beyond that.
FACTS_ROWS = 1_000_000


@dataclass(frozen=True)
class Evaluation:
    """What the gates said of a candidate, before waivers.

    Attributes:
        results: of all gates.
        facts: of the training columns, JSON-ready, kept with the model for the next one's drift.
        report: path of the HTML page.
        champion: the version whose training data the drift was judged against, or None.
    """

    results: tuple[GateResult, ...]
    facts: tuple[dict[str, Any], ...]
    report: str
    champion: str | None

    def to_dict(self) -> dict[str, Any]:
        """JSON for the pipeline journal."""
        return {
            "results": [r.to_dict() for r in self.results],
            "facts": list(self.facts),
            "report": self.report,
            "champion": self.champion,
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Evaluation:
        """The inverse of :meth:`to_dict`."""
        results = tuple(GateResult.from_dict(r) for r in document["results"])
        return cls(results, tuple(document["facts"]), document["report"], document["champion"])


def present_champion(context: Context) -> str | None:
    """The version that serves now, or None before there is one."""
    return context.registry.alias(context.experiment.name, CHAMPION)


def evaluation_key(context: Context, candidate: Candidate, *, champion: str | None) -> str:
    """Everything that the verdicts depend on; waivers are applied later and are not among it."""
    limits = context.evaluation.model_dump(mode="json", exclude={"waivers"})
    return content_key("gates", code_digest(), candidate.digest, candidate.version.digest, limits, champion)


def evaluate(context: Context, candidate: Candidate, *, champion: str | None) -> Evaluation:
    """Run the gates on a candidate's test rows and write the report.

    Args:
        context: what to work with.
        candidate: the trained model.
        champion: the version to compare the training data with (:func:`present_champion`).
    """
    bundle = context.bundles.get(candidate.uri, candidate.digest)
    return _judge(context, candidate.version, bundle, training=candidate.training, champion=champion)


def evaluate_registered(context: Context, model: ModelReference, version: TableVersion) -> Evaluation:
    """Run the gates for a registered model on the test rows of any version of the table.

    Raises:
        ModelError: there is no such version.
        ConfigError: the evaluation names metrics that its kind does not have.
    """
    _, bundle = context.registry.bundle(model.name, model.version)
    check_evaluation(context.evaluation, bundle.decision["kind"])
    return _judge(context, version, bundle, training={}, champion=present_champion(context))


def _judge(
    context: Context, version: TableVersion, bundle: Bundle, *, training: Mapping[str, Any], champion: str | None
) -> Evaluation:
    context.progress.stage("gates", "performance, fairness, robustness, data quality")
    inputs = _inputs(context, version, bundle, reference=_reference(context, champion))
    judgement = judge_model(inputs, on_done=lambda r: context.progress.advance(_line(r)))
    return Evaluation(
        judgement.results,
        tuple(fact.to_dict() for fact in judgement.facts),
        _write_report(context, version, bundle, judgement, training),
        champion,
    )


def waive(evaluation: Evaluation, declared: Sequence[WaiverSection], *, context: Context) -> tuple[GateResult, ...]:
    """The results with the waivers that count today."""
    return waivers.apply(evaluation.results, declared, today=context.clock.now().date())


def _inputs(
    context: Context, version: TableVersion, bundle: Bundle, *, reference: tuple[ColumnFacts, ...] | None
) -> GateInputs:
    data, seed = context.data, context.experiment.seed
    protected = tuple(a for a in context.evaluation.fairness.protected_attributes if a not in data.features)
    return GateInputs(
        test=read_part(version, data=data, seed=seed, part=TEST, extra_columns=protected),
        train=read_part(version, data=data, seed=seed, part=TRAIN, row_limit=FACTS_ROWS),
        scorer=BundleScorer(bundle),
        features=data.features,
        target=data.target,
        threshold=bundle.decision["threshold"],
        evaluation=context.evaluation,
        task=bundle.decision["kind"],
        classes=tuple(bundle.decision["classes"]) if bundle.decision["kind"] == "multiclass" else (),
        seed=seed,
        reference=reference,
    )


def _reference(context: Context, champion: str | None) -> tuple[ColumnFacts, ...] | None:
    """Facts of the columns that the champion was trained on; None before there is a champion."""
    if champion is None:
        return None
    content = context.registry.artifact(context.experiment.name, champion, FACTS_ARTIFACT)
    return tuple(ColumnFacts.from_dict(fact) for fact in json.loads(content))


def _write_report(
    context: Context, version: TableVersion, bundle: Bundle, judgement: Judgement, training: Mapping[str, Any]
) -> str:
    folds = tuple((f"fold {fold['fold'] + 1}", fold["metric"]) for fold in training.get("folds", ()))
    arguments: dict[str, Any] = {
        "title": f"{context.experiment.name} on data version {version.version} ({version.ref})",
        "facts": {key: training[key] for key in ("rounds", "metric", "engine", "why") if key in training}
        | {f"rows {part}": f"{rows:,}" for part, rows in training.get("rows", {}).items()},
        "lineage": bundle.lineage | {"bundle": bundle.digest},
        "data": dataclasses.replace(judgement.data, folds=folds, fold_metric=training.get("metric", "")),
    }
    folder = context.folders.reports
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{context.experiment.name}-{bundle.digest[:12]}-{version.digest[:8]}.html"
    page.write_text(report.render(judgement.results, **arguments), encoding="utf-8")
    document = json.dumps(report.to_dict(judgement.results, **arguments), default=str)
    page.with_suffix(".json").write_text(document, encoding="utf-8")
    return str(page)


def _line(result: GateResult) -> str:
    return f"{result.gate} {result.status}"

"""Writes a judged candidate into MLflow, and makes it a model version where no gate blocks it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sluiceway.config.lifecycle import ReleaseStep
from sluiceway.core.verdict import GateResult
from sluiceway.lifecycle.candidate import Candidate
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.evaluation import FACTS_ARTIFACT, Evaluation
from sluiceway.lifecycle.keys import content_key
from sluiceway.registry.mlflow_registry import RunRecord


def register(
    context: Context,
    step: ReleaseStep,
    candidate: Candidate,
    evaluation: Evaluation,
    results: tuple[GateResult, ...],
) -> dict[str, Any]:
    """Log the run, with its gates, and register the bundle unless a gate blocks it.

    Returns:
        ``run_id`` and ``version``, the latter None for a blocked candidate.
    """
    context.progress.stage("register", step.name)
    record = _record(context, step, candidate, evaluation, results)
    run_id = context.registry.log_run(record)
    if any(result.blocks for result in results):
        return {"run_id": run_id, "version": None}
    bundle = context.bundles.get(candidate.uri, candidate.digest)
    version = context.registry.register(
        context.experiment.name, bundle, run_id, tags=_tags(context, candidate, results)
    )
    return {"run_id": run_id, "version": version}


def _record(
    context: Context,
    step: ReleaseStep,
    candidate: Candidate,
    evaluation: Evaluation,
    results: tuple[GateResult, ...],
) -> RunRecord:
    training = candidate.training
    report = Path(evaluation.report)
    return RunRecord(
        experiment=context.experiment.name,
        name=step.name,
        params={**context.model.params, "seed": context.experiment.seed, "folds": len(training["folds"])},
        metrics=_metrics(candidate, results),
        fold_metrics=tuple(
            {training["metric"]: fold["metric"], "rounds": fold["rounds"]} for fold in training["folds"]
        ),
        tags=_tags(context, candidate, results),
        artifacts={
            "config.yaml": context.config_text.encode(),
            "gates.json": json.dumps([r.to_dict() for r in results], indent=2).encode(),
            "lineage.json": json.dumps(context.bundles.get(candidate.uri, candidate.digest).lineage, indent=2).encode(),
            FACTS_ARTIFACT: json.dumps(list(evaluation.facts)).encode(),
            "report.html": report,
        },
        # A release that is tried again is the same run; another release of the same bundle (a drill) is not.
        key=content_key("run", candidate.digest, step, context.config_digest),
    )


def _metrics(candidate: Candidate, results: tuple[GateResult, ...]) -> dict[str, float | None]:
    training = candidate.training
    values = [fold["metric"] for fold in training["folds"]]
    measured = {
        f"{result.gate}.{verdict.measurement.name}".replace(" ", "_"): verdict.measurement.value
        for result in results
        for verdict in result.verdicts
    }
    return {f"cv_{training['metric']}": sum(values) / len(values), "rounds": float(training["rounds"]), **measured}


def _tags(context: Context, candidate: Candidate, results: tuple[GateResult, ...]) -> dict[str, str]:
    version = candidate.version
    return {
        "data_uri": version.uri,
        "data_version": str(version.version),
        "data_ref": version.ref,
        "data_digest": version.digest,
        "data_row_digest": candidate.training["row_digest"],
        "data_rows": str(version.rows),
        "code_commit": context.code.commit,
        "code_dirty": str(context.code.dirty).lower(),
        "config_digest": context.config_digest,
        "bundle_digest": candidate.digest,
        **{f"gate_{result.gate}": f"{result.status}{' (waived)' if result.waiver else ''}" for result in results},
    }

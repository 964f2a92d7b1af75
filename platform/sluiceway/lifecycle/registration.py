"""Writes a judged candidate into MLflow, and makes it a model version where no gate blocks it."""

from __future__ import annotations

import json
import logging
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sluiceway.config.lifecycle import ReleaseStep
from sluiceway.core.verdict import GateResult, Status
from sluiceway.lifecycle.candidate import Candidate
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.evaluation import Evaluation
from sluiceway.lifecycle.keys import content_key
from sluiceway.lifecycle.subject import FACTS_ARTIFACT
from sluiceway.registry.bundle import Bundle
from sluiceway.registry.data_input import DataInput
from sluiceway.registry.mlflow_registry import RunRecord
from sluiceway.registry.recorded import CONFIG, DIGEST_TAG, ENVIRONMENT, TRAINING
from sluiceway.training.environment import environment_tags
from sluiceway.training.histories import series

_log = logging.getLogger(__name__)


def register(
    context: Context,
    step: ReleaseStep,
    candidate: Candidate,
    evaluation: Evaluation,
    results: tuple[GateResult, ...],
    report: Path,
) -> dict[str, Any]:
    """Log the run, with its gates, and register the bundle unless a gate blocks it.

    What was retired is not made a new version by other verdicts: it is that one, with its files and the verdicts of
    now, and no rollout takes it.

    Returns:
        ``run_id``, ``version``, None for a blocked candidate, and the bundle's ``digest``.
    """
    context.progress.stage("register", step.name)
    record = _record(context, step, candidate, evaluation, results, report)
    run_id = context.registry.log_run(record)
    if any(result.blocks for result in results):
        return {"run_id": run_id, "version": None, "digest": candidate.digest}
    run_id = _run_of_the_retired(context, step, candidate) or run_id
    bundle = context.bundles.get(candidate.uri, candidate.digest)
    version = context.registry.register(
        context.experiment.name,
        bundle,
        run_id,
        tags=_tags(context, candidate, results),
        example=candidate.training["example"],
    )
    return {"run_id": run_id, "version": version, "digest": candidate.digest}


def _run_of_the_retired(context: Context, step: ReleaseStep, candidate: Candidate) -> str | None:
    """The run of the bundle's newest version by this release where all of them are retired, else None."""
    registry, name = context.registry, context.experiment.name
    same = [one for one in registry.versions(name) if one.digest == candidate.digest]
    if all(one.retired is None for one in same):
        return None
    # Another release of the bundle, such as a drill, is retired for itself.
    same = [one for one in same if registry.record(name, one.version).run_name == step.name]
    return same[-1].run_id if same and all(one.retired for one in same) else None


def _record(
    context: Context,
    step: ReleaseStep,
    candidate: Candidate,
    evaluation: Evaluation,
    results: tuple[GateResult, ...],
    report: Path,
) -> RunRecord:
    training = candidate.training
    bundle = context.bundles.get(candidate.uri, candidate.digest)
    return RunRecord(
        experiment=context.experiment.name,
        name=step.name,
        params=_params(context, training),
        metrics=_metrics(candidate, results),
        fold_metrics=tuple(
            {training["metric"]: fold["metric"], "rounds": fold["rounds"]} for fold in training["folds"]
        ),
        series=series(training["histories"], training["metric"]),
        inputs=(_data(context, candidate, bundle),),
        tags=_tags(context, candidate, results),
        artifacts={
            CONFIG: context.config_text.encode(),
            TRAINING: json.dumps(training, indent=1).encode(),
            ENVIRONMENT: json.dumps(training["environment"], indent=2).encode(),
            "gates.json": json.dumps([r.to_dict() for r in results], indent=2).encode(),
            "lineage.json": json.dumps(bundle.lineage, indent=2).encode(),
            FACTS_ARTIFACT: json.dumps(list(evaluation.facts)).encode(),
            "report.html": report,
            "report.json": report.with_suffix(".json"),
            **_plots(training),
        },
        # A release that is tried again is the same run, unless the gates say something else now; another release of
        # the same bundle (a drill) is not.
        key=content_key(
            "run", candidate.digest, step, context.config_digest, [_verdicts(r) for r in results], evaluation.facts
        ),
    )


def _verdicts(result: GateResult) -> dict[str, Any]:
    """A gate's result without how long it took and where it was found, which make no other run of it."""
    return {name: value for name, value in result.to_dict().items() if name not in ("seconds", "cached")}


def said(result: GateResult) -> str:
    """The status of a gate in a word, and why it does not block although it did not pass."""
    if result.status is Status.PASS or result.blocks:
        return str(result.status)
    return f"{result.status} ({'waived' if result.waivers else 'does not block'})"


def _params(context: Context, training: Mapping[str, Any]) -> dict[str, Any]:
    """The model's parameters by their own names, everything else by its key of the configuration."""
    sections = {
        "model.type": context.model.type,
        **{f"training.{name}": value for name, value in context.training.model_dump(mode="json").items()},
        **{f"data.{name}": value for name, value in context.data.model_dump(mode="json").items()},
        "training.eval_metric": training["metric"],
    }
    return {**sections, **context.model.params, "seed": context.experiment.seed, "folds": len(training["folds"])}


def _data(context: Context, candidate: Candidate, bundle: Bundle) -> DataInput:
    version, training = candidate.version, candidate.training
    columns = {feature["name"]: feature["kind"] for feature in bundle.schema["features"]}
    named = any(isinstance(name, str) for name in bundle.decision.get("classes", ()))
    return DataInput(
        name=context.data.path,
        uri=version.uri,
        version=version.version,
        digest=version.digest,
        columns={**columns, bundle.decision["target"]: "category" if named else "numeric"},
        profile={
            "num_rows": version.rows,
            **{f"{part}_rows": rows for part, rows in training["rows"].items()},
            "digest": version.digest,
            "row_digest": training["row_digest"],
            "ref": version.ref,
        },
    )


def _plots(training: Mapping[str, Any]) -> dict[str, Path]:
    """The pictures that were drawn after the training, by artifact; none where somebody has cleaned them away."""
    found = {f"plots/{file.name}": file for file in sorted(Path(training["plots"]).glob("*.png"))}
    if not found:
        _log.warning("the run is logged without pictures: there are none in %s", training["plots"])
    return found


def _metrics(candidate: Candidate, results: tuple[GateResult, ...]) -> dict[str, float | None]:
    training = candidate.training
    values = [fold["metric"] for fold in training["folds"]]
    measured = {
        f"{result.gate}.{verdict.measurement.name}".replace(" ", "_"): verdict.measurement.value
        for result in results
        for verdict in result.verdicts
    }
    return {
        f"cv_{training['metric']}": statistics.fmean(values),
        f"cv_{training['metric']}_std": statistics.stdev(values),
        "rounds": float(training["rounds"]),
        "restarts": float(training["restarts"]),
        **{f"seconds_{part}": float(took) for part, took in training["seconds"].items()},
        **measured,
    }


def _tags(context: Context, candidate: Candidate, results: tuple[GateResult, ...]) -> dict[str, str]:
    version, training = candidate.version, candidate.training
    return {
        "data_uri": version.uri,
        "data_version": str(version.version),
        "data_ref": version.ref,
        "data_digest": version.digest,
        "data_row_digest": training["row_digest"],
        "data_rows": str(version.rows),
        "code_commit": training["code"]["commit"],
        "code_dirty": str(training["code"]["dirty"]).lower(),
        "code_digest": training["code"]["digest"],
        "config_digest": context.config_digest,
        DIGEST_TAG: candidate.digest,
        "model_digest": training["model_digest"],
        **environment_tags(training["environment"]),
        **{f"gate_{result.gate}": said(result) for result in results},
    }

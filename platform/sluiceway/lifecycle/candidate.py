"""From a version of the table to a candidate: profile, train, calibrate, choose the threshold, bundle."""

from __future__ import annotations

import hashlib
import importlib
import logging
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from sluiceway.core.references import TableVersion
from sluiceway.data.profile import check_trainable
from sluiceway.data.ray_profile import profile
from sluiceway.data.ray_row_digest import version_row_digest
from sluiceway.data.tables import schema as table_schema
from sluiceway.features.schema import derive
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.incremental import Base, base_of, going_on, membership_of, pin_base
from sluiceway.lifecycle.journal import Journal, Outcome
from sluiceway.lifecycle.keys import code_digest, content_key
from sluiceway.lifecycle.preflight import check_evaluation, check_named_columns
from sluiceway.registry.bundle import Bundle
from sluiceway.training.calibrator import fit_calibrator
from sluiceway.training.checkpoints import forget_checkpoints
from sluiceway.training.environment import describe_environment
from sluiceway.training.histories import thinned
from sluiceway.training.params import kind_of
from sluiceway.training.ray_resources import look_at_cluster
from sluiceway.training.recipe import Recipe
from sluiceway.training.report import TrainReport
from sluiceway.training.threshold import choose
from sluiceway.training.trainer import train
from sluiceway.training.typical_rows import typical_rows

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """A trained model, stored, with what people want to know of its training.

    Attributes:
        version: the pinned training data.
        uri: the bundle's place in the bundle store.
        digest: the bundle's digest.
        training: the training report without the model itself, JSON-ready.
    """

    version: TableVersion
    uri: str
    digest: str
    training: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """JSON for the pipeline journal."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Candidate:
        """The inverse of :meth:`to_dict`."""
        return cls(**{**document, "version": TableVersion(**document["version"])})


def candidate_key(context: Context, version: TableVersion) -> str:
    """Everything that the trained model depends on."""
    base = base_of(context)
    return content_key(
        "candidate",
        code_digest(),
        metadata.version("xgboost"),
        context.experiment,
        context.data.model_dump(mode="json", exclude={"path", "version"}),
        version.uri,
        version.digest,
        context.model,
        context.training,
        context.evaluation.decision,
        context.evaluation.calibration.calibrator,
        *([] if base is None else [base.bundle.digest]),
    )


def build_candidate(context: Context, version: TableVersion) -> Candidate:
    """Train on a version and store the bundle.

    Raises:
        DataError: the rows cannot be trained on; the message names the column.
        ConfigError: gates or prediction log name columns that are not there; else as :func:`recipe_of`.
    """
    check_named_columns(context.evaluation, context.serving, version)
    context = pin_base(context)
    candidate = _train(context, version)
    forget_checkpoints(_checkpoints(context, version))
    return candidate


def candidate_step(context: Context, version: TableVersion, journal: Journal, *, name: str) -> Outcome:
    """The candidate as a step: one that any run has trained is taken, while its bundle is there, and undamaged.

    Its checkpoints go when it is written down, and not before: where the catalog does not answer just then, the
    training is gone on with and not done again.

    Args:
        context: what to work with; its base is a version, and no alias.
        version: to train on.
        journal: of the run.
        name: of the step.

    Returns:
        the step's outcome, with :meth:`Candidate.to_dict` as result.

    Raises:
        SluicewayError: as :func:`build_candidate`.
    """
    # Neither gates nor prediction log are in the key: a candidate that is known was trained under another log.
    check_named_columns(context.evaluation, context.serving, version)
    outcome = journal.perform(
        name,
        lambda: _train(context, version).to_dict(),
        key=candidate_key(context, version),
        across_runs=True,
        usable=lambda result: context.bundles.has(result["digest"]),  # not after `models retire --delete-files`
    )
    if not outcome.reused:
        forget_checkpoints(_checkpoints(context, version))
    return outcome


def _checkpoints(context: Context, version: TableVersion) -> Path:
    return context.folders.state / "checkpoints" / candidate_key(context, version)[:32]


def _train(context: Context, version: TableVersion) -> Candidate:
    base = base_of(context)
    recipe = recipe_of(context, version, base)
    context.progress.stage("train", f"{version.rows:,} rows of version {version.version}")
    report = train(
        version,
        recipe,
        oof_uri=_oof_uri(context, version, recipe),
        progress=context.progress,
        checkpoints=str(_checkpoints(context, version)),
    )
    rows = str(version_row_digest(version, kept=context.stores.file_digests))
    bundle = _bundle(
        context,
        version,
        report,
        row_digest=rows,
        base=base,
        membership=membership_of(recipe.data, recipe.seed, version),
    )
    uri = context.bundles.put(bundle)
    document = report_document(context, report) | {"row_digest": rows, "base": None if base is None else base.version}
    plots = _keep_plots(context, report, f"{context.experiment.name}-{bundle.digest[:12]}-plots")
    return Candidate(version, uri, bundle.digest, document | {"plots": plots})


def recipe_of(context: Context, version: TableVersion, base: Base | None) -> Recipe:
    """Look at the columns of a version, and say what is trained on it.

    Args:
        context: the configuration.
        version: that is trained on.
        base: the model that is gone on from, or None.

    Raises:
        DataError: the rows cannot be trained on; the message names the column.
        ConfigError: the evaluation names metrics or a calibrator that a model of such a target does not have.
    """
    context.progress.stage("profile", f"{version.uri}@{version.ref}")
    columns = profile(version, (*context.data.features, context.data.target))
    number = context.model.type == "XGBRegressor"
    classes = check_trainable(columns, context.data, kind="number" if number else "classes")
    check_evaluation(context.evaluation, kind_of(context.model, len(classes)))
    schema = derive(
        table_schema(version.uri, version.version), categories=columns.categories, features=context.data.features
    )
    recipe = Recipe(context.data, context.model, context.training, context.experiment.seed, schema, classes)
    return recipe if base is None else going_on(context, recipe, base, version)


def _oof_uri(context: Context, version: TableVersion, recipe: Recipe) -> str:
    """One table for models of a version whose predictions have the same columns."""
    several = f"-{len(recipe.classes)}" if recipe.target.kind == "multiclass" else ""
    weighted = "-weighted" if context.data.weight else ""
    return str(context.folders.out_of_fold / f"{version.digest[:16]}{several}{weighted}")


def _bundle(
    context: Context,
    version: TableVersion,
    report: TrainReport,
    *,
    row_digest: str,
    base: Base | None,
    membership: dict[str, Any],
) -> Bundle:
    data = {"uri": version.uri, "version": version.version, "digest": version.digest, "rows": version.rows}
    return Bundle(
        model=report.model,
        schema=report.schema.to_dict(),
        decision=decision_of(context, report),
        # No times and no paths of runs: the same inputs give the same bundle, byte for byte.
        lineage={
            "experiment": context.experiment.name,
            "seed": context.experiment.seed,
            "data": {**data, "row_digest": row_digest},
            "membership": membership,
            "code": {"commit": context.code.commit, "dirty": context.code.dirty, "digest": code_digest()},
            **({} if base is None else {"base": {"version": base.version, "digest": base.bundle.digest}}),
            "config": context.model.model_dump(mode="json") | context.training.model_dump(mode="json"),
        },
    )


def decision_of(context: Context, report: TrainReport) -> dict[str, Any]:
    """What becomes of a score: the bundle's ``decision.json``.

    The calibrator comes first, where one is asked for: the threshold is one of calibrated scores.

    Raises:
        DataError: the validation rows do not hold both classes.
    """
    scored, wanted = report.validation, context.evaluation.calibration.calibrator
    labels, scores = scored.labels, scored.scores
    binary, calibrator = report.kind == "binary", None
    if binary and wanted != "none":
        calibrator = fit_calibrator(labels, scores, wanted)
        scores = calibrator(scores)
    return {
        "kind": report.kind,
        "threshold": choose(labels, scores, context.evaluation.decision) if binary else None,
        "target": context.data.target,
        **({"classes": list(report.classes)} if report.kind == "multiclass" else {}),
        **({} if calibrator is None else {"calibrator": calibrator.to_dict()}),
    }


def report_document(context: Context, report: TrainReport) -> dict[str, Any]:
    """What is written down of a training: a fold's history has at most 1,000 points, its best and its last one kept.

    Returns:
        JSON-ready: the report without model and rows, and ``model_digest``, ``code``, ``environment``, ``example``.
    """
    folds = [{name: value for name, value in asdict(fold).items() if name != "history"} for fold in report.folds]
    return {
        "kind": report.kind,
        "rounds": report.rounds,
        "metric": report.metric_name,
        "folds": folds,
        "histories": thinned(report.folds),
        "rows": dict(report.rows),
        "seconds": dict(report.seconds),
        "engine": report.engine,
        "why": report.why,
        "restarts": report.restarts,
        "oof_uri": report.oof_uri,
        "oof_version": report.oof_version,
        "model_digest": hashlib.sha256(report.model).hexdigest(),
        "code": {"commit": context.code.commit, "dirty": context.code.dirty, "digest": code_digest()},
        "environment": describe_environment(look_at_cluster()),
        "example": typical_rows(report.validation.sample, report.schema),
    }


def _keep_plots(context: Context, report: TrainReport, name: str) -> str:
    """Draw the run and keep the pictures beside the reports; the bundle's digest is the model's and not theirs."""
    folder = context.folders.reports / name
    context.progress.stage("plots", str(folder))
    # matplotlib takes a second to load, which nobody who only asks has a use for.
    pictures = importlib.import_module("sluiceway.training.plots").draw(report, target=context.data.target)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in pictures.items():
            (folder / file).write_bytes(content)
    except OSError as error:
        _log.warning("the pictures cannot be kept in %s: %s", folder, error)
    return str(folder)

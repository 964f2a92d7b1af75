"""From a version of the table to a candidate: profile, train, choose the threshold, bundle."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from sluiceway.config.experiment import ModelSection
from sluiceway.core.references import TableVersion
from sluiceway.data.profile import check_trainable
from sluiceway.data.ray_profile import profile
from sluiceway.data.ray_row_digest import version_row_digest
from sluiceway.data.tables import schema as table_schema
from sluiceway.features.schema import FeatureSchema, derive
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.keys import code_digest, content_key
from sluiceway.registry.bundle import Bundle
from sluiceway.training.report import TrainReport
from sluiceway.training.threshold import choose
from sluiceway.training.trainer import train


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


def kind_of(model: ModelSection) -> Literal["binary", "regression"]:
    """What the estimator predicts."""
    return "binary" if model.type == "XGBClassifier" else "regression"


def candidate_key(context: Context, version: TableVersion) -> str:
    """Everything that the trained model depends on."""
    return content_key(
        "candidate",
        code_digest(),
        context.experiment,
        context.data.model_dump(mode="json", exclude={"path", "version"}),
        version.uri,
        version.digest,
        context.model,
        context.training,
        context.evaluation.decision,
    )


def build_candidate(context: Context, version: TableVersion) -> Candidate:
    """Train on a version and store the bundle.

    Raises:
        DataError: the rows cannot be trained on; the message names the column.
    """
    context.progress.stage("profile", f"{version.uri}@{version.ref}")
    columns = profile(version, (*context.data.features, context.data.target))
    check_trainable(columns, context.data, kind=kind_of(context.model))
    schema = derive(
        table_schema(version.uri, version.version), categories=columns.categories, features=context.data.features
    )
    context.progress.stage("train", f"{version.rows:,} rows of version {version.version}")
    report = train(
        version,
        data=context.data,
        model=context.model,
        training=context.training,
        seed=context.experiment.seed,
        oof_uri=str(context.folders.out_of_fold / version.digest[:16]),
        schema=schema,
        progress=context.progress,
    )
    rows = str(version_row_digest(version, kept=context.stores.file_digests))
    bundle = _bundle(context, version, report, schema, row_digest=rows)
    uri = context.bundles.put(bundle)
    return Candidate(version, uri, bundle.digest, _report_document(report) | {"row_digest": rows})


def _bundle(
    context: Context, version: TableVersion, report: TrainReport, schema: FeatureSchema, *, row_digest: str
) -> Bundle:
    data = {"uri": version.uri, "version": version.version, "digest": version.digest, "rows": version.rows}
    kind = kind_of(context.model)
    scored = report.validation
    threshold = choose(scored.labels, scored.scores, context.evaluation.decision) if kind == "binary" else None
    return Bundle(
        model=report.model,
        schema=schema.to_dict(),
        decision={
            "kind": kind,
            "threshold": threshold,
            "target": context.data.target,
        },
        # No times and no paths of runs: the same inputs give the same bundle, byte for byte.
        lineage={
            "experiment": context.experiment.name,
            "seed": context.experiment.seed,
            "data": {**data, "row_digest": row_digest},
            "code": {"commit": context.code.commit, "dirty": context.code.dirty, "digest": code_digest()},
            "config": context.model.model_dump(mode="json") | context.training.model_dump(mode="json"),
        },
    )


def _report_document(report: TrainReport) -> dict[str, Any]:
    return {
        "rounds": report.rounds,
        "metric": report.metric_name,
        "folds": [asdict(fold) for fold in report.folds],
        "rows": dict(report.rows),
        "seconds": dict(report.seconds),
        "engine": report.engine,
        "why": report.why,
        "oof_uri": report.oof_uri,
    }

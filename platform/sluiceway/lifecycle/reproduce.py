"""Does a recorded run again, on the same rows with the same configuration, and says whether it gave the same."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from sluiceway.core.errors import DataError, ModelError
from sluiceway.core.references import TableVersion
from sluiceway.data.references import resolve
from sluiceway.lifecycle.candidate import decision_of, recipe_of, report_document
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.incremental import base_of, with_base
from sluiceway.lifecycle.keys import code_digest
from sluiceway.registry.bundle import Bundle
from sluiceway.registry.recorded import DIGEST_TAG, ENVIRONMENT, TRAINING, RecordedRun
from sluiceway.training.compare import fold_differences, prediction_difference
from sluiceway.training.environment import Difference, describe_environment, differences
from sluiceway.training.ray_resources import look_at_cluster
from sluiceway.training.report import TrainReport
from sluiceway.training.trainer import train


@dataclass(frozen=True)
class Recorded:
    """A recorded run with its documents read.

    Attributes:
        run: as the registry gave it.
    """

    run: RecordedRun

    @cached_property
    def training(self) -> dict[str, Any]:
        """The report of the training."""
        return self._document(TRAINING)

    @cached_property
    def environment(self) -> dict[str, Any]:
        """What it was trained with."""
        return self._document(ENVIRONMENT)

    def _document(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads(self.run.files[name])
        except ValueError as error:
            raise ModelError(f"{name} of run {self.run.run_id} is not JSON: {error}") from error
        if not isinstance(found, dict):
            raise ModelError(f"{name} of run {self.run.run_id} holds no object")
        return found


@dataclass(frozen=True)
class Reproduction:
    """What came of doing a run again.

    Attributes:
        run_id: of the run.
        same: the model is the same, byte for byte, and so are decision, schema and folds.
        model_digest: SHA-256 of the new booster.
        results: what differs in the result, the first difference first.
        prediction_difference: largest difference of a prediction on ``rows`` validation rows; None where the model of
            then is nowhere to be found.
        rows: validation rows that both models have scored.
        seconds: that training took now.
    """

    run_id: str
    same: bool
    model_digest: str
    results: tuple[Difference, ...]
    prediction_difference: float | None
    rows: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


def recorded_version(context: Context, recorded: Recorded) -> TableVersion:
    """The version of the table that the run was trained on.

    Raises:
        DataError: the table is gone, or no longer has that version with that digest.
    """
    tags = recorded.run.tags
    try:
        uri, number, digest = tags["data_uri"], int(tags["data_version"]), tags["data_digest"]
    except (KeyError, ValueError) as error:
        raise ModelError(f"the run {recorded.run.run_id} does not say which rows it was trained on: {error}") from error
    stores = context.stores
    version = resolve(uri, number, tags=stores.tags, repository=stores.repository, lost=stores.lost_versions)
    if version.digest != digest:
        raise DataError(
            f"version {number} of {uri} is not the one that run {recorded.run.run_id} was trained on: "
            f"its digest is {version.digest[:12]}, not {digest[:12]}",
            hint="the table was made anew; restore the old one from a copy, or train on the new one",
            table=uri,
            version=number,
        )
    return version


def surroundings(context: Context, recorded: Recorded) -> tuple[Difference, ...]:
    """What is not as it was when the run was trained: code, configuration, libraries, lock, machine, cluster."""
    now = {"commit": context.code.commit, "dirty": context.code.dirty, "digest": code_digest()}
    found = differences({"code": recorded.training["code"]}, {"code": now})
    written = hashlib.sha256(recorded.run.files["config.yaml"]).hexdigest()
    logged = recorded.run.tags.get("config_digest", "")
    if written != logged:
        found += (Difference("config.yaml, changed since it was logged", logged[:12], written[:12]),)
    return found + differences(recorded.environment, describe_environment(look_at_cluster()))


def reproduce(context: Context, recorded: Recorded, version: TableVersion) -> Reproduction:
    """Train again, whatever is kept of earlier trainings, and compare; nothing is stored.

    Args:
        context: of the run's configuration.
        recorded: the run.
        version: as :func:`recorded_version` gives it.
    """
    with context.reading(version):
        base = base_of(with_base(context, recorded.training.get("base")))
        recipe = recipe_of(context, version, base)
        context.progress.stage("train", f"{version.rows:,} rows of version {version.version}, again")
        report = train(version, recipe, oof_uri="", progress=context.progress)
    document = report_document(context, report)
    old = recorded.run.bundle or _kept(context, recorded)
    results = tuple(_results(context, recorded.training, document, report, old))
    sample = report.validation.sample
    apart = None if old is None else prediction_difference(old.model, report.model, sample)
    return Reproduction(
        run_id=recorded.run.run_id,
        same=not results,
        model_digest=document["model_digest"],
        results=results,
        prediction_difference=None if apart is None or math.isnan(apart) else apart,
        rows=len(sample),
        seconds=float(report.seconds["total"]),
    )


def _results(
    context: Context, then: dict[str, Any], now: dict[str, Any], report: TrainReport, old: Bundle | None
) -> list[Difference]:
    found = [] if then["rows"] == now["rows"] else [Difference("rows", str(then["rows"]), str(now["rows"]))]
    found += fold_differences(then, now)
    if then["model_digest"] != now["model_digest"]:
        found.append(Difference("model, SHA-256", then["model_digest"], now["model_digest"]))
    if old is not None:
        found += differences(
            {"decision": old.decision, "schema": old.schema},
            {"decision": decision_of(context, report), "schema": report.schema.to_dict()},
        )
    return found


def _kept(context: Context, recorded: Recorded) -> Bundle | None:
    """The model of a run that the gates blocked: it is in no registry, but maybe still in the bundle store."""
    digest = recorded.run.tags[DIGEST_TAG]
    try:
        return context.bundles.get(str(context.bundles.root / digest), digest)
    except ModelError:
        return None

"""Takes a booster that was trained elsewhere into the registry, as the next version of a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from sluiceway.config.experiment import ExperimentSection
from sluiceway.config.model_schema import ModelSchema
from sluiceway.core.errors import InputError, ModelError
from sluiceway.features.encode import encode_rows
from sluiceway.features.schema import FeatureSchema
from sluiceway.lifecycle.import_schema import check_fits, decision_of, features_of, schema_of_signature
from sluiceway.lifecycle.keys import content_key
from sluiceway.registry.bundle import Bundle
from sluiceway.registry.mlflow_registry import Registry, RunRecord
from sluiceway.registry.versions import IMPORTED_DIGEST_TAG, IMPORTED_FROM_TAG
from sluiceway.serving.scorer import BundleScorer
from sluiceway.training.foreign_booster import ForeignBooster

_ADDRESSES = ("models:/", "runs:/")
_EXAMPLES = 3


@dataclass(frozen=True)
class Source:
    """A model as it came.

    Attributes:
        content: the booster's file.
        address: where it was.
        file: its name.
        columns: of MLflow's signature: its type by name, in order; empty where there is none.
    """

    content: bytes
    address: str
    file: str
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of the content, 64 hex digits."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Imported:
    """What became of it.

    Attributes:
        model: name of the registered model.
        version: its number there.
        known: it had been imported before, and is that version.
        bundle: what was registered.
        source: what it came from.
        objective: XGBoost's.
        rounds: of boosting.
        left_out: rounds behind the best one, which its estimator does not use either.
        checked: rows on which it scores as ``Booster.predict`` does.
    """

    model: str
    version: str
    known: bool
    bundle: Bundle
    source: Source
    objective: str
    rounds: int
    left_out: int
    checked: int


def read_source(address: str, registry: Registry) -> Source:
    """Fetch a model.

    Args:
        address: of MLflow (``models:/...``, ``runs:/...``), or a file.
        registry: of that MLflow.

    Raises:
        ModelError: nothing is there, or nothing that could be a booster.
        BackendError: MLflow does not answer.
    """
    if address.startswith(_ADDRESSES):
        found = registry.fetch_foreign(address)
        return Source(found.content, found.address, found.file, found.columns)
    path = Path(address.removeprefix("file://"))
    try:
        return Source(path.read_bytes(), str(path.absolute()), path.name)
    except OSError as error:
        raise ModelError(
            f"{address} cannot be read: {error.strerror}",
            hint="name a booster's file (.ubj or .json), models:/NAME/VERSION, or runs:/RUN/PATH",
        ) from error


def import_model(
    registry: Registry,
    source: Source,
    name: str,
    *,
    schema: ModelSchema | None = None,
    target: str | None = None,
) -> Imported:
    """Register a model as the next version of ``name``; the same model with the same schema is the same version.

    Args:
        registry: that gets it.
        source: the model.
        name: of the registered model, made when it is new.
        schema: what it sees and decides; MLflow's signature where left out.
        target: column that it predicts, where there is no schema.

    Raises:
        ModelError: it is no booster, the schema does not fit, its scores would differ, or the name is another model's.
        InputError: the name cannot be an experiment's.
        BackendError: MLflow does not answer.
    """
    booster = ForeignBooster(source.content, where=source.address)
    _ = booster.kind  # an objective that cannot be served is told before anything about its schema
    if schema is None:
        schema = schema_of_signature(source.columns, booster, target=target)
    _check_signature(schema, source)
    check_fits(schema, booster)
    bundle = _bundle(source, schema, booster, name)
    sample = booster.sample()
    _check_scores(bundle, booster, sample)
    _check_name(registry, name, bundle)
    before = {one.version for one in registry.versions(name)}
    version = _register(registry, name, bundle, source, sample[:_EXAMPLES])
    return Imported(
        name,
        version,
        version in before,
        bundle,
        source,
        objective=booster.objective,
        rounds=booster.rounds,
        left_out=booster.left_out,
        checked=len(sample),
    )


def _bundle(source: Source, schema: ModelSchema, booster: ForeignBooster, name: str) -> Bundle:
    return Bundle(
        model=booster.ubjson(),
        schema=features_of(schema).to_dict(),
        decision=decision_of(schema, booster),
        # As of a trained one: no times and no places, so that the same model is the same bundle.
        lineage={
            "experiment": name,
            "imported": {"file": source.file, "digest": source.digest, "left_out_rounds": booster.left_out},
        },
    )


def _check_signature(schema: ModelSchema, source: Source) -> None:
    names = [feature.name for feature in schema.features]
    if source.columns and list(source.columns) != names:
        raise ModelError(
            f"the schema names {', '.join(names)}, and the model's signature {', '.join(source.columns)}",
            hint="name the columns as the signature has them, in its order",
        )


def _check_scores(bundle: Bundle, booster: ForeignBooster, sample: np.ndarray) -> None:
    """Score rows as a request brings them, and hold the scores against ``Booster.predict``.

    Raises:
        ModelError: they differ.
    """
    schema = FeatureSchema.from_dict(bundle.schema)
    encoded, unknown = encode_rows(_as_requests(sample, schema), schema)
    found, expected = BundleScorer(bundle, threads=1).score_matrix(encoded), booster.predict(encoded)
    if found.shape != expected.shape:
        raise ModelError(f"the bundle gives scores of shape {found.shape}, Booster.predict {expected.shape}")
    differing = int((found != expected).reshape(len(found), -1).any(axis=1).sum())
    if unknown or differing:
        raise ModelError(
            f"the bundle scores {differing} of {len(found)} sample rows otherwise than Booster.predict",
            hint="train it again with the release of XGBoost that is installed here",
        )


def _as_requests(sample: np.ndarray, schema: FeatureSchema) -> list[dict[str, Any]]:
    """Encoded rows as a client sends them: a category as its text, what is missing as None."""
    return [
        {feature.name: _value(number, feature.categories) for feature, number in zip(schema.features, row, strict=True)}
        for row in sample.tolist()
    ]


def _value(number: float, categories: tuple[str, ...]) -> float | str | None:
    if number != number:
        return None
    return categories[min(max(int(number), 0), len(categories) - 1)] if categories else number


def _check_name(registry: Registry, name: str, bundle: Bundle) -> None:
    try:
        ExperimentSection(name=name)
    except ValidationError as error:
        raise InputError(
            f"{name!r} is no name for a model",
            hint="it has to begin with a letter or a digit and may hold letters, digits, ., _ and -",
        ) from error
    strangers = registry.strangers(name)
    if strangers:
        raise ModelError(
            f"the registered model {name!r} is somebody else's: its version {strangers[-1]} is none of Sluiceway's",
            hint="import it under another name: rollouts move the aliases of theirs",
        )
    known = registry.versions(name)
    if not known:
        return
    theirs = registry.record(name, known[-1].version).decision
    for what in ("target", "kind", "classes"):
        if theirs.get(what) != bundle.decision.get(what):
            raise ModelError(
                f"{what} of the model {name!r} is {theirs.get(what)}, and of this one {bundle.decision.get(what)}",
                hint="import it under another name: versions of one model are compared with one another",
            )


def _register(registry: Registry, name: str, bundle: Bundle, source: Source, sample: np.ndarray) -> str:
    tags = {IMPORTED_FROM_TAG: source.address, IMPORTED_DIGEST_TAG: source.digest}
    run_id = registry.log_run(
        RunRecord(
            experiment=name,
            name=f"import {source.file}",
            tags=tags,
            artifacts={"lineage.json": json.dumps(bundle.lineage, indent=2).encode()},
            key=content_key("import", name, bundle.digest),
        )
    )
    example = _as_requests(sample, FeatureSchema.from_dict(bundle.schema))
    return registry.register(name, bundle, run_id, tags=tags, example=example)

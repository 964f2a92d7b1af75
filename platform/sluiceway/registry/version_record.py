"""What is known of a registered version beside its booster, and how the booster alone is deleted."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from sluiceway.core.errors import BackendError
from sluiceway.registry.bundle import DECISION_FILE, LINEAGE_FILE, MODEL_FILE, SCHEMA_FILE
from sluiceway.registry.recorded import ENVIRONMENT
from sluiceway.registry.versions import PATH_TAG, ModelVersion


@dataclass(frozen=True)
class VersionRecord:
    """A version, and what its run wrote down.

    Attributes:
        name: of the model.
        version: number, tags, aliases.
        run_name: of the run, for people.
        schema: the bundle's features.
        decision: the bundle's decision.
        lineage: where the bundle came from.
        params: of the run.
        metrics: of the run, the last value of each.
        libraries: installed when it was trained, version by name; none where the run did not write them down.
        bytes: size of the booster; None where it is deleted.
    """

    name: str
    version: ModelVersion
    run_name: str
    schema: Mapping[str, Any]
    decision: Mapping[str, Any]
    lineage: Mapping[str, Any]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    libraries: Mapping[str, str]
    bytes: int | None


def read_record(client: MlflowClient, name: str, version: ModelVersion) -> VersionRecord:
    """Read a version's documents and its run."""
    run, path = client.get_run(version.run_id), version.tags[PATH_TAG]
    kept = {entry.path: entry.file_size for entry in client.list_artifacts(version.run_id, path)}
    with tempfile.TemporaryDirectory(prefix="sluiceway-record-") as folder:

        def document(file: str) -> dict[str, Any]:
            content = Path(client.download_artifacts(version.run_id, file, folder)).read_bytes()
            found: dict[str, Any] = json.loads(content)
            return found

        there = any(entry.path == ENVIRONMENT for entry in client.list_artifacts(version.run_id))
        return VersionRecord(
            name=name,
            version=version,
            run_name=run.info.run_name or "",
            schema=document(f"{path}/{SCHEMA_FILE}"),
            decision=document(f"{path}/{DECISION_FILE}"),
            lineage=document(f"{path}/{LINEAGE_FILE}"),
            params=dict(run.data.params),
            metrics=dict(run.data.metrics),
            libraries=document(ENVIRONMENT)["libraries"] if there else {},
            bytes=kept.get(f"{path}/{MODEL_FILE}"),
        )


def delete_booster(client: MlflowClient, version: ModelVersion) -> None:
    """Delete the booster from the artifacts of the version's run; the documents beside it stay.

    Raises:
        BackendError: the place of the artifacts cannot delete.
    """
    place = client.get_run(version.run_id).info.artifact_uri
    uri = client.tracking_uri
    try:
        get_artifact_repository(place, tracking_uri=uri, registry_uri=uri).delete_artifacts(
            f"{version.tags[PATH_TAG]}/{MODEL_FILE}"
        )
    except NotImplementedError as error:
        raise BackendError(
            f"files in {place} cannot be deleted through MLflow",
            hint=f"delete {version.tags[PATH_TAG]}/{MODEL_FILE} there yourself",
        ) from error

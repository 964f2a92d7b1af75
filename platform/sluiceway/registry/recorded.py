"""What a run of ours wrote down in MLflow, read again so that it can be done again."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow.tracking import MlflowClient

from sluiceway.core.errors import ModelError
from sluiceway.registry import bundle as bundles
from sluiceway.registry.bundle import Bundle

CONFIG, TRAINING, ENVIRONMENT = "config.yaml", "training.json", "environment.json"
DIGEST_TAG = "bundle_digest"
_NEEDED = (CONFIG, TRAINING, ENVIRONMENT)


@dataclass(frozen=True)
class RecordedRun:
    """A training run as it was written down.

    Attributes:
        run_id: MLflow's.
        tags: of the run.
        files: content of ``config.yaml``, ``training.json`` and ``environment.json`` by name.
        bundle: the model, or None where the run was not registered.
    """

    run_id: str
    tags: Mapping[str, str]
    files: Mapping[str, bytes]
    bundle: Bundle | None


def read_run(client: MlflowClient, run_id: str) -> RecordedRun:
    """Read a run.

    Raises:
        ModelError: it does not hold what is needed to do it again, or its model is damaged.
    """
    tags = dict(client.get_run(run_id).data.tags)
    kept = [entry.path for entry in client.list_artifacts(run_id)]
    missing = [name for name in _NEEDED if name not in kept] + [DIGEST_TAG] * (DIGEST_TAG not in tags)
    if missing:
        raise ModelError(
            f"the run {run_id} cannot be done again: it has no {', '.join(missing)}",
            hint="runs that `sluiceway run` logged with this release or a later one have them",
        )
    with tempfile.TemporaryDirectory(prefix="sluiceway-recorded-") as folder:
        files = {name: Path(client.download_artifacts(run_id, name, folder)).read_bytes() for name in _NEEDED}
        path = f"model/{tags[DIGEST_TAG][:16]}"
        there = any(entry.path == path for entry in client.list_artifacts(run_id, "model"))
        bundle = (
            bundles.read(client.download_artifacts(run_id, path, folder), digest=tags[DIGEST_TAG]) if there else None
        )
    return RecordedRun(run_id, tags, files, bundle)

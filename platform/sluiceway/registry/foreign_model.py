"""A model that somebody has logged with plain ``mlflow.xgboost``: its bytes and its signature, never loaded by MLflow.

MLflow's own download of ``models:/`` and ``runs:/`` asks the tracking store of the process, whatever client it is given
(3.17), so addresses are followed here, to the folder of the artifacts. Only the description and the booster are
fetched: nothing else in the folder, code or pickle, is even read.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient
from mlflow.types.schema import ColSpec

from sluiceway.core.errors import ModelError

_FLAVOUR, _DESCRIPTION = "xgboost", "MLmodel"
_STEPS = 4  # a version points to a logged model, that one to its folder
_RUN = re.compile(r"runs:/(?P<run>[^/]+)/(?P<path>.+)")
_LOGGED = re.compile(r"models:/(?P<id>m-[0-9a-f]+)")
_VERSION = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[^/@]+))")


@dataclass(frozen=True)
class ForeignModel:
    """What was fetched.

    Attributes:
        content: the booster's file.
        file: its name.
        address: what was asked for, an alias as the version that it points to now.
        columns: of the signature: MLflow's type by name, in order; empty where there is no signature of columns.
        run_id: the run that logged it, or "".
    """

    content: bytes
    file: str
    address: str
    columns: dict[str, str]
    run_id: str


def fetch(client: MlflowClient, address: str) -> ForeignModel:
    """Fetch a model by its address.

    Args:
        client: of the store that has it.
        address: ``models:/NAME/VERSION``, ``models:/NAME@ALIAS``, ``models:/m-ID`` or ``runs:/RUN/PATH``.

    Raises:
        ModelError: it is no such address, nothing is there, or it is no model of ``mlflow.xgboost``.
        MlflowException: the store refused or could not be reached.
    """
    pinned = _pinned(client, address)
    place = _place(client, pinned)
    uri = client.tracking_uri
    files = get_artifact_repository(place, tracking_uri=uri, registry_uri=uri)
    with tempfile.TemporaryDirectory(prefix="sluiceway-foreign-") as folder:
        try:
            described = Model.load(files.download_artifacts(_DESCRIPTION, folder))
        except MlflowException as error:
            raise ModelError(
                f"{address} is no logged model: there is no {_DESCRIPTION} in {place}",
                hint="name what mlflow.xgboost.log_model has logged",
            ) from error
        file = _booster_file(address, described)
        content = Path(files.download_artifacts(file, folder)).read_bytes()
    return ForeignModel(content, file, pinned, _columns(described), described.run_id or "")


def _pinned(client: MlflowClient, address: str) -> str:
    """The address with an alias followed, so that it means the same tomorrow."""
    found = _VERSION.fullmatch(address)
    if found is None or found["alias"] is None:
        return address
    version = client.get_model_version_by_alias(found["name"], found["alias"])
    return f"models:/{found['name']}/{version.version}"


def _place(client: MlflowClient, address: str) -> str:
    """The folder of the artifacts."""
    place = address
    for _ in range(_STEPS):
        if logged := _LOGGED.fullmatch(place):
            return str(client.get_logged_model(logged["id"]).artifact_location)
        if version := _VERSION.fullmatch(place):
            place = str(client.get_model_version(version["name"], version["version"]).source)
        elif run := _RUN.fullmatch(place):
            return _of_run(client, run["run"], run["path"])
        elif place.startswith(("models:", "runs:")):
            break
        else:
            return place
    raise ModelError(
        f"{address} is no address of a model",
        hint="models:/NAME/VERSION, models:/NAME@ALIAS, models:/m-ID or runs:/RUN/PATH",
    )


def _of_run(client: MlflowClient, run_id: str, path: str) -> str:
    """The model that a run logged by this name, else the folder of this name among the run's own artifacts."""
    run = client.get_run(run_id)
    token = None
    while True:
        page = client.search_logged_models([run.info.experiment_id], f"name = '{path}'", page_token=token)
        for model in page:
            if model.source_run_id == run_id:
                return str(model.artifact_location)
        token = page.token
        if not token:
            return f"{run.info.artifact_uri}/{path}"


def _booster_file(address: str, described: Model) -> str:
    """The booster's file below the folder.

    Raises:
        ModelError: another flavour has logged it.
    """
    flavour: dict[str, Any] | None = described.flavors.get(_FLAVOUR)
    if flavour is None:
        there = ", ".join(sorted(described.flavors)) or "none"
        raise ModelError(
            f"{address} is no model of mlflow.xgboost: its flavours are {there}",
            hint="what other flavours log may be a pickle, which is never opened: save the booster with "
            "save_model('model.ubj') and import that file",
        )
    file = PurePosixPath(str(flavour["data"]))
    if file.is_absolute() or ".." in file.parts:
        raise ModelError(f"{address} names the file {file}, which is not in its own folder")
    return str(file)


def _columns(described: Model) -> dict[str, str]:
    inputs = described.signature.inputs if described.signature else None
    if inputs is None or not all(isinstance(column, ColSpec) and column.name for column in inputs.inputs):
        return {}
    return {str(column.name): getattr(column.type, "name", str(column.type)) for column in inputs.inputs}

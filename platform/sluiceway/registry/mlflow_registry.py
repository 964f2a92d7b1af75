"""Runs, models, versions and aliases in MLflow; the one door to it.

A version is used only when it carries :data:`COMPLETE_TAG`, which is written last: what a crash leaves half done is
invisible to every look-up here, and the next :meth:`Registry.register` of the same bundle and run completes it.
"""

from __future__ import annotations

import difflib
import logging
import re
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from sluiceway.core.errors import BackendError, ModelError
from sluiceway.core.references import ModelReference
from sluiceway.registry import bundle as bundles
from sluiceway.registry.bundle import Bundle
from sluiceway.registry.connection import Connection, pages, write_again_if_lost
from sluiceway.registry.foreign_model import ForeignModel, fetch
from sluiceway.registry.mlflow_folder import Row, card, write_folder
from sluiceway.registry.recorded import RecordedRun, read_run
from sluiceway.registry.runs import KEY_TAG, RunRecord, tag_text, write_run
from sluiceway.registry.search_runs import SearchRuns
from sluiceway.registry.version_record import VersionRecord, delete_booster, read_record
from sluiceway.registry.versions import (
    BYTES_TAG,
    CHALLENGER,
    CHAMPION,
    COMPLETE_TAG,
    DELETED_TAG,
    DIGEST_TAG,
    PATH_TAG,
    PREVIOUS,
    ModelVersion,
    from_entry,
)

__all__ = ["CHALLENGER", "CHAMPION", "PREVIOUS", "COMPLETE_TAG", "DIGEST_TAG", "ModelVersion", "Registry", "RunRecord"]

_NAME = re.compile(r"[A-Za-z0-9][\w\-. ]{0,199}")
_log = logging.getLogger(__name__)


class Registry:
    """The registry; it connects when it is first used and keeps that connection.

    Args:
        tracking_uri: of MLflow: ``sqlite:///PATH``, a SQLAlchemy URL, or ``http(s)://HOST``.
        artifact_root: where files of new experiments go; a server (``http``) has a place of its own and ignores it.
    """

    def __init__(self, tracking_uri: str, artifact_root: str | Path | None = None) -> None:
        self.tracking_uri = tracking_uri
        self._connection = Connection(tracking_uri)
        served = tracking_uri.startswith(("http://", "https://"))
        self._root = None if served or artifact_root is None else _uri(artifact_root)

    def check(self) -> None:
        """See that the store can be used.

        Raises:
            BackendError: it does not answer within about 5 s, or cannot be used.
            ConfigError: the address is a folder.
        """
        self._connection.check()

    def log_run(self, record: RunRecord) -> str:
        """Write a finished run.

        Args:
            record: the run. Where it has a ``key`` and a finished run of the experiment has it too, that run is it;
                open runs with that key, left by a process that was killed while it wrote, are closed as KILLED.

        Returns:
            The run's id.

        Raises:
            BackendError: the store refused or could not be reached.
        """
        with self._connection.asking(f"log the run {record.name!r}"):
            experiment = self._experiment(record.experiment)
            client = self._connection.client
            if record.key:
                for left in self._runs(experiment, record.key, "RUNNING"):
                    client.set_terminated(left, status="KILLED")
                for known in self._runs(experiment, record.key, "FINISHED"):
                    return known
            mark = {KEY_TAG: record.key} if record.key else {}
            run_id: str = client.create_run(experiment, run_name=record.name, tags=mark).info.run_id
            try:
                write_run(client, record, run_id)
            except Exception:
                # Not after ctrl-C: MLflow may hold a transaction that it cut off, and the next call closes the run.
                client.set_terminated(run_id, status="FAILED")
                raise
            client.set_terminated(run_id, status="FINISHED")
            return run_id

    def register(
        self,
        name: str,
        bundle: Bundle,
        run_id: str,
        *,
        tags: Mapping[str, str] | None = None,
        example: Sequence[Row] = (),
    ) -> str:
        """Make a bundle a version of a model; the same bundle of the same run is the same version.

        Args:
            name: of the model; made when it is new.
            bundle: the model.
            run_id: the run that made it; its artifacts keep the bundle.
            tags: further facts; on a repeated call they are written again.
            example: rows as a person sends them, kept beside the bundle.

        Returns:
            The version.

        Raises:
            ModelError: the name or the run cannot be used.
            BackendError: the store refused or could not be reached.
        """
        _check_name(name)
        with self._connection.asking(f"register {name!r}"):
            self._ensure_model(name)
            self._keep_files(run_id, bundle, example)
            found = self._claim_version(name, bundle, run_id)
            for key, value in (tags or {}).items():
                write_again_if_lost(self._connection.client.set_model_version_tag, name, found, key, str(value))
            write_again_if_lost(self._connection.client.set_model_version_tag, name, found, COMPLETE_TAG, "true")
            self._untag(name, found, DELETED_TAG)  # the files are there again
            return found

    def bundle(self, name: str, version_or_alias: str) -> tuple[str, Bundle]:
        """A version's bundle, checked against the digest that was registered.

        Args:
            name: of the model.
            version_or_alias: a version number or an alias such as ``champion``.

        Returns:
            The version's number, and the bundle.

        Raises:
            ModelError: there is no such model, version or alias, or its files are damaged or deleted.
            BackendError: the store could not be reached.
        """
        found = self.version(name, version_or_alias)
        if found.deleted is not None:
            raise ModelError(
                f"the files of {name}@{found.version} were deleted when it was retired, {found.deleted}",
                hint="take another version; who trains or imports the same model again brings them back",
            )
        path = found.tags[PATH_TAG]
        with self._connection.asking(f"fetch {name}@{found.version}"):
            return found.version, self._read_files(found.run_id, path, found.digest)

    def artifact(self, name: str, version_or_alias: str, path: str) -> bytes:
        """A file that the version's run kept (:class:`RunRecord`).

        Raises:
            ModelError: there is no such model, version, alias or file.
            BackendError: the store could not be reached.
        """
        found = self.version(name, version_or_alias)
        with self._connection.asking(f"fetch {path} of {name}@{found.version}"):
            kept = [entry.path for entry in self._connection.client.list_artifacts(found.run_id)]
            if path not in kept:
                raise ModelError(
                    f"{name}@{found.version} has no file {path!r}", hint=f"its run keeps {', '.join(kept) or 'none'}"
                )
            with tempfile.TemporaryDirectory(prefix="sluiceway-artifact-") as folder:
                return Path(self._connection.client.download_artifacts(found.run_id, path, folder)).read_bytes()

    def attach(self, name: str, version_or_alias: str, files: Sequence[Path], *, folder: str) -> str:
        """Keep further files with a version, in the artifacts of its run; files of the same names are replaced.

        Args:
            name: of the model.
            version_or_alias: which version.
            files: to keep.
            folder: among the artifacts, e.g. ``gates/1a2b3c4d``.

        Returns:
            The run that keeps them.

        Raises:
            ModelError: there is no such version.
            BackendError: the store could not be reached.
        """
        found = self.version(name, version_or_alias)
        with self._connection.asking(f"keep files with {name}@{found.version}"):
            for file in files:
                self._connection.client.log_artifact(found.run_id, str(file), folder)
        return str(found.run_id)

    def recorded(self, run: str) -> RecordedRun:
        """What a run wrote down.

        Args:
            run: its id, or ``MODEL@VERSION`` for the run that made a version; an alias is a version, too.

        Raises:
            ModelError: there is no such run, model or version.
            BackendError: the store could not be reached.
        """
        run_id = run
        if "@" in run:
            named = ModelReference.parse(run)
            run_id = self.version(named.name, named.version).run_id
        with self._connection.asking(f"look up the run {run_id!r}"):
            return read_run(self._connection.client, run_id)

    def search_runs(self, experiment: str) -> SearchRuns:
        """The runs of searches in an experiment, which is made when it is new.

        Raises:
            BackendError: the store refused or could not be reached.
        """
        with self._connection.asking(f"open the experiment {experiment!r}"):
            return SearchRuns(self._connection, self._experiment(experiment))

    def tag(self, name: str, version: str, tags: Mapping[str, str | None]) -> None:
        """Write tags of a version; those of None are removed. A second time is a no-op.

        Raises:
            ModelError: there is no such version.
            BackendError: the store refused or could not be reached.
        """
        self.version(name, version)
        with self._connection.asking(f"tag {name}@{version}"):
            for key, value in tags.items():
                if value is None:
                    self._untag(name, version, key)
                else:
                    write_again_if_lost(
                        self._connection.client.set_model_version_tag, name, version, key, tag_text(value)
                    )

    def record(self, name: str, version_or_alias: str) -> VersionRecord:
        """What is written down of a version; its booster is not read, and may be gone.

        Raises:
            ModelError: there is no such model, version or alias.
            BackendError: the store could not be reached.
        """
        found = self.version(name, version_or_alias)
        with self._connection.asking(f"read what is known of {name}@{found.version}"):
            return read_record(self._connection.client, name, found)

    def delete_model(self, name: str, version: str) -> None:
        """Delete a version's booster; its documents, its tags and its run stay. A second time is a no-op.

        Raises:
            ModelError: there is no such version.
            BackendError: the store refused, or cannot delete files.
        """
        found = self.version(name, version)
        self.tag(name, version, {DELETED_TAG: datetime.now(UTC).isoformat(timespec="seconds")})
        with self._connection.asking(f"delete the files of {name}@{version}"):
            delete_booster(self._connection.client, found)

    def fetch_foreign(self, address: str) -> ForeignModel:
        """A model that somebody else has logged in this MLflow: see :func:`registry.foreign_model.fetch`."""
        with self._connection.asking(f"fetch {address}"):
            return fetch(self._connection.client, address)

    def strangers(self, name: str) -> tuple[str, ...]:
        """The versions of a registered model that are none of ours, e.g. logged by plain MLflow; oldest first."""
        with self._connection.asking(f"list {name!r}"):
            return tuple(str(entry.version) for entry in self._entries(name) if DIGEST_TAG not in entry.tags)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias to a complete version.

        Raises:
            ModelError: there is no such version.
        """
        self.version(name, version)
        with self._connection.asking(f"set {name}@{alias}"):
            write_again_if_lost(self._connection.client.set_registered_model_alias, name, alias, version)

    def remove_alias(self, name: str, alias: str) -> None:
        """Drop an alias; one that is not there is a no-op."""
        if self.alias(name, alias) is not None:
            with self._connection.asking(f"remove {name}@{alias}"):
                self._connection.client.delete_registered_model_alias(name, alias)

    def promote(self, name: str, version: str, replaces: str | None = None) -> None:
        """Make a version the champion, the one that it replaces the previous one; may be cut off and repeated anywhere.

        The champion's alias goes first: by it :meth:`take_back` is known to be needed, also of what was cut off here.

        Args:
            name: of the model.
            version: the new champion.
            replaces: the champion before it; None: the one that has the alias, which a repetition does not know.

        Raises:
            ModelError: there is no such version.
        """
        old = replaces or self.alias(name, CHAMPION)
        self.set_alias(name, CHAMPION, version)
        if old is not None and old != version:
            self._set_previous(name, old)
        if self.alias(name, CHALLENGER) == version:
            self.remove_alias(name, CHALLENGER)

    def take_back(self, name: str, version: str, *, previous: str | None) -> None:
        """Undo a promotion: the champion of before is it again; safe to repeat after a crash at any point.

        Args:
            name: of the model.
            version: the champion of before the promotion.
            previous: the previous one of then; None, or one that is not there or is retired: nobody is it.

        Raises:
            ModelError: there is no such version.
        """
        self._set_previous(name, previous)
        self.set_alias(name, CHAMPION, version)

    def _set_previous(self, name: str, version: str | None) -> None:
        if version in {one.version for one in self.versions(name) if one.retired is None}:
            self.set_alias(name, PREVIOUS, version)
        else:
            self.remove_alias(name, PREVIOUS)

    def alias(self, name: str, alias: str) -> str | None:
        """The version that an alias points to, or None where the model or the alias is not there."""
        with self._connection.asking(f"look up {name}@{alias}"):
            return self._aliases(name).get(alias)

    def version(self, name: str, version_or_alias: str) -> ModelVersion:
        """A complete version of a model.

        Args:
            name: of the model.
            version_or_alias: a version number or an alias.

        Raises:
            ModelError: there is no such model, version or alias.
            BackendError: the store could not be reached.
        """
        known = self.versions(name)
        for entry in known:
            if version_or_alias == entry.version or version_or_alias in entry.aliases:
                return entry
        if not known:
            near = difflib.get_close_matches(name, self.names(), n=3)
            hint = f"did you mean {', '.join(near)}?" if near else "register a model first"
            raise ModelError(f"there is no registered model {name!r}", hint=hint, model=name)
        there = ", ".join(f"{e.version}{f' ({chr(44).join(e.aliases)})' if e.aliases else ''}" for e in known[-10:])
        raise ModelError(f"the model {name!r} has no version or alias {version_or_alias!r}", hint=f"it has {there}")

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """The complete versions of a model, oldest first; none for a model that does not exist."""
        with self._connection.asking(f"list {name!r}"):
            aliases = self._aliases(name)
            found = (from_entry(entry, aliases) for entry in self._entries(name))
            return tuple(version for version in found if version is not None)

    def names(self) -> tuple[str, ...]:
        """The registered models, sorted."""
        with self._connection.asking("list the models"):
            return tuple(sorted(model.name for model in pages(self._connection.client.search_registered_models)))

    def _experiment(self, name: str) -> str:
        found = self._connection.client.get_experiment_by_name(name)
        if found is None:
            location = None if self._root is None else f"{self._root}/{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}"
            try:
                return str(self._connection.client.create_experiment(name, artifact_location=location))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = self._connection.client.get_experiment_by_name(name)  # another process was faster
        if found.lifecycle_stage == "deleted":
            raise BackendError(f"the experiment {name!r} was deleted in MLflow", hint="restore it there, or rename it")
        return str(found.experiment_id)

    def _runs(self, experiment: str, key: str, status: str) -> list[str]:
        """The runs of a key in one status, oldest first."""
        text = f"tags.`{KEY_TAG}` = '{key}' AND attributes.status = '{status}'"
        found = self._connection.client.search_runs([experiment], text, order_by=["attributes.start_time ASC"])
        return [str(run.info.run_id) for run in found]

    def _ensure_model(self, name: str) -> None:
        try:
            self._connection.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _keep_files(self, run_id: str, bundle: Bundle, example: Sequence[Row]) -> None:
        path = _path(bundle)
        if any(entry.path == path for entry in self._connection.client.list_artifacts(run_id, "model")):
            try:
                self._read_files(run_id, path, bundle.digest)
                return
            except (ModelError, MlflowException, OSError):
                logging.getLogger(__name__).info(
                    "the files in %s of run %s are incomplete, writing again", path, run_id
                )
        with tempfile.TemporaryDirectory(prefix="sluiceway-model-") as folder:
            write_folder(bundle, Path(folder), example=example)
            self._connection.client.log_artifacts(run_id, folder, path)

    def _read_files(self, run_id: str, path: str, digest: str) -> Bundle:
        with tempfile.TemporaryDirectory(prefix="sluiceway-model-") as folder:
            return bundles.read(self._connection.client.download_artifacts(run_id, path, folder), digest=digest)

    def _claim_version(self, name: str, bundle: Bundle, run_id: str) -> str:
        """The version of this bundle and run, made when there is none; of two made at once the lower one stays."""
        mine = self._same(name, bundle.digest, run_id)
        if mine:
            return mine[0]
        path = _path(bundle)
        made = self._connection.client.create_model_version(
            name,
            source=f"{self._connection.client.get_run(run_id).info.artifact_uri}/{path}",
            run_id=run_id,
            tags={DIGEST_TAG: bundle.digest, PATH_TAG: path, BYTES_TAG: str(len(bundle.model))},
            description=card(bundle),
            await_creation_for=0,  # it is READY at once; waiting only logs
        )
        first = self._same(name, bundle.digest, run_id)[0]
        if first != str(made.version):
            self._connection.client.delete_model_version(name, made.version)
        return first

    def _untag(self, name: str, version: str, key: str) -> None:
        if key in self._connection.client.get_model_version(name, version).tags:
            self._connection.client.delete_model_version_tag(name, version, key)

    def _same(self, name: str, digest: str, run_id: str) -> list[str]:
        return [str(e.version) for e in self._entries(name) if e.run_id == run_id and e.tags.get(DIGEST_TAG) == digest]

    def _entries(self, name: str) -> list[Any]:
        if not _NAME.fullmatch(name):
            return []
        found = pages(self._connection.client.search_model_versions, filter_string=f"name = '{name}'")
        return sorted(found, key=lambda entry: int(entry.version))

    def _aliases(self, name: str) -> dict[str, str]:
        try:
            found = self._connection.client.get_registered_model(name).aliases
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return {}
            raise
        return {alias: str(version) for alias, version in found.items()}


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ModelError(f"{name!r} is no name for a model", hint="letters, digits, spaces and _-. are allowed")


def _path(bundle: Bundle) -> str:
    return f"model/{bundle.digest[:16]}"


def _uri(root: str | Path) -> str:
    text = str(root)
    return text.rstrip("/") if "://" in text else Path(text).absolute().as_uri()

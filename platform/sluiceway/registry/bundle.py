"""A model as a folder of data: four files, one digest, no code and never a pickle.

::

    model.ubj       the booster in XGBoost's UBJSON: gives the raw score
    schema.json     features in order, their types and categories, what is missing
    decision.json   kind of model, threshold, target, classes, optionally a calibrator as a table; the threshold is one
                    of calibrated scores
    lineage.json    data version and digest, code commit, configuration, gates: where it came from
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sluiceway.core.calibrator import Calibrator
from sluiceway.core.errors import ModelError

MODEL_FILE = "model.ubj"
SCHEMA_FILE = "schema.json"
DECISION_FILE = "decision.json"
LINEAGE_FILE = "lineage.json"
FILES = (MODEL_FILE, SCHEMA_FILE, DECISION_FILE, LINEAGE_FILE)

_KINDS = ("binary", "multiclass", "regression")


@dataclass(frozen=True)
class Bundle:
    """A model that can be moved, compared and served.

    Attributes:
        model: the booster as UBJSON.
        schema: features as ``features.schema`` writes them.
        decision: ``{"kind": "binary" | "multiclass" | "regression", "threshold": float | None, "target": name}``, and
            ``"classes": [...]``, the target's values in the order of the scores, of a classifier that knows them;
            ``"calibrator": {"scores": [...], "values": [...]}`` (:mod:`sluiceway.core.calibrator`) of a binary one
            whose scores go through it.
        lineage: JSON-ready facts about where the model came from.

    Raises:
        ModelError: the model is not UBJSON, a document is not JSON or has no known ``kind``, or the calibrator is no
            rising table.
    """

    model: bytes
    schema: dict[str, Any]
    decision: dict[str, Any]
    lineage: dict[str, Any]

    def __post_init__(self) -> None:
        # An object whose first key has a length of type L, as XGBoost writes it; JSON, pickles and old binary models
        # begin otherwise.
        if self.model[:2] != b"{L":
            raise ModelError(
                f"the model is not UBJSON: it begins with {self.model[:4]!r}",
                hint='save the booster with save_raw(raw_format="ubj")',
            )
        if self.decision.get("kind") not in _KINDS:
            raise ModelError(f"decision.kind is {self.decision.get('kind')!r}; it is one of {', '.join(_KINDS)}")
        if self.decision["kind"] == "multiclass" and len(self.decision.get("classes") or ()) < 3:
            raise ModelError(
                f"decision.classes is {self.decision.get('classes')!r}; a multiclass model names all of them"
            )
        Calibrator.of(self.decision)
        _ = self.digest  # a document that is not JSON fails here, not when it is written

    def files(self) -> dict[str, bytes]:
        """Content by file name; documents in one canonical form, so that equal bundles have equal bytes."""
        return {
            MODEL_FILE: self.model,
            SCHEMA_FILE: _canonical(SCHEMA_FILE, self.schema),
            DECISION_FILE: _canonical(DECISION_FILE, self.decision),
            LINEAGE_FILE: _canonical(LINEAGE_FILE, self.lineage),
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 over name, length and content of the four files, 64 hex digits."""
        return files_digest(self.files())


def files_digest(files: Mapping[str, bytes]) -> str:
    """The digest of a bundle's files.

    Args:
        files: content by name; all of :data:`FILES`.

    Returns:
        64 hex digits. Name and length stand before each content, so that no two sets of files share one text.
    """
    text = hashlib.sha256(b"sluiceway bundle 1\n")
    for name in FILES:
        text.update(f"{name} {len(files[name])}\n".encode())
        text.update(files[name])
    return text.hexdigest()


def write(bundle: Bundle, folder: str | Path, *, repair: bool = False) -> Path:
    """Write a bundle; a reader sees all four files or none.

    Args:
        bundle: what to write.
        folder: the bundle's folder; its parents are made. A folder that already holds this bundle is left alone.
        repair: True: a folder that holds something else is this bundle, damaged, and its files are replaced.

    Returns:
        The folder, absolute.

    Raises:
        ModelError: not to be repaired, the folder exists and holds something else, or cannot be read.
    """
    folder = Path(folder).absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name[:16]}-", dir=folder.parent))
    try:
        for name, content in bundle.files().items():
            with (draft / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        draft.chmod(0o755)
        try:
            draft.rename(folder)  # atomic; refuses a folder that holds anything
        except OSError as error:
            if not folder.exists():
                raise
            if repair:
                _repair(folder, draft, bundle.digest)
            elif files_digest(_contents(folder)) != bundle.digest:
                raise ModelError(
                    f"{folder} already holds another bundle", hint="choose another folder; bundles never change"
                ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def read(folder: str | Path, *, digest: str | None = None) -> Bundle:
    """Read a bundle and check it.

    Args:
        folder: where :func:`write` put it.
        digest: what it has to be; None takes what is there.

    Returns:
        The bundle; its digest equals the digest of the bytes on disk.

    Raises:
        ModelError: a file is missing, broken or not to be read, or the digest differs.
    """
    folder = Path(folder)
    contents = _contents(folder)
    found = files_digest(contents)
    if digest is not None and found != digest:
        raise ModelError(
            f"the bundle in {folder} has digest {found[:12]}, not {digest[:12]}",
            hint="its files were changed or damaged; fetch it from the registry again",
            folder=str(folder),
        )
    documents = {name: _parse(folder / name, contents[name]) for name in FILES if name != MODEL_FILE}
    bundle = Bundle(contents[MODEL_FILE], documents[SCHEMA_FILE], documents[DECISION_FILE], documents[LINEAGE_FILE])
    if bundle.digest != found:
        raise ModelError(f"{folder} was not written by Sluiceway: its documents are not in canonical form")
    return bundle


def holds(folder: Path, digest: str) -> bool:
    """Whether a folder holds the bundle of a digest, whole.

    Args:
        folder: where it would be.
        digest: of the bundle.

    Raises:
        ModelError: a file is there and cannot be read.
    """
    found = _found(folder)
    return len(found) == len(FILES) and files_digest(found) == digest


def _repair(folder: Path, draft: Path, digest: str) -> None:
    """File by file, so that the folder is never gone: it is damaged until the last one, whoever ends in between.

    Who does it at the same time puts the same bytes there.
    """
    with contextlib.suppress(ModelError):  # what cannot be read is replaced, too
        if holds(folder, digest):
            return
    for name in FILES:
        (draft / name).replace(folder / name)


def _contents(folder: Path) -> dict[str, bytes]:
    found = _found(folder)
    missing = [name for name in FILES if name not in found]
    if missing:
        raise ModelError(
            f"{folder} is no model bundle: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing",
            hint=f"a bundle is a folder with {', '.join(FILES)}",
            folder=str(folder),
        )
    return found


def _found(folder: Path) -> dict[str, bytes]:
    """Those of the four files that are there."""
    contents = ((name, _content(folder / name)) for name in FILES)
    return {name: content for name, content in contents if content is not None}


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror or error}",
            hint="look at its permissions and at its disk, or fetch the bundle from the registry again",
            folder=str(path.parent),
        ) from error


def _canonical(name: str, document: dict[str, Any]) -> bytes:
    try:
        text = json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{name} cannot be written as JSON: {error}") from error
    return (text + "\n").encode()


def _parse(path: Path, content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}", folder=str(path.parent)) from error
    if not isinstance(document, dict):
        raise ModelError(f"{path} holds {type(document).__name__}, not an object", folder=str(path.parent))
    return document

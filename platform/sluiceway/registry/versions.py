"""What a version of a registered model is, and the names that mark it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
DIGEST_TAG = "sluiceway.bundle_digest"
COMPLETE_TAG = "sluiceway.complete"
PATH_TAG = "sluiceway.bundle_path"
RETIRED_TAG, RETIRED_BY_TAG, RETIRED_REASON_TAG = (
    "sluiceway.retired",
    "sluiceway.retired_by",
    "sluiceway.retired_reason",
)
DELETED_TAG = "sluiceway.files_deleted"
BYTES_TAG = "sluiceway.bundle_bytes"
IMPORTED_FROM_TAG, IMPORTED_DIGEST_TAG = "imported_from", "imported_digest"
GATE_TAG = "gate_"


@dataclass(frozen=True)
class ModelVersion:
    """A complete version of a registered model.

    Attributes:
        version: MLflow's number, as text.
        run_id: the run that made it.
        digest: of its bundle.
        aliases: names that point to it now.
        tags: as given to :meth:`Registry.register`, with this module's own.
        created_at: UTC epoch seconds.
    """

    version: str
    run_id: str
    digest: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    created_at: float

    @property
    def gates(self) -> dict[str, str]:
        """What each gate said, by its name, sorted; nothing where none has judged it."""
        tags = sorted(self.tags.items())
        return {tag.removeprefix(GATE_TAG): value for tag, value in tags if tag.startswith(GATE_TAG)}

    @property
    def retired(self) -> str | None:
        """Since when no rollout takes it, as ISO text; None where it is not retired."""
        return self.tags.get(RETIRED_TAG)

    @property
    def deleted(self) -> str | None:
        """Since when its booster is gone, as ISO text; None where it is there."""
        return self.tags.get(DELETED_TAG)


def from_entry(entry: Any, aliases: Mapping[str, str]) -> ModelVersion | None:
    """MLflow's version as ours.

    Args:
        entry: MLflow's ``ModelVersion``.
        aliases: version by alias, of the same model.

    Returns:
        None for a version that is not complete or not ours.
    """
    tags = dict(entry.tags)
    if tags.get(COMPLETE_TAG) != "true" or DIGEST_TAG not in tags or PATH_TAG not in tags:
        return None
    version = str(entry.version)
    return ModelVersion(
        version=version,
        run_id=entry.run_id,
        digest=tags[DIGEST_TAG],
        aliases=tuple(sorted(alias for alias, target in aliases.items() if target == version)),
        tags=tags,
        created_at=entry.creation_timestamp / 1000,
    )

"""Refuses versions whose files a clean-up has deleted; without it a reader would find out in the middle of its work."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from deltalake import DeltaTable

from sluiceway.catalog.lost_versions import LostVersionStore
from sluiceway.core.errors import ReferenceNotFoundError
from sluiceway.core.repository import Pin
from sluiceway.data import tables


def refuse_lost(lost: LostVersionStore, table: DeltaTable, *, uri: str) -> None:
    """Refuse an open version whose files were deleted.

    Args:
        lost: the catalog's.
        table: open at the version.
        uri: its place, as :func:`sluiceway.data.tables.absolute` spells it.

    Raises:
        ReferenceNotFoundError: they were; the message says when and by what.
    """
    found = lost.find(uri, table.version())
    if found is None or found.table_id != table.metadata().id:
        return
    day = datetime.fromtimestamp(found.since, UTC).date().isoformat()
    raise ReferenceNotFoundError(
        f"version {found.version} of {uri} can be read no more: `data {found.why}` deleted files of it on {day}",
        hint="name a newer version; what a tag, a branch or a model names is never vacuumed",
        table=uri,
        version=found.version,
    )


def refuse_lost_pins(lost: LostVersionStore, pins: Iterable[Pin]) -> None:
    """The same for the tables of a commit; only those are opened that something is known of."""
    for pin in pins:
        if lost.find(pin.uri, pin.version) is not None:
            refuse_lost(lost, tables.open_table(pin.uri, version=pin.version), uri=pin.uri)

"""Which tables differ between two commits of a repository, in whole files; from the logs alone."""

from __future__ import annotations

from dataclasses import dataclass

from sluiceway.core.errors import InputError
from sluiceway.core.repository import Pin
from sluiceway.data import tables
from sluiceway.data.places import file_uri
from sluiceway.data.repository import Repository


@dataclass(frozen=True)
class TableChange:
    """What lies between two versions of a table, in whole files.

    Attributes:
        uri: the table.
        before, after: the versions; None where it was not there.
        files_added, files_removed: numbers of files.
        rows_added, rows_removed: rows in them.
    """

    uri: str
    before: Pin | None
    after: Pin | None
    files_added: int
    files_removed: int
    rows_added: int
    rows_removed: int


def changes(repository: Repository, one: str, other: str, *, since_parting: bool = False) -> list[TableChange]:
    """The tables that differ between two commits, by URI; no data is read.

    Args:
        repository: where.
        one: branch, tag or commit.
        other: the same.
        since_parting: compare the other with the newest commit that both come from, not with the first.

    Raises:
        ReferenceNotFoundError: a name is nothing.
        InputError: they have no commit in common.
    """
    before, after = repository.find(one), repository.find(other)
    if since_parting:
        base = repository.merge_base(before.id, after.id)
        if base is None:
            raise InputError(f"{one} and {other} have no commit in common")
        before = repository.store.commit(base)
    pairs = ((uri, before.tree.get(uri), after.tree.get(uri)) for uri in sorted(dict(before.tree) | dict(after.tree)))
    return [table_change(uri, mine, theirs) for uri, mine, theirs in pairs if mine != theirs]


def table_change(uri: str, before: Pin | None, after: Pin | None) -> TableChange:
    """Compare two versions by their logs."""
    mine, theirs = (_rows_by_file(pin) for pin in (before, after))
    added, removed = theirs.keys() - mine.keys(), mine.keys() - theirs.keys()
    rows_added, rows_removed = sum(theirs[file] for file in added), sum(mine[file] for file in removed)
    return TableChange(uri, before, after, len(added), len(removed), rows_added, rows_removed)


def _rows_by_file(pin: Pin | None) -> dict[str, int]:
    if pin is None:
        return {}
    live = tables.files(tables.open_table(pin.uri, version=pin.version)).select(["path", "num_records"]).to_pydict()
    return {file_uri(pin.uri, path): rows or 0 for path, rows in zip(live["path"], live["num_records"], strict=True)}

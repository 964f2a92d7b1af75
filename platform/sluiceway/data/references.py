"""From what people call a version to the version."""

from __future__ import annotations

import difflib
import re
from datetime import UTC, datetime

from deltalake import DeltaTable

from sluiceway.catalog.lost_versions import LostVersionStore
from sluiceway.catalog.repository import RepositoryStore
from sluiceway.catalog.tags import TagStore
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import DataError, ReferenceNotFoundError
from sluiceway.core.references import TableVersion
from sluiceway.core.repository import Pin
from sluiceway.data import digest, history, tables
from sluiceway.data.lost import refuse_lost
from sluiceway.data.repository import Repository

NEWEST = "newest"
_NUMBER = re.compile(r"[vV]?(\d+)")


def resolve(
    uri: str,
    ref: str | int | None,
    *,
    tags: TagStore,
    repository: RepositoryStore | None = None,
    lost: LostVersionStore | None = None,
    now: datetime | None = None,
    allow_empty: bool = False,
) -> TableVersion:
    """Pin what a name means now.

    A number is a version; otherwise a tag of the table; then a branch, tag or commit of the repository; ``v`` and a
    number is a version; otherwise an ISO time, which means the newest commit that was not later (a time without a zone
    is UTC, a date is its midnight). What a branch has of its own lies at another place, which the answer names.

    Args:
        uri: folder or URI of the table.
        ref: number, tag or time; None is the newest version.
        tags: the catalog's tags.
        repository: the catalog's branches, tags and commits of the repository; None where the table is in none.
        lost: the catalog's versions whose files were deleted, which are refused then; None where no row is read.
        now: the present time; a later one names nothing yet.
        allow_empty: give a version without rows as well; nothing can be learnt from one.

    Raises:
        TableNotFoundError: there is no table.
        ReferenceNotFoundError: nothing has that name (the message has the nearest names), or its files were deleted.
        DataError: the version has no rows, or the tag was set on another table that was at this place.
    """
    uri = tables.absolute(uri)
    newest = tables.open_table(uri)
    name = NEWEST if ref is None else str(ref)
    pin = _in_repository(uri, name, tags=tags, repository=repository) if ref is not None else None
    if pin is not None:
        uri, version = pin.uri, pin.version
        expected: str | None = pin.digest
    else:
        asked = None if ref is None else name
        version, expected = _find(newest, uri=uri, ref=asked, tags=tags, repository=repository, now=now)
    table = newest if pin is None and version == newest.version() else tables.open_table(uri, version=version)
    found = digest.digest_of(table)
    if expected is not None and expected != found:
        raise DataError(
            f"version {version} of {uri} is not the one that was called {name!r}: the table was made anew",
            hint="set the tag again, on purpose",
            table=uri,
            version=version,
        )
    if lost is not None:
        refuse_lost(lost, table, uri=uri)
    rows = tables.row_count(table)
    if rows == 0 and not allow_empty:
        raise DataError(f"version {version} of {uri} has no rows", hint="ingest rows first", table=uri, version=version)
    return TableVersion(uri, version, found, rows, name)


def _in_repository(uri: str, name: str, *, tags: TagStore, repository: RepositoryStore | None) -> Pin | None:
    if repository is None or name.isdigit() or tags.get(uri, name):
        return None
    return Repository(repository, SystemClock()).pin(uri, name)


def _find(
    newest: DeltaTable,
    *,
    uri: str,
    ref: str | None,
    tags: TagStore,
    repository: RepositoryStore | None,
    now: datetime | None,
) -> tuple[int, str | None]:
    """The version, and the digest that it has to have where a tag recorded one."""
    if ref is None:
        return newest.version(), None
    if ref.isdigit():
        return int(ref), None
    tag = tags.get(uri, ref)
    if tag:
        return tag.version, tag.digest
    number = _NUMBER.fullmatch(ref)
    if number:
        return int(number[1]), None
    try:
        time = datetime.fromisoformat(ref)
    except ValueError:
        raise _not_found(newest, uri=uri, ref=ref, tags=tags, repository=repository) from None
    return _at(newest, time if time.tzinfo else time.replace(tzinfo=UTC), uri=uri, now=now or datetime.now(UTC)), None


def _at(newest: DeltaTable, time: datetime, *, uri: str, now: datetime) -> int:
    # By the commits' own times: the engine goes by the files' modification times, which a copy changes.
    if time > now:
        raise ReferenceNotFoundError(f"{time.isoformat()} has not come yet", hint="name a time that has passed")
    commits = [(info.time, info.version) for info in history.log_of(newest) if info.time]
    earlier = [version for stamp, version in commits if stamp <= time]
    if not earlier:
        first = min(commits)[0].isoformat() if commits else "never"
        raise ReferenceNotFoundError(f"{uri} did not exist at {time.isoformat()}", hint=f"its first commit was {first}")
    return max(earlier)


def _not_found(
    newest: DeltaTable, *, uri: str, ref: str, tags: TagStore, repository: RepositoryStore | None
) -> ReferenceNotFoundError:
    names = [tag.name for tag in tags.list(uri)]
    if repository is not None and any(table.uri == uri for table in repository.tracked()):
        names += [one.name for one in repository.refs()]
    near = difflib.get_close_matches(ref, names, n=3, cutoff=0.4) or names[:5]
    known = f"there are: {', '.join(near)}; " if near else "it has no tags; "
    return ReferenceNotFoundError(
        f"{uri} has no version, tag, branch or time {ref!r}",
        hint=f"{known}versions 0 to {newest.version()}; `sluiceway data tag` sets a tag",
        table=uri,
        ref=ref,
    )

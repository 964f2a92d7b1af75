"""Says that a version is being read, as long as it is: no vacuum deletes its files meanwhile."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sluiceway.catalog.claim import claim
from sluiceway.catalog.leases import LeaseStore
from sluiceway.catalog.lost_versions import LostVersionStore
from sluiceway.core.clock import Clock
from sluiceway.core.references import TableVersion
from sluiceway.data import tables
from sluiceway.data.lost import refuse_lost

# Name of the leases; the body says which version.
READING = "reading:"


@contextmanager
def hold(*versions: TableVersion, leases: LeaseStore, lost: LostVersionStore, clock: Clock, who: str) -> Iterator[None]:
    """Keep versions readable while the body runs; a process that dies holds them for a minute longer.

    Args:
        versions: what is read.
        leases: the catalog's.
        lost: the catalog's.
        clock: gives the leases their times.
        who: for people, e.g. ``run 20240131-120000-ab12cd``.

    Raises:
        ReferenceNotFoundError: a version's files were deleted before.
    """
    with ExitStack() as held:
        for version in versions:
            body = json.dumps({"place": version.uri, "version": version.version, "who": who})
            held.enter_context(claim(leases, READING + uuid.uuid4().hex, clock=clock, body=body))
        # Only now: a vacuum writes down what it is about to delete, and looks at the leases once more after that.
        for version in versions:
            refuse_lost(lost, tables.open_table(version.uri, version=version.version), uri=version.uri)
        yield


def held_versions(leases: LeaseStore, *, clock: Clock) -> list[tuple[str, int, str]]:
    """Place, version and reader of everything that is being read."""
    bodies = (json.loads(lease.body) for lease in leases.list(READING, now=clock.now()))
    return [(body["place"], int(body["version"]), str(body["who"])) for body in bodies]

"""Makes a branch's own copy of a table: a Delta log that names the files of the version it starts from."""

from __future__ import annotations

import uuid
from itertools import chain
from operator import itemgetter

from deltalake import exceptions as delta

from sluiceway.data import delta_log, tables
from sluiceway.data.places import clone_place, file_uri, path_below

CLONE_OF = "sluiceway.clone_of"
CLONE_VERSION = "sluiceway.clone_version"


def make_clone(main: str, branch_id: str, *, uri: str, version: int) -> str:
    """Copy the log of one version, and none of its files, to a branch's place.

    Args:
        main: the table that the copy will live in.
        branch_id: of the branch.
        uri: whose version is copied: the table itself, or another branch's copy of it.
        version: which.

    Returns:
        The copy's place. Two that make the same copy at the same time make one.
    """
    place = clone_place(main, branch_id)
    state = delta_log.replay(uri, version)
    info = delta_log.commit_info("CLONE", {CLONE_OF: uri, CLONE_VERSION: version})
    first = [info, {"protocol": state.protocol}, {"metaData": state.metadata | {"id": str(uuid.uuid4())}}]
    adds = (
        {"add": add | {"path": path_below(place, file_uri(uri, path)), "dataChange": False}}
        for path, add in sorted(state.adds.items(), key=itemgetter(0))
    )
    try:
        delta_log.write_entry(place, 0, chain(first, adds))
    except delta.CommitFailedError:
        tables.open_table(place)  # somebody made it just now; it is the same
    return place

"""Puts the change of a merge into one table: one log entry under compare-and-swap, once; or takes it back."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pyarrow as pa
from deltalake import Schema
from deltalake import exceptions as delta

from sluiceway.core.errors import ConflictError, DataError, MergeConflictError
from sluiceway.core.repository import MAIN, UNDONE, MergeRecord, Pin
from sluiceway.data import delta_log, history
from sluiceway.data.commit_loop import give_way
from sluiceway.data.digest import digest_of_state, version_digest
from sluiceway.data.places import main_of, path_below, plain_path
from sluiceway.data.repository import Repository, newest_pin
from sluiceway.data.same_keys import same_keys
from sluiceway.data.stored_files import missing_files
from sluiceway.data.three_way import NOTHING, Change, Conflict, Side, Strategy, find_conflict, merge_table, side

ATTEMPTS = 20
APP = "sluiceway.merge:"
OPERATIONS = {"merge": "MERGE BRANCH", "revert": "REVERT", "cherry-pick": "CHERRY PICK"}


@dataclass(frozen=True)
class MergeTask:
    """One merge, as it will be said in the commit.

    Attributes:
        kind: ``merge``, ``revert`` or ``cherry-pick``.
        strategy: of conflicts.
        message: of the commit.
        author: of the commit.
        metadata: of the commit.
        parents: of the commit, beside what the branch points at.
    """

    kind: str
    strategy: Strategy
    message: str
    author: str
    metadata: Mapping[str, str]
    parents: tuple[str, ...]

    def to_json(self) -> str:
        """What the catalog keeps of it."""
        return json.dumps(self.__dict__ | {"strategy": self.strategy.value})

    @classmethod
    def from_json(cls, text: str) -> MergeTask:
        """The task that the catalog keeps."""
        given = json.loads(text)
        return cls(**given | {"strategy": Strategy(given["strategy"]), "parents": tuple(given["parents"])})


def changes_of(repository: Repository, base: str, source: str) -> dict[str, tuple[Side, Side]]:
    """What two commits have of the tables that differ between them, by URI."""
    before, after = (repository.store.commit(commit).tree for commit in (base, source))
    touched = sorted(uri for uri in before.keys() | after.keys() if before.get(uri) != after.get(uri))
    return {uri: (side_of(before.get(uri)), side_of(after.get(uri))) for uri in touched}


def planned_change(
    repository: Repository, uri: str, branch: str, sides: tuple[Side, Side], *, strategy: Strategy
) -> tuple[Side, Change]:
    """What a branch holds of a table now, and what a merge would do to it.

    Args:
        repository: where.
        uri: the table.
        branch: that moves.
        sides: of the table, base and source.
        strategy: of conflicts; who fails has none, or the merge is refused anyway.
    """
    base, source = sides
    dest = _present(repository, uri, branch)
    conflict = None if strategy is Strategy.FAIL else _conflict(repository, uri, base, source, dest)
    return dest, merge_table(base, source, dest, conflict=conflict, strategy=strategy)


def put_change(
    repository: Repository, record: MergeRecord, task: MergeTask, uri: str, sides: tuple[Side, Side]
) -> Pin | None:
    """One table's change as one log entry, once.

    Args:
        repository: where.
        record: of the merge; its id makes the entry once.
        task: of the merge.
        uri: the table.
        sides: of it, base and source.

    Returns:
        the version that holds the change; None where there is nothing to change.

    Raises:
        MergeConflictError: the change does not fit.
        UnsupportedTableError: the table's protocol asks for more than an entry of ours keeps.
        ConflictError: other writers won every race.
    """
    base, source = sides
    place = _place(repository, uri, record.dest)
    for lost in range(ATTEMPTS):
        state = _newest_state(place)
        already = state.transactions.get(APP + record.id) if state else None
        if already is not None:
            return newest_pin(place) if state and state.version == already else _pin_at(place, already)
        dest = side(place, state) if state else NOTHING
        conflict = _conflict(repository, uri, base, source, dest)
        if conflict and task.strategy is Strategy.FAIL:
            raise refusal(task.kind, {uri: conflict})
        change = merge_table(base, source, dest, conflict=conflict, strategy=task.strategy)
        if not change:
            return None
        try:
            return _write(place, change, source, state, record=record, task=task)
        except delta.CommitFailedError:
            give_way(lost)
    raise ConflictError(f"other writers of {uri} won every race", hint="the next merge finishes this one", table=uri)


def _write(
    place: str, change: Change, source: Side, state: delta_log.LogState | None, *, record: MergeRecord, task: MergeTask
) -> Pin:
    version = state.version + 1 if state else 0
    _refuse_impossible(Side({}, state.metadata, state.protocol) if state else NOTHING, source, change, place=place)
    _refuse_missing(place, change)
    rows = sum(delta_log.rows_of(add) or 0 for add in change.add.values())
    metadata = {
        history.MESSAGE: task.message,
        history.SOURCE: f"{task.kind} {record.source[:12]}",
        history.ROWS: rows,
        **({history.AUTHOR: task.author} if task.author else {}),
    }
    actions: list[delta_log.Action] = [
        delta_log.commit_info(OPERATIONS[task.kind], metadata),
        {"txn": {"appId": APP + record.id, "version": version, "lastUpdated": int(record.created * 1000)}},
    ]
    if state is None:
        actions.append({"protocol": source.protocol})
    if change.metadata is not None:
        own = {"id": state.metadata["id"]} if state else {"id": str(uuid.uuid4())}
        actions.append({"metaData": change.metadata | own})
    actions += [delta_log.removal(add | {"path": path_below(place, uri)}) for uri, add in change.remove.items()]
    actions += [{"add": add | {"path": path_below(place, uri), "dataChange": True}} for uri, add in change.add.items()]
    delta_log.write_entry(place, version, actions, follows=state)
    return _pin_at(place, version)


def _refuse_missing(place: str, change: Change) -> None:
    """A revert brings back what was taken out long ago; a vacuum of another program may have deleted it."""
    main = main_of(place)
    gone = missing_files(main, [plain_path(identity) for identity in change.add])
    if gone:
        raise DataError(
            f"a data file that would come into {place} is gone: {gone[0]}"
            + (f", and {len(gone) - 1:,} more" if len(gone) > 1 else ""),
            hint="a vacuum deleted it; bring it back from a copy, or make the change by hand",
            table=place,
        )


def undo_changes(repository: Repository, record: MergeRecord, changed: Mapping[str, Pin]) -> None:
    """Take back the tables that have the change already; a foreign writer got in between and another does not fit.

    Args:
        repository: where.
        record: of the merge; it is undone afterwards.
        changed: the tables with the versions that hold the change.

    Raises:
        DataError: a table was changed since in a way that excludes that.
    """
    task = MergeTask.from_json(record.body)
    for uri, pin in changed.items():
        after, before = side_of(pin), side_of(Pin(pin.uri, pin.version - 1, "")) if pin.version else NOTHING
        for lost in range(ATTEMPTS):
            state = _newest_state(pin.uri)
            present = side(pin.uri, state) if state else NOTHING
            conflict = find_conflict(after, before, present)
            change = merge_table(after, before, present, conflict=None)
            if conflict:
                raise DataError(
                    f"{uri} was changed while a merge was being undone: {conflict.reason}",
                    hint=f"look at version {pin.version} of it, and restore by hand",
                    table=uri,
                )
            if not change:
                break
            try:
                undone = replace(record, id=uuid.uuid4().hex)
                _write(pin.uri, change, before, state, record=undone, task=task)
            except delta.CommitFailedError:
                give_way(lost)
                continue
            break
    repository.store.end_merge(record.id, UNDONE)


def find_conflicts(
    repository: Repository, dest: str, task: MergeTask, sides: Mapping[str, tuple[Side, Side]]
) -> dict[str, Conflict]:
    """Every table that the change does not fit, by URI; empty where the strategy decides.

    Raises:
        UnsupportedTableError, DataError: of a table that an entry of ours cannot be written to, whatever the strategy.
    """
    found = {}
    for uri, (base, source) in sides.items():
        present = _present(repository, uri, dest)
        conflict = _conflict(repository, uri, base, source, present)
        if conflict and task.strategy is Strategy.FAIL:
            found[uri] = conflict
        else:
            change = merge_table(base, source, present, conflict=conflict, strategy=task.strategy)
            _refuse_impossible(present, source, change, place=uri)
    return found


def _conflict(repository: Repository, uri: str, base: Side, source: Side, dest: Side) -> Conflict | None:
    found = find_conflict(base, source, dest)
    if found is not None:
        return found
    key = next((table.key for table in repository.store.tracked() if table.uri == uri), ())
    theirs = {file: add for file, add in source.files.items() if file not in base.files and file not in dest.files}
    ours = {file: add for file, add in dest.files.items() if file not in base.files and file not in source.files}
    if not key or not theirs or not ours:
        return None
    schema = pa.schema(Schema.from_json(source.metadata["schemaString"]).to_arrow())
    keys = same_keys(theirs, ours, key=key, schema=schema)
    return Conflict("both sides put in rows of the same key", keys=keys) if keys else None


def _present(repository: Repository, uri: str, branch: str) -> Side:
    head = repository.head(branch)
    place = uri if branch == MAIN else repository.store.clone(head.id, uri)
    if place is None:
        return side_of(repository.store.commit(head.commit).tree.get(uri))
    state = _newest_state(place)
    return side(place, state) if state else NOTHING


def _place(repository: Repository, uri: str, branch: str) -> str:
    return uri if branch == MAIN else repository.place_to_write(uri, branch)


def _newest_state(place: str) -> delta_log.LogState | None:
    version = delta_log.newest_version(place)
    return None if version is None else delta_log.replay(place, version)


def side_of(pin: Pin | None) -> Side:
    """What a version holds; nothing where there is none."""
    if pin is None:
        return NOTHING
    state = delta_log.replay(pin.uri, pin.version)
    # The second way takes longer, and is asked only where the log spells something otherwise than the engine.
    if pin.digest and pin.digest != digest_of_state(state) and pin.digest != version_digest(pin.uri, pin.version):
        raise DataError(
            f"version {pin.version} of {pin.uri} is not the one of the commit: the table was made anew",
            hint="commits from before that cannot be merged, reverted or picked; commit the tables anew",
            table=pin.uri,
            version=pin.version,
        )
    return side(pin.uri, state)


def _pin_at(place: str, version: int) -> Pin:
    return Pin(place, version, version_digest(place, version))


def _refuse_impossible(dest: Side, source: Side, change: Change, *, place: str) -> None:
    """Refuse a change that no entry of ours can make; before the merge is written down, or it would stay open."""
    if not change or dest is NOTHING:
        return
    state = delta_log.LogState(0, dest.protocol, dest.metadata, {})
    delta_log.refuse_unwritable(state, uri=place, removes=bool(change.remove))
    if dest.protocol != source.protocol:
        raise DataError(
            f"the source asks other features of the readers and writers of {place}",
            hint="give both sides the same table features first",
            table=place,
        )


def refusal(kind: str, conflicts: Mapping[str, Conflict]) -> MergeConflictError:
    """What to say of conflicts by table: files and keys by name, at most five of each."""
    lines = []
    for uri, conflict in conflicts.items():
        named = [*conflict.keys, *(file.rpartition("/")[2] for file in conflict.files[:5])]
        lines.append(f"{uri}: {conflict.reason}" + (f" ({'; '.join(named)})" if named else ""))
    return MergeConflictError(
        f"the {kind} does not fit: " + "; ".join(lines),
        hint="repeat the change on the newest version; or choose for whole tables: --strategy source-wins makes them "
        "what the source is, and drops what was done on the other side since; dest-wins leaves them as they are",
    )

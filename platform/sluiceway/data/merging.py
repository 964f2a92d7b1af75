"""Merge, revert and cherry-pick: the change between two commits, put onto a branch, each table in one log entry.

Written down in the catalog before the first table is touched. Whoever comes next finishes what a crash has left: each
entry carries the merge's name as a Delta transaction, so a table that has it is not touched again, and the branch moves
last, in the transaction that ends the record.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sluiceway.core.errors import ConflictError, InputError, MergeConflictError, ReferenceNotFoundError, SluicewayError
from sluiceway.core.repository import BRANCH, DONE, MAIN, MOVED, OPEN, UNDONE, Commit, MergeRecord, Pin, new_commit
from sluiceway.data.hooks import hook_event
from sluiceway.data.lost import refuse_lost_pins
from sluiceway.data.merge_table import (
    ATTEMPTS,
    MergeTask,
    changes_of,
    find_conflicts,
    put_change,
    refusal,
    undo_changes,
)
from sluiceway.data.repository import Repository, newest_pin, refuse_protected
from sluiceway.data.three_way import Side, Strategy

_log = logging.getLogger(__name__)
# A merge whose branch has moved since so many seconds, and no longer, may be running its hooks itself.
PATIENCE = 600.0


@dataclass(frozen=True)
class Merged:
    """What came of it.

    Attributes:
        commit: where the branch points now.
        changed: the tables that got a new version, with it.
        nothing: everything was there already.
    """

    commit: Commit
    changed: Mapping[str, Pin]
    nothing: bool = False


def merge(
    repository: Repository,
    source: str,
    dest: str = MAIN,
    *,
    strategy: Strategy = Strategy.FAIL,
    message: str = "",
    author: str = "",
    metadata: Mapping[str, str] | None = None,
) -> Merged:
    """Bring what a branch, tag or commit holds onto a branch. Repeating it changes nothing.

    Args:
        repository: where.
        source: what comes in: its newest commit.
        dest: what moves.
        strategy: for tables that both sides changed in ways that exclude each other.
        message: of the commit; made from the names where left out.
        author: who.
        metadata: of the commit.

    Raises:
        ReferenceNotFoundError: a name is nothing.
        InputError: the source has versions that no commit holds, or the destination is protected.
        MergeConflictError: both sides changed the same files, keys or columns; nothing was changed.
        ConflictError: other writers won every race.
    """
    recover(repository, patience=PATIENCE)
    _refuse_uncommitted(repository, source)
    theirs, onto = repository.find(source), repository.find(dest)
    base = repository.merge_base(theirs.id, onto.id)
    if base is None:
        raise InputError(f"{source} and {dest} have no commit in common")
    if base == theirs.id:
        return Merged(onto, {}, nothing=True)
    task = MergeTask(
        "merge", strategy, message or f"merge {source} into {dest}", author, dict(metadata or {}), (theirs.id,)
    )
    return _begin(repository, task, base=base, source=theirs.id, dest=dest)


def revert(repository: Repository, commit: str, branch: str = MAIN, *, message: str = "", author: str = "") -> Merged:
    """Take the change of one commit back on a branch, by a new commit; raises what :func:`merge` raises.

    Of a merge, what it brought to its first parent, the branch that it was made on.
    """
    recover(repository, patience=PATIENCE)
    found = repository.find(commit)
    if not found.parents:
        raise InputError(f"{found.id[:12]} is the first commit: there is nothing before it to go back to")
    after, before = found.id, found.parents[0]
    if len(found.parents) > 1:
        # What came in, and not what was written to the tables of main between two commits.
        after, base = found.parents[1], repository.merge_base(*found.parents)
        if base is None:
            raise InputError(f"{found.id[:12]} joined commits that have nothing in common")
        before = base
    task = MergeTask("revert", Strategy.FAIL, message or f"revert {found.id[:12]}: {found.message}", author, {}, ())
    return _begin(repository, task, base=after, source=before, dest=branch)


def cherry_pick(
    repository: Repository, commit: str, branch: str = MAIN, *, message: str = "", author: str = ""
) -> Merged:
    """Bring the change of one commit, and not what was before it, onto a branch; raises what :func:`merge` raises."""
    recover(repository, patience=PATIENCE)
    found = repository.find(commit)
    metadata = {"cherry-picked": found.id}
    task = MergeTask("cherry-pick", Strategy.FAIL, message or found.message, author or found.author, metadata, ())
    return _begin(repository, task, base=_only_parent(found), source=found.id, dest=branch)


def recover(repository: Repository, *, patience: float = 0.0) -> list[Merged]:
    """Finish the merges that a crash has left, or undo those that do not fit any more; run the hooks after them.

    Args:
        repository: where.
        patience: of a merge that was finished and whose hooks may not have run: they run if it was begun so many
            seconds ago. At once is right where no other process is in the middle of one.

    Returns:
        those that were finished.
    """
    done = []
    for record in repository.store.open_merges():
        try:
            done.append(_finish(repository, record, changes_of(repository, record.base, record.source)))
            _tell(repository, record)
        except MergeConflictError:
            continue  # undone; whoever asked for it asks again and is told
        except SluicewayError as error:
            # Of one table or branch; it must not stand in the way of the others.
            _log.warning("a merge into %s is left unfinished: %s", record.dest, error)
    now = repository.clock.now().timestamp()
    for record in repository.store.untold_merges():
        if now - record.created >= patience:
            _tell(repository, record)
    return done


def _begin(repository: Repository, task: MergeTask, *, base: str, source: str, dest: str) -> Merged:
    head = repository.head(dest)
    refuse_protected(head)
    now = repository.clock.now().timestamp()
    record = MergeRecord(uuid.uuid4().hex, dest, base, source, head.commit, task.to_json(), OPEN, now)
    sides = changes_of(repository, base, source)
    conflicts = find_conflicts(repository, dest, task, sides)
    if conflicts:
        raise refusal(task.kind, conflicts)
    repository.hooks.before(_event(repository, record))
    repository.store.begin_merge(record)
    _refuse_lost(repository, record, sides)
    done = _finish(repository, record, sides)
    _tell(repository, record)
    return done


def _refuse_lost(repository: Repository, record: MergeRecord, sides: Collection[str]) -> None:
    """Refuse to bring in versions whose files are gone.

    After the merge is written down: a vacuum writes down what goes, and then looks at unfinished merges once more.
    """
    if repository.lost is None:
        return
    incoming = repository.store.commit(record.source).tree
    try:
        refuse_lost_pins(repository.lost, [incoming[uri] for uri in sides if uri in incoming])
    except ReferenceNotFoundError:
        repository.store.end_merge(record.id, UNDONE)
        raise


def _event(repository: Repository, record: MergeRecord) -> dict[str, Any]:
    """What the hooks of a merge are told, before it and after it."""
    task = MergeTask.from_json(record.body)
    base, source = (repository.store.commit(commit).tree for commit in (record.base, record.source))
    event = hook_event(
        "merge",
        record.dest,
        operation=task.kind,
        source=record.source,
        message=task.message,
        author=task.author,
        metadata=task.metadata,
        tables={uri: pin for uri, pin in source.items() if base.get(uri) != pin},
    )
    return event | {"merge": record.id, "base": record.base, "strategy": task.strategy.value}


def _tell(repository: Repository, record: MergeRecord) -> None:
    """Run the hooks after a merge whose branch has moved; a process that ends in the middle leaves them to the next."""
    ended = repository.store.merge_record(record.id)
    if ended.status != MOVED:
        return
    repository.hooks.after(_event(repository, ended) | {"commit": ended.result})
    repository.store.end_merge(ended.id, DONE)


def _finish(repository: Repository, record: MergeRecord, sides: Mapping[str, tuple[Side, Side]]) -> Merged:
    """Put every table's change in, then move the branch."""
    task = MergeTask.from_json(record.body)
    changed: dict[str, Pin] = {}
    for uri in sides:
        try:
            pin = put_change(repository, record, task, uri, sides[uri])
        except MergeConflictError:
            undo_changes(repository, record, changed)
            raise
        if pin is not None:
            changed[uri] = pin
    for _ in range(ATTEMPTS):
        head = repository.head(record.dest)
        parents = (head.commit, *task.parents)
        onto = repository.store.commit(head.commit)
        if not changed and not task.parents:
            repository.store.end_merge(record.id, DONE)
            return Merged(onto, {}, nothing=True)
        made = new_commit(
            parents=parents,
            tree=dict(onto.tree) | {uri: _newer(onto.tree.get(uri), pin) for uri, pin in changed.items()},
            message=task.message,
            author=task.author,
            metadata=task.metadata,
            created=repository.clock.now().timestamp(),
        )
        try:
            repository.store.publish(made, record.dest, expected=head.commit, now=made.created, merge=record.id)
        except ConflictError:
            ended = repository.store.merge_record(record.id)
            if ended.status in (MOVED, DONE):
                return Merged(repository.store.commit(ended.result), changed)
            if ended.status != OPEN or repository.head(record.dest).commit == head.commit:
                raise  # undone by somebody else; or the branch did not move, so it is protected
            continue
        return Merged(made, changed)
    raise ConflictError(f"the branch {record.dest!r} never stood still", hint="the next merge finishes this one")


def _newer(there: Pin | None, pin: Pin) -> Pin:
    """Of two versions in one log the newer: a merge that came second may move the branch first, and holds both."""
    return there if there is not None and there.uri == pin.uri and there.version > pin.version else pin


def _refuse_uncommitted(repository: Repository, source: str) -> None:
    head = repository.store.ref(source)
    if head is None or head.kind != BRANCH or source == MAIN:
        return
    tree = repository.store.commit(head.commit).tree
    copies = repository.store.clones(head.id)
    moved = sorted(uri for uri, place in copies.items() if tree[uri] != newest_pin(place, like=tree[uri]))
    if moved:
        raise InputError(
            f"{source} has versions that no commit holds: {', '.join(moved)}",
            hint=f"`sluiceway data commit --branch {source} -m ...` first",
        )


def _only_parent(commit: Commit) -> str:
    if len(commit.parents) != 1:
        raise InputError(
            f"{commit.id[:12]} has {len(commit.parents)} parents: it is no change of its own",
            hint="name a commit that is neither the first nor a merge",
        )
    return commit.parents[0]

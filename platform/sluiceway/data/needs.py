"""Who needs which version of a table, as the catalog knows it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from sluiceway.catalog.leases import LeaseStore
from sluiceway.catalog.pipeline import PipelineStore
from sluiceway.catalog.repository import RepositoryStore
from sluiceway.catalog.tags import TagStore
from sluiceway.core.clock import Clock
from sluiceway.core.repository import BRANCH, TAG, Commit, Pin, Ref
from sluiceway.data.commit_graph import forebears, merge_bases
from sluiceway.data.hold import held_versions
from sluiceway.data.keeping import Kind, Need

_DIGITS = 12
# A run of which nobody has heard for so long is not waited for: its checkpoints are gone by then, too.
_WAITED_FOR = 7 * 86_400.0


@dataclass(frozen=True)
class NeedStores:
    """Where needs are written down."""

    tags: TagStore
    repository: RepositoryStore
    leases: LeaseStore
    pipeline: PipelineStore
    clock: Clock


def living_copies(repository: RepositoryStore, uri: str) -> dict[str, str]:
    """The copies of a table that branches have: the branch's name by place; branches that are gone have none."""
    found = {}
    for ref in repository.refs(BRANCH):
        place = repository.clones(ref.id).get(uri)
        if place is not None:
            found[place] = ref.name
    return found


def needs_of(uri: str, stores: NeedStores, *, since: float) -> list[Need]:
    """What the catalog says of a table and of the branches' copies of it.

    Args:
        uri: the table, as :func:`sluiceway.data.tables.absolute` spells it.
        stores: the catalog's.
        since: UTC epoch seconds; a commit that a branch has left before that needs nothing.

    Returns:
        in no order; one for each reason.
    """
    found = [Need(uri, tag.version, f"tag {tag.name}", kind=Kind.NAME) for tag in stores.tags.list(uri)]
    found += _of_the_repository(uri, stores.repository, since)
    found += _of_later_merges(uri, stores.repository)
    found += [Need(place, version, who) for place, version, who in held_versions(stores.leases, clock=stores.clock)]
    found += [Need(pin.uri, pin.version, f"run {run}") for run, pin in _of_runs(stores.pipeline, stores.clock)]
    return found


def _of_the_repository(uri: str, store: RepositoryStore, since: float) -> Iterator[Need]:
    for ref in store.refs():
        for commit, why in _commits_of(ref, store, since):
            pin = commit.tree.get(uri)
            if pin is not None:
                yield Need(pin.uri, pin.version, why, kind=Kind.NAME if ref.kind == TAG else Kind.BRANCH)
    for record in store.open_merges():
        for commit_id in (record.base, record.source, record.onto):
            pin = store.commit(commit_id).tree.get(uri)
            if pin is not None:
                yield Need(pin.uri, pin.version, f"a merge into {record.dest} that is not finished")


def _of_later_merges(uri: str, store: RepositoryStore) -> Iterator[Need]:
    """Where living branches and tags part, and what their newest commits came from: merges and reverts ask there."""
    parents = store.parents()
    heads = {ref.commit for ref in store.refs()}
    before = {head: forebears(head, parents) for head in heads}
    bases = {parent for head in heads for parent in parents.get(head, ())}
    sides = [parents[head] for head in heads if len(parents.get(head, ())) == 2]
    before |= {side: forebears(side, parents) for pair in sides for side in pair}
    for one, other in [*itertools.combinations(sorted(heads), 2), *sides]:
        bases |= merge_bases(before[one] & before[other], parents)
    for base in bases:
        pin = store.commit(base).tree.get(uri)
        if pin is not None:
            yield Need(pin.uri, pin.version, f"merges from commit {base[:_DIGITS]} on", Kind.LOG)


def _commits_of(ref: Ref, store: RepositoryStore, since: float) -> Iterator[tuple[Commit, str]]:
    """The commit that a name points at, and for a branch those that it has left since a time."""
    head = store.commit(ref.commit)
    yield head, f"{ref.kind} {ref.name}"
    waiting, seen = [head], {head.id}
    while ref.kind == BRANCH and waiting:
        commit = waiting.pop()
        if commit.created < since:
            continue  # what came before it was left even earlier
        for parent in commit.parents:
            if parent not in seen:
                seen.add(parent)
                found = store.commit(parent)
                waiting.append(found)
                yield found, f"commit {parent[:_DIGITS]} of {ref.name}"


def _of_runs(pipeline: PipelineStore, clock: Clock) -> Iterator[tuple[str, Pin]]:
    """The versions that runs work on which have not ended; one that was interrupted goes on with them for a week.

    Its configuration may have been changed for good, and then nobody ends it. Who is alive holds what it reads.
    """
    now = clock.now().timestamp()
    for run in pipeline.unfinished():
        steps = pipeline.steps(run.run_id)
        heard = max([run.started, *(step.ended or step.started for step in steps)])
        if now - heard > _WAITED_FOR:
            continue
        for step in steps:
            for pin in _pins_in(step.result):
                yield run.run_id, pin


def _pins_in(result: object) -> Iterator[Pin]:
    """The table versions that a step's result tells of, however deep."""
    if isinstance(result, dict):
        if {"uri", "version", "digest"} <= result.keys() and isinstance(result["version"], int):
            yield Pin(str(result["uri"]), result["version"], str(result["digest"]))
        for value in result.values():
            yield from _pins_in(value)
    elif isinstance(result, list):
        for value in result:
            yield from _pins_in(value)

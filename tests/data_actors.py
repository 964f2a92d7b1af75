"""Processes that write to one table at the same time: started once, told what to do, and let go together.

A process is this file run as a script. It reads a line of JSON that says what to do, answers ``ready``, waits for the
next line, does it, and answers with a line of JSON. Without Ray, so that starting one costs a second.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from ray_head import clean_environment
from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.leases import LeaseStore
from sluiceway.catalog.repository import RepositoryStore
from sluiceway.catalog.stores import open_stores
from sluiceway.config.platform import PlatformSection
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import ConflictError, ReferenceNotFoundError
from sluiceway.core.references import TableVersion
from sluiceway.data import commit, commit_files, delta_log, tables
from sluiceway.data.commit_loop import CommitResult
from sluiceway.data.hold import hold
from sluiceway.data.ingest.file_writer import FileWriter
from sluiceway.data.ingest.planning import existing_target
from sluiceway.data.key_set import KeySet
from sluiceway.data.merging import merge
from sluiceway.data.optimize import optimize
from sluiceway.data.repository import Repository
from sluiceway.data.rewrite import Rewriting, replace_rows, rewrite_share
from sluiceway.data.vacuum import Retention, vacuum
from sluiceway.wiring.care import build_care

# One thing to do: ``op`` says what, ``name`` is its message, its batch id and the name that the model knows it by.
Operation = dict[str, Any]
COLUMNS = pa.schema([("id", pa.int64()), ("value", pa.int64()), ("part", pa.string())])
RUN = "0123456789ab"


class Actor:
    """One such process, seen from the test."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env=clean_environment() | dict(environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def prepare(self, **task: Any) -> None:
        """Tell what to do; it waits."""
        self._say(json.dumps(task))

    def go(self) -> None:
        """Let it go, as soon as it is ready."""
        assert self._process.stdout.readline() == "ready\n", self._process.poll()
        self._say("go")

    def answer(self) -> Any:
        """What it has to say; None where it was killed."""
        line = self._process.stdout.readline()
        return json.loads(line) if line else None

    def killed(self) -> int:
        """Its return code, once it has ended."""
        return self._process.wait(timeout=60)

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _say(self, line: str) -> None:
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


@contextlib.contextmanager
def actors(count: int, environment: Mapping[str, str] | None = None) -> Iterator[list[Actor]]:
    """So many processes; none is left afterwards."""
    with contextlib.ExitStack() as stack:
        started = []
        for _ in range(count):
            started.append(Actor(environment))
            stack.callback(started[-1].end)
        yield started


def race(processes: Sequence[Actor], uri: str, *programs: Sequence[Operation]) -> list[Any]:
    """Let each process do its operations, one after the other, all processes at once.

    Returns:
        the answers of all: ``name`` and ``version``, or ``name`` and ``refused``.
    """
    for process, program in zip(processes, programs, strict=True):
        process.prepare(uri=uri, program=program)
    for process in processes:
        process.go()
    answers = [answer for process in processes for answer in process.answer()]
    assert not [answer["broken"] for answer in answers if "broken" in answer]
    return answers


def table_of(rows: Sequence[Sequence[Any]]) -> pa.Table:
    """Rows of (id, value, part)."""
    return pa.Table.from_pylist([dict(zip(COLUMNS.names, row, strict=True)) for row in rows], schema=COLUMNS)


def _append(uri: str, op: Operation) -> Any:
    return commit.append(uri, table_of(op["rows"]), message=op["name"], source="race", batch_id=op["name"])


def _overwrite(uri: str, op: Operation) -> Any:
    told = {"message": op["name"], "source": "race", "batch_id": op["name"]}
    return commit.overwrite(uri, table_of(op["rows"]), expected_version=op.get("expected"), **told)


def _restore(uri: str, op: Operation) -> Any:
    return commit.restore(uri, op["to"], message=op["name"], batch_id=op["name"])


def _files(uri: str, op: Operation) -> Any:
    """Files that this process writes, as a task of an ingest does, and commits."""
    target = existing_target(uri)
    with FileWriter(target, run=RUN, number=0) as writer:
        for batch in table_of(op["rows"]).to_batches():
            writer.add(batch, where="race")
        written = writer.finish()
    time.sleep(op.get("hold", 0))
    delivery = commit_files.Delivery(op["name"], "race", op["name"], more={"op": op["name"]})
    return commit_files.add_files(target, written, mode=op["mode"], delivery=delivery)


def _by_key(uri: str, op: Operation) -> Any:
    table = table_of(op["rows"])
    keys = table.select(["id"]) if op["op"] == "delete" else table
    return commit_files.merge(
        uri,
        lambda: pa.RecordBatchReader.from_batches(keys.schema, keys.to_batches()),
        rows=keys.num_rows,
        key=("id",),
        mode=op["op"],
        delivery=commit_files.Delivery(op["name"], "race", op["name"]),
    )


def _rewrite(uri: str, op: Operation) -> Any:
    """Rows that go by key and, with an upsert, come in files: as on a branch, what tasks do is done here."""
    target, table = existing_target(uri), table_of(op["rows"])
    with FileWriter(target, run=RUN, number=0) as writer:
        for batch in table.to_batches() if op["mode"] == "upsert" else ():
            writer.add(batch, where="race")
        files = tuple(writer.finish())
    keys = table.select(["id"])
    delivery = commit_files.Delivery(op["name"], "race", op["name"])
    job = Rewriting(target, keys, "MERGE", delivery, RUN, table.num_rows, files)
    found = replace_rows(job, lambda shares: [rewrite_share(share, KeySet(keys)) for share in shares])
    if op["mode"] == "delete":
        numbers = {"inserted": 0, "updated": 0, "deleted": found.deleted}
    else:
        numbers = {"inserted": found.rows - found.met, "updated": found.deleted, "deleted": 0}
    return CommitResult(found.version, found.rows, found.skipped), numbers


def die_at(step: str, owner: Any, name: str) -> None:
    """Kill this process before or after the so-manieth call of a function."""
    function, calls = getattr(owner, name), itertools.count(1)

    def mortal(*given: Any, **named: Any) -> Any:
        number = next(calls)
        if step == f"before {name} {number}":
            os.kill(os.getpid(), signal.SIGKILL)
        found = function(*given, **named)
        if step == f"after {name} {number}":
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(owner, name, mortal)


@functools.cache
def _catalog(url: str) -> Any:
    return open_catalog(url)


def _optimize(uri: str, op: Operation) -> Any:
    done = optimize(uri, leases=LeaseStore(_catalog(op["catalog"])), clock=SystemClock(), order_by=op["order_by"])
    return CommitResult(done.version, 0, skipped=done.nothing)


def _branch(uri: str, op: Operation) -> Any:
    """Merge a branch that the test has made; it may be the end of this process."""
    if "kill" in op:
        die_at(op["kill"], RepositoryStore, "begin_merge")
        die_at(op["kill"], RepositoryStore, "publish")
        die_at(op["kill"], delta_log, "write_entry")
    done = merge(Repository(RepositoryStore(_catalog(op["catalog"])), SystemClock()), op["branch"], message=op["name"])
    return CommitResult(done.changed[uri].version, 0)


def _vacuum(uri: str, op: Operation) -> Any:
    """By a clock that goes two hours ahead, so that all but the newest versions are too old to be kept for nobody."""
    stores = _stores(op["catalog"])
    doors = build_care(uri, PlatformSection(state=op["state"]), stores, clock=SystemClock())
    done = vacuum(uri, doors, Retention(time.time() + 7200, 3600))
    return CommitResult(0, 0), [len(done.plan.files), len(done.plan.abandoned)]


def _read(uri: str, op: Operation) -> Any:
    """Rows of a version that nobody may delete meanwhile, some time after it was opened."""
    stores, version = _stores(op["catalog"]), TableVersion(uri, op["version"], "", 0, "")
    with hold(version, leases=stores.leases, lost=stores.lost_versions, clock=SystemClock(), who="a reader"):
        table = tables.open_table(uri, version=version.version)
        time.sleep(op["hold"])
        found = table.to_pyarrow_table(columns=COLUMNS.names)
    return CommitResult(version.version, found.num_rows), [list(row.values()) for row in found.to_pylist()]


@functools.cache
def _stores(url: str) -> Any:
    return open_stores(url)


DO = {
    "append": _append,
    "overwrite": _overwrite,
    "restore": _restore,
    "files": _files,
    "upsert": _by_key,
    "delete": _by_key,
    "rewrite": _rewrite,
    "optimize": _optimize,
    "branch": _branch,
    "vacuum": _vacuum,
    "read": _read,
}


def _done(uri: str, op: Operation) -> dict[str, Any]:
    time.sleep(op.get("wait", 0))
    try:
        found = DO[op["op"]](uri, op)
    except (ConflictError, ReferenceNotFoundError) as error:
        return {"name": op["name"], "refused": str(error)}
    except Exception:  # noqa: BLE001 (the test is to say what went wrong here, and the process to go on)
        return {"name": op["name"], "broken": traceback.format_exc()}
    result, numbers = found if isinstance(found, tuple) else (found, None)
    return {"name": op["name"], "version": result.version, "skipped": result.skipped, "numbers": numbers}


def _work() -> None:
    for line in sys.stdin:
        task = json.loads(line)
        _answer("ready", raw=True)
        sys.stdin.readline()
        _answer([_done(task["uri"], op) for op in task["program"]])


def _answer(what: Any, *, raw: bool = False) -> None:
    sys.stdout.write((what if raw else json.dumps(what)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _work()

"""A process that ingests, scores and erases, in children of its own where they are to be killed; all is imported first.

Run as a script it reads a line of JSON for each task, and answers with a line of JSON: the report of the ingest, or
the signal that ended it. It joins the Ray whose address it is told, or starts one of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from ray_head import clean_environment

Task = dict[str, Any]


class Victims:
    """The process, seen from the test."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env=clean_environment() | dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ingest(self, **task: Any) -> Task:
        """Run one; ``killed`` is the signal that ended it, or None."""
        return self._run({"do": "ingest", **task})

    def erase(self, **task: Any) -> Task:
        """Erase the rows of a key."""
        return self._run({"do": "erase", **task})

    def score(self, **task: Any) -> Task:
        """Score a version of a table."""
        return self._run({"do": "score", **task})

    def _run(self, task: Task) -> Task:
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        """End it, and the Ray that it may have started."""
        self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        finally:
            self._process.kill()
            self._process.stdout.close()
            self._process.wait()


@contextlib.contextmanager
def victims(environment: Mapping[str, str]) -> Iterator[Victims]:
    """The process; it is gone afterwards."""
    started = Victims(environment)
    try:
        yield started
    finally:
        started.end()


class KillAt:
    """Kills its process where a step begins, or so many seconds later."""

    def __init__(self, step: str, delay: float) -> None:
        self._step, self._delay = step, delay

    def stage(self, name: str, detail: str = "") -> None:
        del detail
        self.reached(f"begin: {name}")

    def advance(self, text: str, fraction: float | None = None) -> None:
        del text, fraction
        self.reached("some files are written")

    def reached(self, step: str) -> None:
        if step == self._step and self._delay:
            threading.Timer(self._delay, _die).start()
        elif step == self._step:
            _die()

    def before(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def stopped(*given: Any, **named: Any) -> Any:
            self.reached(step)
            return function(*given, **named)

        return stopped

    def after(self, step: Callable[..., str], function: Callable[..., Any]) -> Callable[..., Any]:
        def stopped(*given: Any, **named: Any) -> Any:
            found = function(*given, **named)
            self.reached(step(*given))
            return found

        return stopped


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _prepare(kill: KillAt, *, many: bool) -> None:
    from sluiceway.data import commit_files, delta_log, ray_ingest, ray_rewrite  # noqa: PLC0415
    from sluiceway.data.ingest import planning  # noqa: PLC0415

    if many:
        planning.SMALL_TASK_BYTES = 1
    commit_files.add_files = kill.after(
        lambda target, *_: f"committed: {'quarantine' if target.uri.endswith(planning.QUARANTINE) else 'table'}",
        commit_files.add_files,
    )
    delta_log.write_entry = kill.before(
        "before the entry", kill.after(lambda *_: "after the entry", delta_log.write_entry)
    )
    for room in (ray_ingest, ray_rewrite):
        room.delete_files_of = kill.before("before the clean-up", room.delete_files_of)


def _join(task: Task) -> None:
    import ray  # noqa: PLC0415 (the test that starts this process needs nothing of it)

    if not ray.is_initialized():
        local = {"address": "local", "num_cpus": 2, "include_dashboard": False, "object_store_memory": 100 * 2**20}
        where = {"address": task["address"]} if "address" in task else local
        ray.init(**where, log_to_driver=False, logging_level="ERROR")


def _erase(task: Task) -> Any:
    from data_actors import die_at  # noqa: PLC0415
    from sluiceway.catalog.stores import open_stores  # noqa: PLC0415
    from sluiceway.config.platform import PlatformSection  # noqa: PLC0415
    from sluiceway.core.clock import SystemClock  # noqa: PLC0415
    from sluiceway.data import ray_erase  # noqa: PLC0415
    from sluiceway.data.repository import Repository  # noqa: PLC0415
    from sluiceway.wiring.care import build_erase  # noqa: PLC0415

    for name in ("write_down", "delete_files", "entries_that_name"):
        die_at(task["kill"], ray_erase, name)
    die_at(task["kill"], ray_erase.Replacements, "put")
    _join(task)
    stores = open_stores(task["catalog"])
    repository = Repository(stores.repository, SystemClock(), lost=stores.lost_versions)
    doors = build_erase(PlatformSection(state=task["state"]), stores, repository, clock=SystemClock())
    ray_erase.erase(task["uri"], ray_erase.EraseRequest(pa.table(task["keys"]), apply=True), doors)
    return {}


def _ingest(task: Task) -> Any:
    from sluiceway.data import ray_ingest  # noqa: PLC0415
    from sluiceway.data.ingest.request import IngestRequest  # noqa: PLC0415
    from sluiceway.data.ingest.text_files import TextOptions  # noqa: PLC0415

    kill = KillAt(task.get("kill", ""), task.get("delay", 0))
    if "kill" in task:
        _prepare(kill, many=task["many"])
    _join(task)
    given = task["request"]
    given |= {name: tuple(given[name]) for name in ("key", "partition_by") if name in given}
    request = IngestRequest(**given | {"text": TextOptions(**given.get("text", {}))})
    return dataclasses.asdict(ray_ingest.ingest(task["sources"], task["uri"], request, progress=kill))


def _score(task: Task) -> Any:
    from batch_scores import plan  # noqa: PLC0415
    from sluiceway.core.references import TableVersion  # noqa: PLC0415
    from sluiceway.lifecycle import batch_score  # noqa: PLC0415
    from sluiceway.registry import bundle  # noqa: PLC0415

    kill = KillAt(task.get("kill", ""), task.get("delay", 0))
    _prepare(kill, many=True)
    _join(task)
    planned = plan(TableVersion(**task["source"]), bundle.read(task["bundle"]), task["uri"])
    return dataclasses.asdict(batch_score.score(planned, progress=kill))


def _told(task: Task) -> Task:
    from sluiceway.core.errors import SluicewayError  # noqa: PLC0415

    try:
        return {"ingest": _ingest, "erase": _erase, "score": _score}[task["do"]](task)
    except SluicewayError as error:
        return {"error": type(error).__name__, "message": str(error)}
    except Exception:  # noqa: BLE001 (a child of a fork may not return, and the test wants to know)
        return {"error": "unexpected", "message": traceback.format_exc()}


def _in_a_child(task: Task) -> Task:
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        import ray  # noqa: PLC0415

        try:
            os.write(theirs, json.dumps(_told(task)).encode())
            ray.shutdown()
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as answers:
        told = answers.read()
    _, status = os.waitpid(pid, 0)
    killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    return {"killed": killed, **(json.loads(told) if told else {})}


if __name__ == "__main__":
    import sluiceway.data.ray_erase
    import sluiceway.data.ray_ingest
    import sluiceway.lifecycle.batch_score  # noqa: F401

    for line in sys.stdin:
        given = json.loads(line)
        sys.stdout.write(json.dumps(_in_a_child(given) if "kill" in given else _told(given)) + "\n")
        sys.stdout.flush()

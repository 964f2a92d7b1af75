"""Hooks before and after changes of a repository: real commands, a real webhook, real callables."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pyarrow as pa
import pytest

from ray_head import free_ports
from sluiceway.catalog.repository import RepositoryStore
from sluiceway.config.platform import HookSection
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import ConfigError, HookRefusedError
from sluiceway.core.repository import MAIN
from sluiceway.data import commit, delta_log, merging, tables
from sluiceway.data.hooks import HookedAction, Hooks, build_hooks
from sluiceway.data.merging import cherry_pick, merge, recover, revert
from sluiceway.data.repository import Repository

pytestmark = pytest.mark.integration


def append(place, *ids):
    commit.append(place, pa.table({"id": pa.array(ids, pa.int64())}), message="rows", source="test")


@pytest.fixture
def lake(catalog, tmp_path):
    found = Repository(RepositoryStore(catalog), SystemClock())
    append(str(tmp_path / "t"), 1)
    found.add(str(tmp_path / "t"))
    found.commit(message="first")
    found.branch("exp")
    append(found.place_to_write(str(tmp_path / "t"), "exp"), 10)
    found.commit("exp", message="ten")
    return found


def hooked(lake, **section):
    return dataclasses.replace(lake, hooks=build_hooks([HookSection(**section)]))


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict], list[int]]]:
    """An address, what was posted there, and the statuses that it answers next."""
    posted, statuses = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(statuses.pop(0) if statuses else 204)
            self.end_headers()

        def log_message(self, *given):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", posted, statuses
    server.shutdown()
    server.server_close()


def unchanged(lake, tmp_path):
    return tables.open_table(str(tmp_path / "t")).version(), lake.find(MAIN).id, lake.store.open_merges()


def test_a_command_lets_through_or_refuses_and_sees_what_comes_in(lake, tmp_path):
    before = unchanged(lake, tmp_path)
    program = "import json, sys; e = json.load(sys.stdin); print(json.dumps(e), file=open('seen', 'w')); sys.exit({})"
    (tmp_path / "no.py").write_text(program.format("'rows look wrong'").replace("'seen'", repr(str(tmp_path / "seen"))))
    (tmp_path / "yes.py").write_text("import sys; sys.stdin.read()")
    refusing = hooked(lake, on=("pre-merge",), branch=MAIN, command=f"{sys.executable} {tmp_path / 'no.py'}")
    with pytest.raises(HookRefusedError, match="rows look wrong"):
        merge(refusing, "exp", message="please")
    assert unchanged(lake, tmp_path) == before
    event = json.loads((tmp_path / "seen").read_text())
    assert (event["point"], event["operation"], event["branch"]) == ("pre-merge", "merge", MAIN)
    assert event["message"] == "please"
    (pin,) = event["tables"].values()
    assert tables.row_count(tables.open_table(pin["uri"], version=pin["version"])) == 2
    merge(hooked(lake, on=("pre-merge",), command=f"{sys.executable} {tmp_path / 'yes.py'}"), "exp")
    with pytest.raises(HookRefusedError, match="revert"):
        revert(dataclasses.replace(refusing), "exp")
    merge(refusing, MAIN, "exp")  # it is for main only


def test_a_command_that_takes_too_long_refuses(lake, tmp_path):
    before = unchanged(lake, tmp_path)
    with pytest.raises(HookRefusedError, match="not done after"):
        merge(hooked(lake, on=("pre-merge",), command="sleep 20", timeout_seconds=0.2), "exp")
    assert unchanged(lake, tmp_path) == before


def test_a_webhook_hears_and_can_refuse(lake, tmp_path, webhook):
    address, posted, statuses = webhook
    telling = hooked(lake, on=("pre-merge", "post-merge", "pre-tag", "post-branch"), url=address)
    statuses.append(403)
    with pytest.raises(HookRefusedError, match="status 403"):
        merge(telling, "exp")
    done = merge(telling, "exp")
    assert [event["point"] for event in posted] == ["pre-merge", "pre-merge", "post-merge"]
    assert posted[-1]["commit"] == done.commit.id
    telling.branch("other")
    assert posted[-1]["point"] == "post-branch"
    statuses.append(500)
    with pytest.raises(HookRefusedError):
        telling.tag("v-one")
    assert lake.store.ref("v-one") is None


def test_nobody_there_refuses_before_and_is_only_told_after(lake, caplog):
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}/"
    merge(hooked(lake, on=("post-merge",), url=address), "exp")
    assert "failed after the merge of main" in caplog.text
    with pytest.raises(HookRefusedError):
        hooked(lake, on=("pre-branch",), url=address).branch("other")
    assert lake.store.ref("other") is None


def test_a_callable(lake, tmp_path, monkeypatch):
    (tmp_path / "my_checks.py").write_text(
        "def needs_ticket(event):\n    if 'ticket' not in event['metadata']:\n        raise ValueError('no ticket')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    asking = hooked(lake, on=("pre-commit",), function="my_checks:needs_ticket")
    append(str(tmp_path / "t"), 5)
    with pytest.raises(HookRefusedError, match="no ticket"):
        asking.commit(message="five")
    assert asking.commit(message="five", metadata={"ticket": "42"}).message == "five"


@pytest.mark.parametrize("name", ["my_checks_that_are_not:there", "json:nothing", "json"])
def test_a_callable_that_is_not_there(lake, name):
    with pytest.raises(ConfigError, match="cannot be loaded"):
        hooked(lake, on=("pre-commit",), function=name)


def test_a_module_that_exits_when_it_is_imported_is_refused(lake, tmp_path, monkeypatch):
    (tmp_path / "my_script_without_a_guard.py").write_text("raise SystemExit(0)")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="cannot be loaded: SystemExit: 0"):
        hooked(lake, on=("pre-commit",), function="my_script_without_a_guard:check")


def test_a_hook_has_one_action():
    for given in ({}, {"command": "true", "url": "http://x"}, {"command": "true", "gate": "data_quality"}):
        with pytest.raises(ValueError, match="one of command, url, function and gate"):
            HookSection(on=("pre-merge",), **given)


@pytest.mark.parametrize("point", ["post-merge", "post-commit", "pre-branch", "pre-tag"])
def test_a_gate_is_for_what_brings_rows(point):
    with pytest.raises(ValueError, match="nothing to judge but at pre-commit and pre-merge"):
        HookSection(on=("pre-merge", point), gate="data_quality")


def test_what_is_for_gates_is_refused_elsewhere():
    for given in ({"contracts": {"t": "t.yaml"}}, {"missing_contract": "allow"}):
        with pytest.raises(ValueError, match="are for a hook with a gate"):
            HookSection(on=("pre-merge",), command="true", **given)


def test_a_gate_without_anything_to_run_it_is_refused(lake):
    with pytest.raises(ConfigError, match="cannot be run here"):
        hooked(lake, on=("pre-merge",), gate="data_quality")


class KilledError(BaseException):
    """What a killed process does next: nothing."""


@dataclasses.dataclass
class Heard:
    """A callable after merges, and what it was told."""

    events: list[dict] = dataclasses.field(default_factory=list)
    dies: bool = False

    def __call__(self, event):
        self.events.append(dict(event))
        if self.dies:
            raise KilledError


@pytest.fixture
def heard(lake):
    """A repository with a hook after merges, and what that hears."""
    listener = Heard()
    action = HookedAction(frozenset({"post-merge"}), "*", listener, "listener")
    return dataclasses.replace(lake, hooks=Hooks((action,))), listener


@pytest.mark.parametrize("at", ["after the record", "all tables", "the end"])
def test_the_hooks_after_a_merge_that_a_crash_has_left_run_when_it_is_finished(heard, monkeypatch, at):
    repository, listener = heard
    publish = RepositoryStore.publish

    def killed(*given, **named):
        raise KilledError

    def publishing(*given, **named):
        if at == "all tables":
            raise KilledError
        publish(*given, **named)
        raise KilledError

    with monkeypatch.context() as patch:
        if at == "after the record":
            patch.setattr(delta_log, "write_entry", killed)
        patch.setattr(RepositoryStore, "publish", publishing)
        with pytest.raises(KilledError):
            merge(repository, "exp", message="please", metadata={"ticket": "42"})
    assert listener.events == []
    recover(repository)
    (event,) = listener.events
    assert (event["point"], event["operation"], event["branch"]) == ("post-merge", "merge", MAIN)
    assert (event["message"], event["metadata"]) == ("please", {"ticket": "42"})
    assert event["commit"] == repository.find(MAIN).id
    assert event["source"] == repository.find("exp").id
    assert len(event["tables"]) == 1
    recover(repository)
    assert merge(repository, "exp").nothing
    assert len(listener.events) == 1


def test_hooks_that_a_crash_has_ended_run_again_and_know_each_other_by_the_merge(heard):
    repository, listener = heard
    listener.dies = True
    with pytest.raises(KilledError):
        merge(repository, "exp")
    listener.dies = False
    recover(repository)
    first, second = listener.events
    assert first == second
    assert len(first["merge"]) == 32


def test_a_merge_leaves_the_hooks_of_one_that_has_just_moved_to_it_for_a_while(heard, monkeypatch, tmp_path):
    repository, listener = heard
    listener.dies = True
    with pytest.raises(KilledError):
        merge(repository, "exp")
    listener.dies = False
    place = repository.place_to_write(str(tmp_path / "t"), "exp")
    append(place, 11)
    repository.commit("exp", message="eleven")
    merge(repository, "exp")
    assert [event["source"] for event in listener.events][1:] == [repository.find("exp").id]
    (left,) = repository.store.untold_merges()
    monkeypatch.setattr(merging, "PATIENCE", 0.0)
    assert merge(repository, "exp").nothing
    assert [event["merge"] for event in listener.events].count(left.id) == 2
    assert repository.store.untold_merges() == []


def test_a_merge_that_changes_nothing_is_told_to_nobody(heard):
    repository, listener = heard
    merge(repository, "exp")
    cherry_pick(repository, "exp")
    assert len(listener.events) == 1

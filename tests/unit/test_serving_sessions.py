"""What a killed driver left running is ended by the next one; nothing else is."""

import json
import os
import signal
import subprocess
import sys

import pytest

from sluiceway.serving.sessions import PROC, end_dead_sessions, find_dead_sessions

pytestmark = pytest.mark.skipif(not PROC.is_dir(), reason="there is no /proc on this platform")

DRIVER = """
import subprocess, sys
from pathlib import Path
from sluiceway.serving.sessions import remember_session
child = "import subprocess, time; print(subprocess.Popen(['sleep', '300']).pid, flush=True); time.sleep(300)"
agent = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, text=True)
below = agent.stdout.readline().strip()
remember_session(Path(sys.argv[1]))
print(agent.pid, below, flush=True)
sys.stdin.read()
"""


def lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def driver(tmp_path):
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "sessions")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.below = [int(pid) for pid in process.stdout.readline().split()]
        yield process
        for pid in [process.pid, *process.below]:
            if lives(pid):
                os.kill(pid, signal.SIGKILL)


def test_a_living_drivers_processes_are_left_alone(driver, tmp_path):
    assert find_dead_sessions(tmp_path / "sessions") == []
    assert end_dead_sessions(tmp_path / "sessions") == []
    assert all(lives(pid) for pid in driver.below)


def test_what_a_killed_driver_left_is_ended_to_the_grandchild(driver, tmp_path):
    driver.kill()
    driver.wait()
    (session,) = find_dead_sessions(tmp_path / "sessions")
    assert {process.pid for process in session.living} == set(driver.below)
    assert {process.pid for process in end_dead_sessions(tmp_path / "sessions")} == set(driver.below)
    assert not any(lives(pid) for pid in driver.below)
    assert list((tmp_path / "sessions").iterdir()) == []


def test_a_process_that_only_has_the_same_id_is_left_alone(tmp_path):
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        record = {"driver": [stranger.pid, 1], "processes": [[stranger.pid, 2]]}
        (tmp_path / "1-1.json").write_text(json.dumps(record))
        (tmp_path / "2-2.json").write_text("{half")
        assert end_dead_sessions(tmp_path) == []
        assert lives(stranger.pid)
        assert [path.name for path in tmp_path.iterdir()] == ["2-2.json"]
    finally:
        stranger.kill()
        stranger.wait()


def test_another_users_records_are_not_read(tmp_path, monkeypatch):
    (tmp_path / "1-1.json").write_text(json.dumps({"driver": [1, 1], "processes": []}))
    assert len(find_dead_sessions(tmp_path)) == 1
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    assert find_dead_sessions(tmp_path) == []


ORDERLY = """
import json, subprocess, sys, time
from pathlib import Path
from sluiceway.serving import sessions
from sluiceway.serving.sessions import end_own_session, own_processes, remember_session
sessions.PATIENCE_SECONDS = 0.3
folder = Path(sys.argv[1])
stranger = subprocess.Popen(["sleep", "60"])
others = own_processes()
child = subprocess.Popen(["sleep", "60"])
remember_session(folder, but=others)
began = time.monotonic()
end_own_session(folder)
took, code = time.monotonic() - began, child.wait(5)
end_own_session(folder)
assert stranger.poll() is None  # it was there before
stranger.kill()
print(json.dumps([code, took, [path.name for path in folder.iterdir()]]))
"""


def test_at_an_orderly_end_the_rest_is_ended(tmp_path):
    # A process of its own: the Ray of this test session is a child of this one.
    done = subprocess.run([sys.executable, "-c", ORDERLY, str(tmp_path)], capture_output=True, text=True, check=True)
    code, took, left = json.loads(done.stdout)
    assert code == -signal.SIGKILL
    assert took < 10
    assert left == []

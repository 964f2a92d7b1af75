"""Only a HAProxy of ours without its Ray is ended."""

import subprocess
import sys
import time

import pytest

from sluiceway.serving.leftovers import PROC, end_leftovers, find_leftovers

pytestmark = pytest.mark.skipif(not PROC.is_dir(), reason="leftovers are recognised by /proc")

SLEEP = "import time; time.sleep(60)"


@pytest.fixture
def start():
    """Starts a sleeping process under another name; ends all of them afterwards."""
    started = []

    def begin(name, *arguments, code=SLEEP):
        process = subprocess.Popen([name, "-c", code, *arguments], executable=sys.executable)
        started.append(process)
        for _ in range(200):  # until exec has replaced the command line
            if (PROC / str(process.pid) / "cmdline").read_bytes().startswith(name.encode()):
                break
            time.sleep(0.01)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def test_a_haproxy_of_ours_whose_ray_is_gone_is_ended(start, tmp_path):
    process = start("/opt/haproxy", "-db", "-f", str(tmp_path / "node" / "haproxy.cfg"))
    assert [one.pid for one in find_leftovers(tmp_path)] == [process.pid]
    assert [one.pid for one in end_leftovers(tmp_path)] == [process.pid]
    assert process.wait(timeout=5) != 0
    assert find_leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("/opt/haproxy", "/etc/haproxy/haproxy.cfg"),  # somebody else's
        ("/opt/haproxy", "{folder}/haproxy.cfg"),  # not below a node's folder
        ("/usr/bin/editor", "{folder}/node/haproxy.cfg"),  # not a HAProxy
    ],
)
def test_nothing_else_is_ended(start, tmp_path, name, config):
    process = start(name, "-f", config.format(folder=tmp_path))
    assert end_leftovers(tmp_path) == []
    assert process.poll() is None


def test_a_haproxy_whose_actor_lives_is_left_alone(start, tmp_path):
    child = (
        "import subprocess, sys, time\n"
        f"p = subprocess.Popen(['haproxy', '-c', {SLEEP!r}, '-f', {str(tmp_path / 'node' / 'haproxy.cfg')!r}],"
        f" executable={sys.executable!r})\n"
        "print(p.pid, flush=True)\n"
        "sys.stdin.read()\n"
        "p.kill()\n"
        "p.wait()\n"
    )
    actor = subprocess.Popen(
        ["ray::HAProxyManager", "-c", child],
        executable=sys.executable,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert int(actor.stdout.readline()) > 0
        time.sleep(0.2)
        assert end_leftovers(tmp_path) == []
    finally:
        actor.communicate("")

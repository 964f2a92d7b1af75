"""Who has a port."""

import os
import socket
import subprocess
import sys

import pytest

from sluiceway.core.errors import BackendError
from sluiceway.serving.ports import PROC, check_port, find_holder

pytestmark = pytest.mark.skipif(not PROC.is_dir(), reason="who listens is read from /proc")


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


CHURNING = """
import os, socket
files = [os.open(os.devnull, os.O_RDONLY) for _ in range(100)]
server = socket.create_server(("127.0.0.1", 0))  # its number is higher than those that come and go
print(server.getsockname()[1], flush=True)
while True:
    for file in files:
        os.close(file)
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(100)]
"""


def test_a_holder_that_opens_and_closes_files_all_the_time_is_found():
    with subprocess.Popen([sys.executable, "-c", CHURNING], stdout=subprocess.PIPE, text=True) as holder:
        try:
            port = int(holder.stdout.readline())
            found = [find_holder(port) for _ in range(30)]
        finally:
            holder.kill()
    assert {one and one.pid for one in found} == {holder.pid}


def test_a_port_that_is_taken_is_refused_and_its_holder_named(listener):
    with pytest.raises(BackendError, match=f"another program, .* \\(process {os.getpid()}\\)"):
        check_port("127.0.0.1", listener)
    check_port("127.0.0.1", 0)


def test_a_port_of_a_running_endpoint_of_ours_says_so(listener, monkeypatch):
    monkeypatch.setattr("sluiceway.serving.ports.is_ours", lambda pid: pid == os.getpid())
    with pytest.raises(BackendError, match="a running endpoint of Sluiceway") as caught:
        check_port("127.0.0.1", listener)
    assert "serve up" in caught.value.hint

"""A driver that is killed leaves a HAProxy that holds the port; the next one ends it and takes the port."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from sluiceway.serving.environment import free_port, haproxy_available
from sluiceway.serving.leftovers import end_leftovers, find_leftovers

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not haproxy_available(), reason="there is no HAProxy on this platform"),
]

DRIVER = """
import sys
from sluiceway import connect_ray, disconnect
from sluiceway.config.platform import RaySection
from sluiceway.config.serving import ServingSection
connect_ray(RaySection(num_cpus=1, object_store_mb=80))
from sluiceway.serving.instance import start_serve, stop_serve
print(start_serve(ServingSection(port=int(sys.argv[1]))).url, flush=True)
sys.stdin.read()
stop_serve()
disconnect()
"""


class Driver:
    """A process that starts Ray and Serve on a port."""

    def __init__(self, port):
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("RAY_SERVE", "RAY_ADDR"))
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=inherited,
        )

    def url(self):
        """Wait until Serve listens."""
        for line in self.process.stdout:
            if line.startswith("http://"):
                return line.strip()
        raise AssertionError(self.process.stderr.read())

    def kill(self):
        """Kill -9 the driver and its whole Ray at once, as a session's end or a memory killer does; not the HAProxy.

        Of a driver that is killed alone, the raylet lives for a moment and usually ends the HAProxy itself.
        """
        for pid in [self.process.pid, *descendants(self.process.pid)]:
            if b"/haproxy\0" not in command_line(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.communicate()

    def end(self):
        """End it as it ends itself."""
        self.process.communicate("", timeout=120)


def command_line(pid):
    """Of a process, or nothing where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def descendants(pid):
    """Its children, their children, and so on."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            child, _, facts = stat.read_text().rpartition(")")
            if int(facts.split()[1]) == pid:
                found += [int(child.split()[0]), *descendants(int(child.split()[0]))]
    return found


def leftover_pids():
    """HAProxies without their Ray."""
    return {leftover.pid for leftover in find_leftovers()}


@pytest.mark.soak
def test_the_port_of_a_killed_driver_can_be_used_again():
    port = free_port("127.0.0.1")
    before = leftover_pids()
    first = Driver(port)
    second = None
    try:
        first.url()
        assert leftover_pids() == before  # while its Ray lives it is none
        first.kill()
        deadline = time.monotonic() + 60
        while leftover_pids() <= before and time.monotonic() < deadline:
            time.sleep(0.2)
        left = leftover_pids() - before
        assert len(left) == 1
        second = Driver(port)
        url = second.url()
        assert url.endswith(f":{port}")
        assert httpx.get(f"{url}/-/healthz", timeout=10).status_code in (200, 503)  # 503: there is no application
        assert not left & leftover_pids()
        second.end()
        assert second.process.returncode == 0
    finally:
        for driver in (first, second):
            if driver is not None and driver.process.poll() is None:
                driver.kill()
                end_leftovers()

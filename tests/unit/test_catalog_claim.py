"""One living process works on one thing."""

import os
import signal
import subprocess
import sys

import pytest

from sluiceway.catalog.claim import claim
from sluiceway.catalog.leases import LeaseStore
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import ConflictError

HOLD = """
import sys
from sluiceway.catalog.claim import claim
from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.leases import LeaseStore
from sluiceway.core.clock import SystemClock

with claim(LeaseStore(open_catalog(sys.argv[1])), "run:x", clock=SystemClock()):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(catalog):
    command = [sys.executable, "-c", HOLD, str(catalog.url)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_living_process_is_respected(catalog, holder):
    with pytest.raises(ConflictError, match=str(holder.pid)), claim(LeaseStore(catalog), "run:x", clock=SystemClock()):
        pass


def test_a_killed_process_leaves_nothing_that_one_has_to_wait_for(catalog, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait(10)
    with claim(LeaseStore(catalog), "run:x", clock=SystemClock()):
        assert len(LeaseStore(catalog).list("run:x")) == 1
    assert LeaseStore(catalog).list("run:x") == []

"""One living process works on one thing."""

import os
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sluiceway.catalog import claim as claims
from sluiceway.catalog.claim import claim, holder
from sluiceway.catalog.leases import LeaseStore
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import BackendError, ConflictError

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
def living(catalog):
    command = [sys.executable, "-c", HOLD, str(catalog.url)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_living_process_is_respected(catalog, living):
    with pytest.raises(ConflictError, match=str(living.pid)), claim(LeaseStore(catalog), "run:x", clock=SystemClock()):
        pass


def test_a_killed_process_leaves_nothing_that_one_has_to_wait_for(catalog, living):
    os.kill(living.pid, signal.SIGKILL)
    living.wait(10)
    with claim(LeaseStore(catalog), "run:x", clock=SystemClock()):
        assert len(LeaseStore(catalog).list("run:x")) == 1
    assert LeaseStore(catalog).list("run:x") == []


def test_a_killed_process_is_nobodys_holder(catalog, living):
    assert str(living.pid) in holder(LeaseStore(catalog), "run:x")
    os.kill(living.pid, signal.SIGKILL)
    living.wait(10)
    assert holder(LeaseStore(catalog), "run:x") is None


NAMESPACE = Path("/proc/self/ns/pid").stat().st_ino
HERE = socket.gethostname()
BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[-12:]
# As every kernel numbers its first one.
FIRST_NAMESPACE = 0xEFFFFFFC


@pytest.mark.parametrize(
    "owner",
    [
        pytest.param(f"{HERE}/{NAMESPACE + 1}-{BOOT}:999999999:1", id="another pid namespace of this machine"),
        pytest.param(f"{HERE}/{NAMESPACE}-0123456789ab:999999999:1", id="another machine of this host name"),
        pytest.param(f"{HERE}/{FIRST_NAMESPACE}:999999999:1", id="no boot, as owners were written before"),
        pytest.param(f"{HERE}/{NAMESPACE}:999999999:1", id="no boot, in this namespace's number"),
        pytest.param(f"{HERE}:999999999:1", id="no namespace, as owners were written before that"),
        pytest.param(f"elsewhere/{NAMESPACE}-{BOOT}:999999999:1", id="another host"),
    ],
)
def test_a_pid_that_may_be_another_namespaces_is_not_taken_for_dead(catalog, owner):
    store = LeaseStore(catalog)
    assert take(store, owner)
    with pytest.raises(ConflictError, match=f"is being run by {owner}"), claim(store, "run:x", clock=SystemClock()):
        pass
    assert holder(store, "run:x") == owner


def test_two_machines_of_one_host_name_are_two_places(catalog, monkeypatch, tmp_path):
    other = tmp_path / "boot_id"
    other.write_text("0f6a3c1e-9a7d-4f7e-8c35-0123456789ab\n")
    store = LeaseStore(catalog)
    with claim(store, "run:x", clock=SystemClock()):
        owner = holder(store, "run:x")
        assert owner.startswith(f"{HERE}/{NAMESPACE}-{BOOT}:{os.getpid()}:")
        monkeypatch.setattr(claims, "_started", lambda pid: "")  # no process there has this pid
        monkeypatch.setattr(claims, "BOOT_ID", other)
        assert holder(store, "run:x") == owner


@pytest.mark.parametrize("written", [None, "", "\n"])
def test_where_the_boot_cannot_be_read_nobody_is_taken_for_dead(catalog, monkeypatch, tmp_path, written):
    unread = tmp_path / "boot_id"
    if written is not None:
        unread.write_text(written)
    monkeypatch.setattr(claims, "BOOT_ID", unread)
    store = LeaseStore(catalog)
    with claim(store, "run:x", clock=SystemClock()):
        assert holder(store, "run:x").startswith(f"{HERE}:{os.getpid()}:")
        monkeypatch.setattr(claims, "_started", lambda pid: "")
        assert holder(store, "run:x") is not None


def test_a_claim_in_a_claims_body_goes_on_holding_it(catalog):
    store = LeaseStore(catalog)
    with claim(store, "run:x", clock=SystemClock()) as held:
        with claim(store, "run:x", clock=SystemClock()) as inner, claim(store, "run:y", clock=SystemClock()):
            assert inner is held
        assert not take(store)
        assert holder(store, "run:y") is None
        store.release("run:x", owner=holder(store, "run:x"))
        assert take(store)
        with pytest.raises(ConflictError, match="was lost"), claim(store, "run:x", clock=SystemClock()):
            pass
        store.release("run:x", owner="elsewhere:1:2")
    with claim(store, "run:x", clock=SystemClock()) as again:
        assert again is not held
    assert store.list("run:") == []


@pytest.fixture
def quick(monkeypatch):
    """Leases of a second."""
    monkeypatch.setattr(claims, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(claims, "TTL_SECONDS", 1.0)


def until(holds):
    ends = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.02)


def take(store, owner="elsewhere:1:2"):
    return store.acquire("run:x", owner=owner, ttl=60, now=datetime.now(UTC))


class Blips(LeaseStore):
    """A catalog that does not answer now and then."""

    asked = 0

    def renew(self, *args, **kwargs):
        self.asked += 1
        if self.asked % 2:
            raise BackendError("the catalog cannot be used: database is locked")
        return super().renew(*args, **kwargs)


def test_the_heart_beats_on_when_the_catalog_has_not_answered(catalog, quick):
    store = Blips(catalog)
    with claim(store, "run:x", clock=SystemClock()) as held:
        until(lambda: store.asked > 30)  # longer than it lasts by itself
        assert holder(store, "run:x", now=datetime.now(UTC)) is not None
        assert not take(store)
        assert not held.lost


def test_a_lease_that_another_one_has_is_lost_for_good_and_stays_theirs(catalog, quick):
    store = LeaseStore(catalog)
    with claim(store, "run:x", clock=SystemClock()) as held:
        held.check()
        store.release("run:x", owner=holder(store, "run:x"))
        assert take(store)
        with pytest.raises(ConflictError, match="run:x was lost: elsewhere:1:2 has it now"):
            held.check()
        store.release("run:x", owner="elsewhere:1:2")
        with pytest.raises(ConflictError, match="nobody has it now"):
            held.check()
        assert take(store)
    assert holder(store, "run:x") == "elsewhere:1:2"


def test_the_heart_notices_that_a_lease_is_lost(catalog, quick):
    store = LeaseStore(catalog)
    with claim(store, "run:x", clock=SystemClock()) as held:
        store.release("run:x", owner=holder(store, "run:x"))
        until(lambda: held.lost)


def test_one_that_ended_while_nobody_took_it_is_held_again(catalog, monkeypatch):
    monkeypatch.setattr(claims, "TTL_SECONDS", 0.1)
    store = LeaseStore(catalog)
    with claim(store, "run:x", clock=SystemClock()) as held:
        until(lambda: holder(store, "run:x", now=datetime.now(UTC)) is None)
        monkeypatch.setattr(claims, "TTL_SECONDS", 60.0)
        held.check()
        assert not take(store)

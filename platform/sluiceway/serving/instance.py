"""The Serve of this Ray: start it, find it, stop it."""

from __future__ import annotations

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from sluiceway.config.serving import ServingSection
from sluiceway.core.errors import BackendError, ConfigError
from sluiceway.serving.environment import free_port
from sluiceway.serving.grpc_options import SERVICER_FUNCTION, grpc_options
from sluiceway.serving.keyless import needs_keys
from sluiceway.serving.ports import check_port
from sluiceway.serving.specs import ServeAddress

STOP_ATTEMPTS = 5


def start_serve(serving: ServingSection) -> ServeAddress:
    """Start Serve on this Ray, or join the one that runs; ends a HAProxy that an earlier run of ours left behind.

    Args:
        serving: host and port; port 0 takes a free one.

    Returns:
        Where HTTP listens.

    Raises:
        BackendError: somebody else has the port, or Serve does not start.
        ConfigError: endpoints are to do without keys, and the Serve that runs can be reached by others; or they are to
            have gRPC, and it has none.
    """
    running = serve_address()
    if running is not None:
        needs_keys(serving.keys, running.host)  # refuses what the endpoint would refuse, before it is deployed
        _check_grpc(serving)
        return running
    port = serving.port or free_port(serving.host)
    check_port(serving.host, port)
    try:
        serve.start(
            http_options={"host": serving.host, "port": port},
            grpc_options=grpc_options(serving),
            proxy_location="EveryNode",
        )
    except (RayError, RayServeException, TimeoutError, RuntimeError) as error:
        raise BackendError(
            f"Serve does not start on {serving.host}:{port}: {last_line(error)}",
            hint="see the newest proxy log below /tmp/ray/session_latest/logs/serve",
            port=port,
        ) from error
    return ServeAddress(serving.host, port)


def _check_grpc(serving: ServingSection) -> None:
    if serving.grpc_port is None:
        return
    options = ray.get(serve.context._get_global_client()._controller.get_grpc_config.remote())
    if options.port != serving.grpc_port or SERVICER_FUNCTION not in options.grpc_servicer_functions:
        raise ConfigError(
            f"serving.grpc_port is {serving.grpc_port}, and the Serve that runs has no such gRPC",
            hint="Serve takes gRPC when it starts: end it first, or leave grpc_port out",
        )


def serve_address() -> ServeAddress | None:
    """Where the Serve of this Ray listens, or None where none runs."""
    try:
        controller = serve.context._get_global_client()._controller
        options = ray.get(controller.get_http_config.remote())
    except (RayError, RayServeException):
        return None
    return ServeAddress(str(options.host), int(options.port))


def stop_serve() -> None:
    """Stop Serve and everything on it; nothing happens where none runs.

    Ray's own shutdown gives a controller 5 s to answer, and then takes a busy one for a dead one and returns: its
    replicas would hold their CPUs until Ray ends.

    Raises:
        BackendError: it does not stop.
    """
    for _ in range(STOP_ATTEMPTS):
        serve.shutdown()
        if serve_address() is None:
            return
    raise BackendError("Serve does not stop", hint="its controller does not answer; end Ray, and look at its log")


def last_line(error: Exception) -> str:
    """What an error of Ray or Serve says last."""
    # Of a traceback the last line is the cause; our own errors have their hint below it.
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.strip().startswith("hint:")]
    return lines[-1] if lines else type(error).__name__

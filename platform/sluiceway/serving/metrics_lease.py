"""Shows a process's metrics, and tells the catalog where: Prometheus asks the catalog (docs/decisions/0014)."""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime, timedelta

import ray
from prometheus_client import CollectorRegistry

from sluiceway.catalog.leases import METRICS_LEASES, LeaseStore
from sluiceway.core.errors import BackendError
from sluiceway.core.loopback import is_loopback
from sluiceway.serving.environment import free_port
from sluiceway.serving.keyless import http_host
from sluiceway.telemetry.server import MetricsServer

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
LEASE_SECONDS = 30.0
RENEW_SECONDS = 10.0
# Of a process that died its lease stays; whoever renews its own deletes those that nobody will ask for any more.
FORGET_SECONDS = 3600.0
PORT_ATTEMPTS = 5


class MetricsLease:
    """A process's metrics on a port of their own, with a lease that names it.

    They are shown where the requests come in: to this machine alone where HTTP listens on loopback, else on the node's
    address, on a port of ``serving.environment.QUIET_PORTS``.

    Args:
        registry: what to show.
        leases: the catalog's.
        owner: id of the process.
        endpoint: that it belongs to.
        component: ``replica`` or ``recorder``.
    """

    def __init__(
        self, registry: CollectorRegistry, *, leases: LeaseStore, owner: str, endpoint: str, component: str
    ) -> None:
        self._leases, self._owner = leases, owner
        host = _host()
        self._server = _server(registry, host)
        self.address = f"[{host}]:{self._server.port}" if ":" in host else f"{host}:{self._server.port}"
        told = {"address": self.address, "endpoint": endpoint, "component": component}
        # Of which Ray it is: who asks for the state of an endpoint's Serve finds it by that.
        self._body = json.dumps({**told, "ray": ray.get_runtime_context().gcs_address})
        self._renewed: float | None = None

    def renew(self) -> None:
        """Hold the lease for longer, where it is time to; blocks for as long as the catalog takes.

        Raises:
            BackendError: the catalog cannot be reached.
        """
        if self._renewed is not None and time.monotonic() - self._renewed < RENEW_SECONDS:
            return
        now = datetime.now(UTC)
        if self._leases.acquire(self._name, owner=self._owner, ttl=LEASE_SECONDS, now=now, body=self._body):
            self._renewed = time.monotonic()
        self._leases.forget(METRICS_LEASES, before=now - timedelta(seconds=FORGET_SECONDS))

    def close(self) -> None:
        """Stop showing, and give the lease back.

        Raises:
            BackendError: the catalog cannot be reached; the lease ends by itself.
        """
        self._server.close()
        self._leases.release(self._name, owner=self._owner)

    @property
    def _name(self) -> str:
        return METRICS_LEASES + self._owner


def _host() -> str:
    try:
        alone = is_loopback(http_host() or LOOPBACK)
    except BackendError as error:
        logger.error("%s: metrics are shown to this machine alone", error.message)
        alone = True
    return LOOPBACK if alone else str(ray.util.get_node_ip_address())


def _server(registry: CollectorRegistry, host: str) -> MetricsServer:
    for _ in range(PORT_ATTEMPTS - 1):
        try:
            return MetricsServer(registry, host=host, port=free_port(host))
        except OSError:  # somebody took it since we looked
            continue
    return MetricsServer(registry, host=host, port=free_port(host))

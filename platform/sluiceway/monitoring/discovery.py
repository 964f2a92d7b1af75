"""Where the processes that show metrics are, as Prometheus wants to be told: HTTP or file service discovery."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sluiceway.catalog.leases import METRICS_LEASES, LeaseStore
from sluiceway.core.errors import BackendError

logger = logging.getLogger(__name__)

Group = dict[str, Any]


def target_groups(leases: LeaseStore, *, now: datetime) -> list[Group]:
    """The live processes.

    Args:
        leases: of the catalog.
        now: the present time, UTC-aware; a process whose lease has ended is gone.

    Returns:
        A group of one target each, with the labels ``endpoint`` and ``component`` (``replica`` or ``recorder``), as
        https://prometheus.io/docs/prometheus/latest/http_sd/ has them.

    Raises:
        BackendError: the catalog cannot be reached.
    """
    told = [json.loads(lease.body) for lease in leases.list(METRICS_LEASES, now=now)]
    groups = [
        {
            "targets": [body["address"]],
            "labels": {"endpoint": body["endpoint"], "component": body.get("component", "replica")},
        }
        for body in told
    ]
    return sorted(groups, key=lambda group: (group["labels"]["endpoint"], group["targets"]))


class DiscoveryServer:
    """Tells Prometheus the targets, at any path, anew for each question.

    Args:
        groups: gives the groups that there are now.
        host: interface to listen on.
        port: to listen on; 0 takes a free one.

    Raises:
        OSError: somebody else has the port.
    """

    def __init__(self, groups: Callable[[], list[Group]], *, host: str, port: int) -> None:
        self._server = ThreadingHTTPServer((host, port), partial(_Handler, groups))

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_port)

    def serve(self) -> None:
        """Answer until :meth:`close` is called from another thread, or an interruption comes."""
        self._server.serve_forever(poll_interval=0.2)

    def close(self) -> None:
        """Stop; returns when nobody is answered any more."""
        self._server.shutdown()
        self._server.server_close()


def live_groups(leases: LeaseStore) -> Callable[[], list[Group]]:
    """What a :class:`DiscoveryServer` asks: the groups of this moment."""
    return lambda: target_groups(leases, now=datetime.now(UTC))


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, groups: Callable[[], list[Group]], *given: Any) -> None:
        self._groups = groups  # first: whoever is above here answers while it is made
        super().__init__(*given)

    def do_GET(self) -> None:
        try:
            status, body = 200, json.dumps(self._groups())
        except BackendError as error:
            # Prometheus goes on with the targets that it knows.
            logger.error("%s", error)
            status, body = 503, json.dumps({"error": error.message})
        content = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of each question."""

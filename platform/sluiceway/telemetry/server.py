"""The small server that shows a process's metrics to Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, start_http_server

if TYPE_CHECKING:
    import threading
    from wsgiref.simple_server import WSGIServer


class MetricsServer:
    """Shows a registry to Prometheus, on a port of its own.

    Args:
        registry: what to show.
        host: interface to listen on.
        port: to listen on; 0 takes a free one.

    Raises:
        OSError: somebody else has the port.
    """

    def __init__(self, registry: CollectorRegistry, *, host: str, port: int = 0) -> None:
        self._server: WSGIServer
        self._thread: threading.Thread
        self._server, self._thread = start_http_server(port, addr=host, registry=registry)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_port)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

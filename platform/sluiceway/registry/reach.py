"""Whether a tracking store can be used, answered within seconds.

MLflow itself asks again for minutes before it gives up (HTTP: seven times with growing pauses; SQL: ten times, 200 s),
so the store is asked here first, without MLflow.
"""

from __future__ import annotations

import http.client
import socket
import sqlite3
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sluiceway.core.errors import BackendError, ConfigError

PATIENCE_SECONDS = 3.0
_SQL_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


def probe(tracking_uri: str) -> None:
    """See that a tracking store answers.

    Args:
        tracking_uri: ``sqlite:///PATH``, ``http(s)://...``, or a server's SQLAlchemy URL. Other schemes (a vendor's
            plug-in) are not asked.

    Raises:
        BackendError: nobody answers within :data:`PATIENCE_SECONDS`, or the file cannot be used.
        ConfigError: the address is none, or a folder; MLflow no longer develops that store.
    """
    try:
        scheme = urlsplit(tracking_uri).scheme.partition("+")[0]
    except ValueError as error:
        raise ConfigError(
            f"the tracking store {tracking_uri!r} is no address: {error}", hint="platform.tracking_uri sets it"
        ) from error
    if scheme in ("http", "https"):
        _probe_http(tracking_uri)
    elif scheme == "sqlite":
        _probe_sqlite(tracking_uri)
    elif scheme in _SQL_PORTS:
        _probe_port(tracking_uri, _SQL_PORTS[scheme])
    elif scheme in ("", "file"):
        raise ConfigError(
            f"the tracking store {tracking_uri} is a folder", hint="use sqlite:///PATH/mlflow.db or a server's address"
        )


def visible(uri: str) -> str:
    """The address without its password, for messages."""
    parts = urlsplit(uri)
    if not parts.password:
        return uri
    return uri.replace(f":{parts.password}@", ":***@", 1)


def _probe_http(uri: str) -> None:
    request = urllib.request.Request(uri.rstrip("/") + "/health", method="GET")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS):
            return
    except urllib.error.HTTPError as error:
        error.close()
        if error.code < 500:  # it speaks HTTP; what it thinks of us shows with the first real question
            return
        raise _unreachable(uri, f"answers with status {error.code}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _unreachable(uri, f"does not answer ({getattr(error, 'reason', None) or error})") from error


def _probe_port(uri: str, default_port: int) -> None:
    parts = urlsplit(uri)
    try:
        socket.create_connection((parts.hostname or "localhost", parts.port or default_port), PATIENCE_SECONDS).close()
    except (OSError, ValueError) as error:
        raise _unreachable(uri, f"does not answer ({error})") from error


def _probe_sqlite(uri: str) -> None:
    path = sqlite_path(uri)
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=PATIENCE_SECONDS, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            connection.execute("ROLLBACK")
    except (OSError, sqlite3.Error) as error:
        raise BackendError(
            f"the tracking store {path} cannot be used: {error}",
            hint="the path has to be a writable SQLite file or new; platform.tracking_uri sets it",
            uri=uri,
        ) from error


def sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite address, or None where it lives in memory."""
    name = unquote(uri.partition("///")[2].partition("?")[0])
    return Path(name) if name and name != ":memory:" else None


def _unreachable(uri: str, why: str) -> BackendError:
    return BackendError(
        f"the tracking server {visible(uri)} {why}",
        hint="start it, or set platform.tracking_uri to another; left out, it is SQLite in platform.state",
        uri=visible(uri),
    )

"""Whether a tracking store answers is known within seconds, and said so that a person can act."""

from __future__ import annotations

import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sluiceway.core.errors import BackendError, ConfigError
from sluiceway.registry import reach
from sluiceway.registry.reach import probe, sqlite_path, visible


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """An HTTP server that answers with the status of its parameter."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(request.param)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


@pytest.mark.parametrize("server", [200, 401, 404], indirect=True)
def test_a_server_that_answers_is_there(server: str):
    probe(server)


@pytest.mark.parametrize("server", [503], indirect=True)
def test_a_server_that_is_ill_is_not(server: str):
    with pytest.raises(BackendError, match="status 503") as caught:
        probe(server)
    assert "platform.tracking_uri" in (caught.value.hint or "")


def test_a_closed_port_is_told_within_seconds():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: nobody answers, and nobody else can take it
        port = taken.getsockname()[1]
        for uri in (f"http://127.0.0.1:{port}", f"postgresql+psycopg://me:secret@127.0.0.1:{port}/mlflow"):
            start = time.monotonic()
            with pytest.raises(BackendError, match="does not answer") as caught:
                probe(uri)
            assert time.monotonic() - start < 5
            assert "secret" not in str(caught.value)


def test_a_server_that_never_speaks_is_told_within_seconds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reach, "PATIENCE_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with pytest.raises(BackendError, match="does not answer"):
            probe(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert time.monotonic() - start < 5


@pytest.mark.parametrize("uri", ["http://", "http://host:port", "http://[::1"])
def test_an_address_that_is_none_is_an_error_of_ours(uri: str):
    with pytest.raises((BackendError, ConfigError)):
        probe(uri)


def test_a_new_sqlite_file_is_fine_and_its_folder_is_made(tmp_path: Path):
    probe(f"sqlite:///{tmp_path / 'a' / 'b' / 'mlflow.db'}")
    assert (tmp_path / "a" / "b").is_dir()
    probe("sqlite:///:memory:")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path):
    (tmp_path / "x.db").write_text("not a database, but long enough to be looked at " * 40)
    with pytest.raises(BackendError, match="not a database"):
        probe(f"sqlite:///{tmp_path / 'x.db'}")


def test_a_path_through_a_file_or_to_a_folder_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "mlflow.db", tmp_path):
        with pytest.raises(BackendError, match="cannot be used"):
            probe(f"sqlite:///{path}")


def test_a_database_that_another_process_holds_is_told_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reach, "PATIENCE_SECONDS", 0.3)
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        start = time.monotonic()
        with pytest.raises(BackendError, match="locked"):
            probe(f"sqlite:///{path}")
        assert time.monotonic() - start < 5


@pytest.mark.parametrize("uri", ["./mlruns", "/tmp/mlruns", "file:///tmp/mlruns"])
def test_a_folder_is_no_tracking_store(uri: str):
    with pytest.raises(ConfigError, match="is a folder"):
        probe(uri)


def test_addresses_are_shown_without_their_password():
    assert visible("postgresql://me:s3cret@db/mlflow") == "postgresql://me:***@db/mlflow"
    assert visible("sqlite:////x/y.db") == "sqlite:////x/y.db"
    assert sqlite_path("sqlite:////x/a%20b.db?mode=rw") == Path("/x/a b.db")

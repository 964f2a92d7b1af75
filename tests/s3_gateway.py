"""An S3 server in a process of its own: moto's, which keeps everything in memory, behind a door that knows less.

    python tests/s3_gateway.py PORT DOOR

DOOR is what becomes of a write that is to create only (``If-None-Match: *``): ``kept`` hands it on, ``refused`` answers
501 as a store that does not know it should, ``ignored`` lets it overwrite as one that does not know it may, and
``unchanged`` says 304 instead of 412 where the object is there, as lakeFS has done. A GET of ``/-/DOOR`` changes it.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx

from ray_head import free_ports

KEPT, REFUSED, IGNORED, UNCHANGED = "kept", "refused", "ignored", "unchanged"
_SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request"}
_REFUSAL = b"<Error><Code>NotImplemented</Code><Message>A header is not implemented.</Message></Error>"
App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@contextlib.contextmanager
def running(door: str = KEPT) -> Iterator[str]:
    """The address of a server; it is ended afterwards."""
    (port,) = free_ports(1)
    command = [sys.executable, str(Path(__file__)), str(port), door]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with contextlib.suppress(httpx.TransportError):
                httpx.get(address)
                break
            assert server.poll() is None
            time.sleep(0.2)
        yield address
    finally:
        server.kill()
        server.wait()


def environment(address: str) -> dict[str, str]:
    """What docs/data/lakefs.md says has to be set, for a server at this address."""
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
    return {"AWS_ENDPOINT_URL": address, "AWS_ALLOW_HTTP": "true", **keys}


def new_bucket(address: str, name: str | None = None) -> str:
    """Make a bucket; gives its URI."""
    name = name or f"b{uuid.uuid4().hex}"
    assert httpx.put(f"{address}/{name}", headers=_SIGNED).status_code == 200
    return f"s3://{name}"


def listing(address: str, bucket: str) -> str:
    """What a bucket holds, as S3's XML."""
    return httpx.get(f"{address}/{bucket}", headers=_SIGNED).text


def change(address: str, door: str) -> None:
    """Change the door of a server that runs."""
    assert httpx.get(f"{address}/-/{door}").text == door


def _behind(door: str, app: App) -> App:
    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        nonlocal door
        if environ["PATH_INFO"].startswith("/-/"):
            door = environ["PATH_INFO"].removeprefix("/-/")
            start("200 OK", [("Content-Length", str(len(door)))])
            return [door.encode()]
        if environ["REQUEST_METHOD"] != "PUT" or "HTTP_IF_NONE_MATCH" not in environ:
            return app(environ, start)
        if door == REFUSED:
            start("501 Not Implemented", [("Content-Type", "application/xml"), ("Content-Length", str(len(_REFUSAL)))])
            return [_REFUSAL]
        if door == IGNORED:
            del environ["HTTP_IF_NONE_MATCH"]
        if door == UNCHANGED:
            return _unchanged(app, environ, start)
        return app(environ, start)

    return answer


def _unchanged(app: App, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    told: list[str] = []

    def begin(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        told.append(status)
        if status.startswith("412"):
            return start("304 Not Modified", [])
        return start(status, headers, *more)

    body = app(environ, begin)
    return [] if told[0].startswith("412") else body


def main() -> None:
    """Serve until somebody ends the process."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app  # noqa: PLC0415
    from werkzeug.serving import run_simple  # noqa: PLC0415

    app = DomainDispatcherApplication(create_backend_app)
    run_simple("127.0.0.1", int(sys.argv[1]), _behind(sys.argv[2], app), threaded=True)


if __name__ == "__main__":
    main()

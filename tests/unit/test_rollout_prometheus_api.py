"""What answers as Prometheus does is read, what does not is no source; who asks is let in by the environment alone."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest

from sluiceway.config.load import header_secret
from sluiceway.config.metric_source import PrometheusSection
from sluiceway.core.errors import BackendError, InputError
from sluiceway.rollout.prometheus_api import Answer, Series, open_prometheus


def success(kind, result):
    return 200, json.dumps({"status": "success", "data": {"resultType": kind, "result": result}})


def refused(status, kind, error):
    return status, json.dumps({"status": "error", "errorType": kind, "error": error})


@contextmanager
def answering(status, text, *, pause=0.0, headers=()):
    """The address of a server that gives one answer, byte by byte where it pauses; and what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked.append((self.path, dict(self.headers), parse_qs(body)))
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            content = text.encode()
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            try:
                for place in range(0, len(content), 1 if pause else len(content) or 1):
                    self.wfile.write(content[place : place + 1] if pause else content)
                    time.sleep(pause)
            except OSError:
                pass

        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ask(url, **section):
    place = PrometheusSection(url=url, timeout_seconds=section.pop("timeout_seconds", 5), **section)
    with open_prometheus(place, header_secret) as api:
        return api.ask("sum(x)", at=12.5)


def test_it_is_asked_with_what_the_environment_holds(monkeypatch):
    monkeypatch.setenv("TOKEN", "s3cret\n")
    monkeypatch.setenv("TENANT", "eu")
    with answering(*success("vector", [{"metric": {"a": "b"}, "value": [12.5, "3"]}])) as (url, asked):
        found = ask(f"{url}/prometheus/", token_env="TOKEN", headers_env={"X-Scope-OrgID": "TENANT"})
    assert found == Answer("vector", (Series({"a": "b"}, ((12.5, 3.0),)),))
    ((path, headers, fields),) = asked
    assert path == "/prometheus/api/v1/query"
    assert (headers["Authorization"], headers["X-Scope-OrgID"]) == ("Bearer s3cret", "eu")
    assert fields == {"query": ["sum(x)"], "time": ["12.500"], "timeout": ["5000ms"]}


@pytest.mark.parametrize(
    ("status", "text", "told"),
    [
        (*refused(400, "bad_data", "parse error: unexpected end"), "unexpected end"),
        (*refused(422, "execution", "many-to-many matching not allowed"), "many-to-many"),
    ],
)
def test_a_query_that_it_does_not_take_is_the_callers(status, text, told):
    with answering(status, text) as (url, _), pytest.raises(InputError, match=told):
        ask(url)


@pytest.mark.parametrize(
    ("status", "text", "told"),
    [
        (401, "", "lets nobody in"),
        (403, "no", "lets nobody in"),
        (*refused(503, "timeout", "query timed out in expression evaluation"), "timed out"),
        (*refused(500, "internal", "disk is full"), "disk is full"),
        (400, "<html>bad gateway</html>", "does not answer as Prometheus"),
        (200, "<html>please log in</html>", "does not answer as Prometheus"),
        (200, "[1]", "does not answer as Prometheus"),
        (200, "", "does not answer as Prometheus"),
        (200, '{"status": "success"}', "does not answer as Prometheus"),
        (200, '{"status": "success", "data": {"resultType": "vector", "result": [{}]}}', "does not answer as"),
        (200, '{"status": "success", "data": {"resultType": "scalar", "result": [1, "x"]}}', "does not answer as"),
    ],
)
def test_what_is_no_answer_is_the_sources(status, text, told):
    with answering(status, text) as (url, _), pytest.raises(BackendError, match=told):
        ask(url)


def test_an_answer_that_trickles_takes_no_longer_than_it_may():
    began = time.monotonic()
    with answering(200, " " * 200, pause=0.05) as (url, _), pytest.raises(BackendError, match=r"within 0\.3 s"):
        ask(url, timeout_seconds=0.3)
    assert time.monotonic() - began < 5


def test_a_token_goes_nowhere_else(monkeypatch):
    monkeypatch.setenv("TOKEN", "s3cret")
    with answering(*success("scalar", [1, "1"])) as (other, asked_there):
        elsewhere = [("Location", f"{other}/api/v1/query")]
        with answering(307, "", headers=elsewhere) as (url, _), pytest.raises(BackendError) as error:
            ask(url, token_env="TOKEN")
    assert asked_there == []
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(("value", "told"), [(None, "is not set"), ("  ", "is not set"), ("a\nb", "no header can")])
def test_a_secret_that_cannot_be_sent_is_refused_unseen(monkeypatch, value, told):
    monkeypatch.delenv("TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("TOKEN", value)
    with pytest.raises(InputError, match=told) as error:
        open_prometheus(PrometheusSection(url="http://127.0.0.1:9", token_env="TOKEN"), header_secret)
    assert "a\nb" not in str(error.value)


def test_without_an_address_nobody_is_asked():
    with pytest.raises(InputError, match="nobody says where it is"):
        open_prometheus(PrometheusSection(), header_secret)

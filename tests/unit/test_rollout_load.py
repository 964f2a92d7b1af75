"""The load generator against a small HTTP server of this process."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sluiceway.core.errors import DataError, InputError
from sluiceway.rollout.load import LoadGenerator


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with server.lock:
            if self.path == "/shop/predict":
                server.rows.append(body["rows"][0])
                number = len(server.rows)
                status = server.status(number)
                answer = {"request_id": f"r{number}", "arm": "champion", "version": "1", "failover": number == 3}
            else:
                server.batches.append(body["feedback"])
                status, answer = 200, {}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def shop():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.lock, server.rows, server.batches, server.status = threading.Lock(), [], [], lambda _: 200
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_address[1]}/shop"
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("row", [{"x": object()}, None])
def test_what_the_rows_come_to_is_raised_and_not_taken_for_the_end(shop, row):
    def rows():
        if row is None:
            raise DataError("no row matches")
        yield row, 1.0

    load = LoadGenerator(shop.url, rows=rows(), connections=2, max_requests=6).start()
    with pytest.raises(TypeError if row else DataError):
        load.wait()
    with pytest.raises(TypeError if row else DataError):
        assert load.running


ROWS = [({"x": float(i), "y": float("nan")}, i % 2) for i in range(10)]


def test_rows_begin_again_and_end_at_the_limit(shop):
    report = LoadGenerator(shop.url, rows=ROWS, connections=3, max_requests=25).start().wait()
    assert (report.sent, report.ok, report.failed) == (25, 25, 0)
    assert sorted(row["x"] for row in shop.rows) == sorted(float(i % 10) for i in range(25))
    assert all(row["y"] is None for row in shop.rows)
    assert report.arms == {"champion": 25}
    assert report.failovers == 1
    assert 0 < report.p50 <= report.p99


def test_every_outcome_goes_back_once_in_small_batches(shop):
    report = LoadGenerator(shop.url, rows=ROWS, connections=4, max_requests=130).start().wait()
    entries = [entry for batch in shop.batches for entry in batch]
    assert sorted(e["request_id"] for e in entries) == sorted(f"r{i + 1}" for i in range(130))
    assert max(len(batch) for batch in shop.batches) <= 50
    assert report.feedback_sent == 130
    assert {e["outcome"] for e in entries} == {0, 1}


def test_another_status_is_a_failure_without_feedback(shop):
    shop.status = lambda number: 500 if number % 4 == 0 else 200
    report = LoadGenerator(shop.url, rows=ROWS, connections=2, max_requests=20).start().wait()
    assert (report.ok, report.failed, report.feedback_sent) == (15, 5, 15)
    assert report.failures[0].startswith("500")


def test_nobody_there_is_a_failure():
    report = LoadGenerator("http://127.0.0.1:9/x", rows=ROWS, connections=1, max_requests=2).start().wait()
    assert (report.ok, report.failed) == (0, 2)
    assert "ConnectionRefusedError" in report.failures[0]


def test_it_stops_when_told(shop):
    generator = LoadGenerator(shop.url, rows=ROWS, connections=2).start()
    while generator.report().ok < 20:
        pass
    report = generator.stop()
    assert not generator.running
    assert 20 <= report.sent < 60_000
    assert report.feedback_sent == report.ok


def test_a_one_shot_iterator_ends(shop):
    assert LoadGenerator(shop.url, rows=iter(ROWS), connections=2).start().wait().sent == 10


def test_no_rows_sends_nothing(shop):
    assert LoadGenerator(shop.url, rows=[], connections=2).start().wait().sent == 0


@pytest.mark.parametrize("url", ["127.0.0.1:80", "https://there/x", "http://"])
def test_an_address_that_cannot_be_sent_to(url):
    with pytest.raises(InputError):
        LoadGenerator(url, rows=ROWS)


def test_when_it_ends_its_rows_are_closed(shop):
    closed = []

    class Rows:
        def __iter__(self):
            try:
                while True:
                    yield ROWS[0]
            finally:
                closed.append(threading.current_thread())

    load = LoadGenerator(shop.url, rows=Rows(), connections=2).start()
    while load.report().ok < 5:
        pass
    load.stop()
    assert closed == [threading.current_thread()]

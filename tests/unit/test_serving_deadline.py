"""A request that is not answered in time is told so."""

import asyncio
import json

import pytest

from sluiceway.serving.deadline import Deadline

SCOPE = {"type": "http", "headers": [(b"x-request-id", b"mine-1")]}


def asked(app, *, seconds=0.05, incoming=({"type": "http.request", "body": b"{}", "more_body": False},), scope=SCOPE):
    """Status, body and the statuses that were counted, of one request."""
    sent, counted, waiting = [], [], list(incoming)

    async def receive():
        if waiting:
            return waiting.pop(0)
        await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    asyncio.run(Deadline(app, seconds=seconds, counted=counted.append)(dict(scope), receive, send))
    status = next((message["status"] for message in sent if message["type"] == "http.response.start"), None)
    return status, b"".join(message.get("body", b"") for message in sent), counted


async def read(receive):
    while (await receive()).get("more_body", False):
        pass


async def answer(send, body=b"ok"):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def test_an_answer_that_never_comes_is_a_504_with_the_request_s_id():
    cancelled = []

    async def hangs(scope, receive, send):
        await read(receive)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(scope["type"])
            raise

    status, body, counted = asked(hangs)
    assert (status, counted, cancelled) == (504, ["504"], ["http"])
    assert json.loads(body) == {"error": "there was no answer within 0.05 s", "request_id": "mine-1"}


def test_a_body_that_does_not_end_is_a_408():
    async def waits(_scope, receive, send):
        await read(receive)
        await answer(send)

    part = {"type": "http.request", "body": b"{", "more_body": True}
    status, body, counted = asked(waits, incoming=(part, part))
    assert (status, counted) == (408, ["408"])
    assert json.loads(body)["error"] == "the request was not complete within 0.05 s"


def test_an_answer_in_time_goes_through():
    async def answers(_scope, receive, send):
        await read(receive)
        await answer(send, b"here")

    assert asked(answers) == (200, b"here", [])


def test_an_answer_that_has_begun_may_take_long():
    async def streams(_scope, receive, send):
        await read(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(4):
            await asyncio.sleep(0.05)
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    assert asked(streams) == (200, b"xxxx", [])


def test_a_timeout_of_the_application_itself_is_not_taken_for_the_deadline():
    async def raises(_scope, _receive, _send):
        raise TimeoutError("the database")

    with pytest.raises(TimeoutError, match="the database"):
        asked(raises, seconds=30)


def test_what_is_no_request_has_no_deadline():
    seen = []

    async def lifespan(scope, _receive, _send):
        await asyncio.sleep(0.1)
        seen.append(scope["type"])

    assert asked(lifespan, scope={"type": "lifespan"}) == (None, b"", [])
    assert seen == ["lifespan"]

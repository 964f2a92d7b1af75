"""The bodies that a replica holds at once are bounded in bytes; whoever has found room is answered."""

import asyncio
import json

import pytest

from serving_models import as_rows, examples, train_small
from serving_replica import NAME, HeldReplica
from sluiceway.config.serving import ServingSection
from sluiceway.core.errors import OverloadedError
from sluiceway.serving.body_room import SMALL_BYTES, BodyRoom
from sluiceway.serving.deadline import Deadline

LIMIT = 3 * SMALL_BYTES


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return train_small(tmp_path_factory.mktemp("model"), seed=3)


@pytest.fixture
def replica(model):
    return HeldReplica(
        model,
        serving=ServingSection(
            max_held_bytes=LIMIT, max_body_bytes=LIMIT, max_arrow_bytes=LIMIT, retry_after_seconds=7
        ),
    )


class Sender:
    """A client that sends its body when it is told to; ``size`` bytes of a good request."""

    def __init__(self, app, size, *, declared=True):
        row = json.dumps({"rows": as_rows(examples(1, seed=1)[0])}).encode()
        self.body, self.go = row + b" " * (size - len(row)), asyncio.Event()
        self.headers = [(b"content-length", str(size).encode())] if declared else []
        self.sent, self.messages = [], asyncio.Queue()
        scope = {"type": "http", "method": "POST", "path": f"/{NAME}/predict", "root_path": f"/{NAME}"}
        self.task = asyncio.create_task(app({**scope, "headers": self.headers}, self.messages.get, self._send))

    async def _send(self, message):
        self.sent.append(message)

    def part(self, start, end, *, more=True):
        self.messages.put_nowait({"type": "http.request", "body": self.body[start:end], "more_body": more})

    async def answer(self):
        await asyncio.wait_for(self.task, 10)
        return self.sent[0]["status"], dict(self.sent[0]["headers"]), json.loads(self.sent[1]["body"])


async def begun(*senders, sent=10):
    for sender in senders:
        sender.part(0, sent)
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_large_request_beyond_the_room_is_shed_and_what_is_under_way_is_answered(replica):
    async def scenario():
        first, second = Sender(replica.app, 2 * SMALL_BYTES), Sender(replica.app, 2 * SMALL_BYTES)
        await begun(first, sent=2 * SMALL_BYTES - 10)
        status, headers, body = await second.answer()  # before it has sent anything
        assert (status, headers[b"retry-after"]) == (503, b"7")
        assert body["error"] == "too many large requests are under way"
        assert replica.app.room.held == 2 * SMALL_BYTES - 10
        small = Sender(replica.app, SMALL_BYTES)
        small.part(0, None, more=False)
        assert (await small.answer())[0] == 200
        first.part(2 * SMALL_BYTES - 10, None, more=False)
        assert (await first.answer())[0] == 200
        again = Sender(replica.app, 2 * SMALL_BYTES)
        again.part(0, None, more=False)
        assert (await again.answer())[0] == 200

    asyncio.run(scenario())
    assert replica.refused(503) == 1
    assert replica.app.room.held == 0


def test_those_that_declare_much_and_send_little_keep_nobody_out(replica):
    async def scenario():
        slow = [Sender(replica.app, LIMIT) for _ in range(4)]
        await begun(*slow)
        assert replica.app.room.held == 0
        large = Sender(replica.app, 2 * SMALL_BYTES)
        large.part(0, None, more=False)
        assert (await large.answer())[0] == 200
        for sender in slow:
            sender.messages.put_nowait({"type": "http.disconnect"})
            await asyncio.wait_for(sender.task, 10)

    asyncio.run(scenario())
    assert replica.refused(503) == 0
    assert replica.app.room.held == 0


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_is_counted_as_it_comes(replica, declared):
    async def scenario():
        first, second = (Sender(replica.app, 2 * SMALL_BYTES, declared=declared) for _ in range(2))
        await begun(first, second)
        assert replica.app.room.held == 0
        first.part(10, 2 * SMALL_BYTES)
        second.part(10, SMALL_BYTES)
        await begun()
        assert replica.app.room.held == 2 * SMALL_BYTES
        second.part(SMALL_BYTES, SMALL_BYTES + 10)
        second.part(SMALL_BYTES + 10, 2 * SMALL_BYTES, more=False)
        assert (await second.answer())[0] == 503
        first.part(0, 0, more=False)
        assert (await first.answer())[0] == 200

    asyncio.run(scenario())
    assert replica.app.room.held == 0


@pytest.mark.parametrize("end", ["hangs up", "is late", "is wrong"])
def test_room_comes_back_whatever_becomes_of_a_request(replica, end):
    async def scenario():
        app = Deadline(replica.app, seconds=0.1, counted=lambda _: None) if end == "is late" else replica.app
        sender = Sender(app, 2 * SMALL_BYTES)
        if end == "is wrong":
            sender.body = b"[" * len(sender.body)
            sender.part(0, None, more=False)
        else:
            await begun(sender, sent=SMALL_BYTES + 10)
            assert replica.app.room.held == SMALL_BYTES + 10
        if end == "hangs up":
            sender.messages.put_nowait({"type": "http.disconnect"})
        return (await sender.answer())[0] if end != "hangs up" else await asyncio.wait_for(sender.task, 10)

    assert asyncio.run(scenario()) == {"hangs up": None, "is late": 408, "is wrong": 400}[end]
    assert replica.app.room.held == 0


def test_what_is_refused_takes_nothing():
    room = BodyRoom(10)
    room.take(10)
    for ask in (room.take, room.expect):
        with pytest.raises(OverloadedError):
            ask(1)
    room.give_back(10)
    room.expect(10)
    room.take(10)


def test_room_that_the_largest_request_does_not_find_is_refused():
    assert ServingSection().room_for_bodies == 256_000_000
    assert ServingSection(max_arrow_bytes=300_000_000).room_for_bodies == 600_000_000
    with pytest.raises(ValueError, match="max_held_bytes 1000000 is less than max_arrow_bytes 64000000"):
        ServingSection(max_held_bytes=1_000_000)

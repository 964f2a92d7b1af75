"""Batches on their way to a recorder that is slow, full, dead, or another one than before."""

import asyncio
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.serving import outbox as outbox_module
from sluiceway.serving.outbox import Batch, Outbox, Parcel, Receipt
from sluiceway.serving.recorder import Recorder


class Recorders:
    """One recorder after the other, over one table; what was taken and in no commit yet dies with its taker."""

    def __init__(self):
        self.table = {}  # replica -> number of the last batch that arrived
        self.rows = Counter()
        self.parcels = []
        self.born()

    def born(self):
        self.expected, self.taken, self.settled = {}, [], {}

    def take(self, parcel):
        self.parcels.append(parcel)
        expected = max(self.expected.get(parcel.replica, 0), parcel.oldest)
        self.settled.setdefault(parcel.replica, parcel.oldest)
        for number, payload in enumerate(parcel.payloads, parcel.first):
            if number == expected:
                self.taken.append((parcel.replica, number, payload))
                expected += 1
        self.expected[parcel.replica] = expected
        if parcel.hurry:
            self.commit()
        return Receipt(expected, self.settled[parcel.replica])

    def commit(self):
        for replica, number, payload in self.taken:
            if number > self.table.get(replica, -1):
                self.rows[payload] += 1
                self.table[replica] = number
            self.settled[replica] = number + 1
        self.taken = []


def batch(number, size=10):
    return Batch(f"{number:>{size}}".encode(), 1)


def make(call, dropped=None, **more):
    return Outbox(call, replica="r", dropped=(dropped if dropped is not None else []).append, **more)


def test_what_is_settled_is_forgotten_and_what_is_not_is_kept():
    async def run():
        recorders = Recorders()

        async def call(parcel):
            return recorders.take(parcel)

        box = make(call)
        box.put([batch(0), batch(1)])
        assert await box.deliver()
        assert box.waiting_rows == 2
        recorders.commit()
        assert await box.deliver(hurry=True)
        assert box.waiting_rows == 0
        assert [len(parcel.payloads) for parcel in recorders.parcels] == [2, 0]
        assert set(recorders.rows.values()) == {1}

    asyncio.run(run())


def test_nobody_is_asked_where_nothing_waits():
    async def run():
        async def call(_parcel):
            raise AssertionError

        assert await make(call).deliver()

    asyncio.run(run())


def test_a_recorder_that_does_not_answer_loses_nothing(monkeypatch):
    monkeypatch.setattr(outbox_module, "CALL_SECONDS", 0.05)

    async def run():
        recorders, slow = Recorders(), [True, False]

        async def call(parcel):
            receipt = recorders.take(parcel)  # it has taken it, and its answer comes too late
            if slow.pop():
                await asyncio.sleep(10)
            return receipt

        box = make(call)
        box.put([batch(0)])
        slow[:] = [False, True]
        assert not await box.deliver()
        assert box.waiting_rows == 1
        assert await box.deliver()
        recorders.commit()
        assert recorders.rows == {batch(0).payload: 1}

    asyncio.run(run())


def test_a_call_holds_so_much_and_no_more(monkeypatch):
    monkeypatch.setattr(outbox_module, "CALL_BYTES", 25)

    async def run():
        recorders = Recorders()

        async def call(parcel):
            return recorders.take(parcel)

        box = make(call)
        box.put([batch(i) for i in range(5)])
        assert await box.deliver()
        assert [len(parcel.payloads) for parcel in recorders.parcels] == [2, 2, 1]

    asyncio.run(run())


def test_what_finds_no_room_is_dropped_and_counted_and_room_comes_back():
    async def run():
        recorders, dropped = Recorders(), []

        async def call(parcel):
            return recorders.take(parcel)

        box = make(call, dropped, room=25)
        box.put([batch(0), batch(1), Batch(b"x" * 10, 7)])
        assert dropped == [7]
        await box.deliver(hurry=True)
        box.put([batch(2)])
        await box.deliver(hurry=True)
        assert dropped == [7]
        assert len(recorders.rows) == 3

    asyncio.run(run())


def test_while_the_log_cannot_be_written_new_records_go_before_what_the_catalog_has():
    async def run():
        recorders, dropped = Recorders(), []

        async def call(parcel):
            return recorders.take(parcel)

        box = make(call, dropped, room=25)
        for number in range(6):  # nothing of it is committed
            box.put([batch(number)])
            await box.deliver()
        assert [payload for _, _, payload in recorders.taken] == [batch(number).payload for number in range(6)]
        assert dropped == [1] * 4
        box.put([batch(6), batch(7), batch(8)])  # the recorder has none of these
        assert dropped == [1] * 7
        await box.deliver()
        assert [number for _, number, _ in recorders.taken] == list(range(8))
        box.put([Batch(b"x" * 26, 5)])  # never finds room, and takes it from nobody
        assert (dropped[7:], box.waiting_rows) == ([5], 2)

    asyncio.run(run())


def test_what_is_not_for_the_log_is_not_lost_to_it():
    async def run():
        recorders, dropped = Recorders(), []

        async def call(parcel):
            return recorders.take(parcel)

        box = make(call, dropped, room=25)
        for number in range(6):
            box.put([replace(batch(number), logged=False)])
            await box.deliver()
        assert (len(recorders.taken), dropped) == (6, [])

    asyncio.run(run())


def test_a_new_recorder_goes_on_behind_what_went_while_it_was_asked():
    async def run():
        recorders = Recorders()

        async def call(parcel):
            receipt = recorders.take(parcel)
            if parcel.first == 2:
                box.put([batch(3)])
            return receipt

        box = make(call, room=30)
        box.put([batch(0), batch(1)])
        await box.deliver()
        recorders.born()
        box.put([batch(2)])
        await box.deliver()  # it expects batch 0, which has gone
        await box.deliver()
        assert [number for _, number, _ in recorders.taken] == [1, 2, 3]

    asyncio.run(run())


def test_the_recorder_itself_goes_on_behind_what_went():
    async def run():
        got = []

        async def taken(_replica, number, _payload):
            got.append(number)
            return True

        recorder = SimpleNamespace(_senders={}, _taken=taken)
        assert await Recorder.take(recorder, Parcel("r", 0, 2, (b"c",))) == Receipt(0, 0)
        assert (await Recorder.take(recorder, Parcel("r", 1, 1, (b"b", b"c")))).expected == 3
        assert got == [1, 2]

    asyncio.run(run())


def test_closing_asks_for_a_commit_and_tells_what_was_not_taken(monkeypatch):
    monkeypatch.setattr(outbox_module, "CLOSE_SECONDS", 0.2)

    async def run():
        recorders, dead = Recorders(), [False]

        async def call(parcel):
            if dead[0]:
                raise ConnectionError
            return recorders.take(parcel)

        box = make(call)
        box.put([batch(0)])
        assert await box.close() == []
        assert recorders.rows == {batch(0).payload: 1}
        box.put([batch(1)])
        await box.deliver()  # taken, and in no commit yet
        box.put([batch(2)])
        dead[0] = True
        assert await box.close() == [batch(2)]

    asyncio.run(run())


STEPS = st.lists(
    st.sampled_from(["put", "deliver", "lose answer", "lose call", "commit", "die", "commit then die"]), max_size=60
)


@given(STEPS)
def test_whatever_happens_every_batch_arrives_once(steps):
    async def run():
        recorders, mood = Recorders(), ["deliver"]

        async def call(parcel):
            if mood[0] == "lose call":
                raise ConnectionError
            receipt = recorders.take(parcel)
            if mood[0] == "lose answer":
                raise ConnectionError
            return receipt

        box = make(call)
        put = 0
        for step in [*steps, "deliver", "deliver", "commit", "deliver"]:
            if step == "put":
                box.put([batch(put)])
                put += 1
            elif step == "commit":
                recorders.commit()
            elif step in ("die", "commit then die"):
                if step != "die":
                    recorders.commit()
                recorders.born()
            else:
                mood[0] = step
                await box.deliver()
        assert recorders.rows == {batch(number).payload: 1 for number in range(put)}
        assert await box.close() == []
        assert box.waiting_rows == 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox_module, "ASK_SECONDS", 0.0)  # as if a second lay between two steps
        asyncio.run(run())

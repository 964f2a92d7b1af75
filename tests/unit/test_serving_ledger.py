"""What replicas write: records, pairs, counts, feedback; and what happens where nobody takes them."""

import asyncio
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from serving_models import examples, train_small
from sluiceway.catalog.records import FeedbackRecord, PredictionRecord, RecordStore
from sluiceway.core.errors import BackendError
from sluiceway.core.traffic import LATENCY_BOUNDS_SECONDS, TrafficDocument
from sluiceway.serving import ledger as ledger_module
from sluiceway.serving.ledger import Answer, Ledger
from sluiceway.serving.outbox import Outbox, Receipt
from sluiceway.serving.record_batches import LogPlan, record_batches
from sluiceway.serving.record_keeping import catalog_rows
from sluiceway.serving.route import load_route, load_scorer


@pytest.fixture(scope="module")
def route(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    champion, challenger = train_small(folder, seed=1), train_small(folder, seed=2, flipped=True)
    document = TrafficDocument("fraud", 3, champion.arm("1", 0.5), (challenger.arm("2", 0.5, "app"),))
    return load_route(document, {}, load=load_scorer)[0]


def answer(route, request_id, *, arm, rows=1, seed=1):
    matrix, _ = examples(rows, seed=seed)
    scores = arm.scorer.score_matrix(matrix)
    paired = route.champion if arm.name == "challenger" else None
    return Answer(request_id, 1.0, route.generation, arm, scores, arm.scorer.decide(scores), matrix, paired)


class Failing(RecordStore):
    """A store over a database that can be switched off."""

    down = False

    def add_predictions(self, rows):
        self.up()
        return super().add_predictions(rows)

    def add_feedback(self, endpoint, rows):
        self.up()
        return super().add_feedback(endpoint, rows)

    def put_counts(self, rows):
        self.up()
        super().put_counts(rows)

    def up(self):
        if self.down:
            raise BackendError("down")


@pytest.fixture
def dropped():
    return []


def make(catalog, dropped, store=None, **more):
    store = store or RecordStore(catalog)
    return Ledger(store, endpoint="fraud", replica="r1", dropped=dropped.append, **more)


def recorded(answers):
    """The records of answers, by their request ids."""
    found = {}
    for batch in record_batches(answers, LogPlan()):
        records = map(PredictionRecord._make, catalog_rows(batch, endpoint="fraud", keys=None))
        found |= {record.request_id: record for record in records}
    return found


def test_a_challengers_rows_are_scored_by_the_champion_too(route):
    challenger = route.challengers[0]
    answers = [
        answer(route, "one", arm=challenger, seed=1),
        answer(route, "by the champion", arm=route.champion, seed=2),
        answer(route, "many", arm=challenger, rows=3, seed=3),
    ]
    records = recorded(answers)
    assert sorted(records) == ["by the champion", "many/0", "many/1", "many/2", "one"]
    own = records["by the champion"]
    assert (own.arm, own.version, own.champion_version, own.champion_score) == ("champion", "1", None, None)
    assert own.score == pytest.approx(answers[1].scores[0])
    expected = route.champion.scorer.score_matrix(answers[2].matrix)
    for row in range(3):
        record = records[f"many/{row}"]
        assert (record.arm, record.version, record.champion_version) == ("challenger", "2", "1")
        assert record.champion_score == pytest.approx(expected[row])
        assert record.champion_decision == float(expected[row] >= 0.5)
        assert record.score == pytest.approx(answers[2].scores[row])


def test_counts_are_cumulative_and_exist_at_zero(route, catalog, dropped):
    async def run():
        ledger = make(catalog, dropped)
        ledger.opened(route.generation, route.arms)
        await ledger.flush()
        assert [(c.arm, c.requests) for c in store.counts("fraud", [3])] == [("challenger", 0), ("champion", 0)]
        for failed in (False, True):
            ledger.counted(3, route.challengers[0], seconds=0.001, failed=failed)
            await ledger.flush()

    store = RecordStore(catalog)
    asyncio.run(run())
    challenger, _ = store.counts("fraud", [3])
    assert (challenger.requests, challenger.errors, sum(challenger.latency)) == (2, 1, 2)
    bucket = challenger.latency.index(2)
    assert LATENCY_BOUNDS_SECONDS[bucket - 1] < 0.001 <= LATENCY_BOUNDS_SECONDS[bucket]


def test_failures_one_after_the_other_are_counted_and_those_together_as_one(route, catalog, dropped):
    ledger, challenger = make(catalog, dropped), route.challengers[0]

    def came(*failed, seconds=0.0):
        for one in failed:
            ledger.counted(3, challenger, seconds=seconds, failed=one)

    async def longest():
        await ledger.flush()
        (arm,) = RecordStore(catalog).counts("fraud", [3])
        return arm.errors, arm.errors_in_row

    came(True, True, False, True, True, True, False, True)
    assert asyncio.run(longest()) == (6, 3)
    # Fifty that were under way at the last failure are that failure.
    came(*[True] * 50, seconds=60.0)
    assert asyncio.run(longest()) == (56, 3)
    came(True, True)
    assert asyncio.run(longest()) == (58, 3)
    came(True)
    assert asyncio.run(longest()) == (59, 4)


def test_a_latency_beyond_all_bounds_is_counted(route, catalog, dropped):
    async def run():
        ledger = make(catalog, dropped)
        ledger.counted(3, route.champion, seconds=1e6, failed=False)
        await ledger.flush()

    asyncio.run(run())
    assert RecordStore(catalog).counts("fraud", [3])[0].latency[-1] == 1


def test_records_and_counts_wait_for_a_catalog_that_is_away(route, catalog, dropped, monkeypatch):
    store = Failing(catalog)

    async def run():
        ledger = make(catalog, dropped, store)
        store.down = True
        for i in range(2):
            ledger.answered(answer(route, f"a{i}", arm=route.challengers[0]))
            ledger.counted(3, route.challengers[0], seconds=0.001, failed=False)
            await ledger.flush()
        monkeypatch.setattr(ledger_module, "ROOM_BYTES", 0)
        ledger.answered(answer(route, "b0", arm=route.challengers[0]))  # below the limit: nothing waits for a flush
        ledger.answered(answer(route, "b1", arm=route.challengers[0], rows=4))
        assert dropped == [4]
        await ledger.flush()
        assert dropped == [4, 1]  # it finds no room beside those that wait for the catalog
        store.down = False
        await ledger.flush()

    asyncio.run(run())
    assert store.pairs("fraud", "2", [3]).predictions == 2
    assert store.counts("fraud", [3])[0].requests == 2


def test_a_champion_that_cannot_score_the_pairs_costs_their_records_only(route, catalog, dropped):
    async def run():
        ledger = make(catalog, dropped)
        broken = answer(route, "broken", arm=route.challengers[0], rows=2)
        ledger.answered(replace(broken, matrix=np.zeros((2, 9), dtype=np.float32)))
        ledger.counted(3, route.champion, seconds=0.001, failed=False)
        await ledger.flush()
        ledger.answered(answer(route, "whole", arm=route.challengers[0]))
        await ledger.flush()

    asyncio.run(run())
    assert dropped == [2]
    store = RecordStore(catalog)
    assert store.counts("fraud", [3])[0].requests == 1
    assert store.pairs("fraud", "2", [3]).predictions == 1


def test_feedback_returns_when_it_is_durable(catalog, dropped):
    async def run():
        ledger = make(catalog, dropped)
        begun = time.perf_counter()
        new = await asyncio.gather(*(ledger.feedback([FeedbackRecord(str(i), 1.0, 1.0, 1.0)]) for i in range(50)))
        assert RecordStore(catalog).pairs("fraud", "2", [3]).outcomes == 50
        assert new == [1] * 50
        assert time.perf_counter() - begun < 2

    asyncio.run(run())


def test_feedback_says_how_many_are_new_and_the_first_stays(catalog, dropped):
    def outcome(name, value):
        return FeedbackRecord(name, value, 1.0, 1.0)

    async def run():
        ledger = make(catalog, dropped)
        assert await ledger.feedback([outcome("a", 1.0), outcome("b", 0.0), outcome("a", 0.0)]) == 2
        assert await ledger.feedback([outcome("a", 0.0), outcome("c", 1.0), outcome("d/7", 1.0)]) == 2
        # Two requests that are written together, with one outcome in common: it is new to one of them.
        both = await asyncio.gather(ledger.feedback([outcome("e", 1.0)]), ledger.feedback([outcome("e", 0.0)]))
        assert both == [1, 0]

    asyncio.run(run())
    store = RecordStore(catalog)
    rest = (1.0, "fraud", 3, "challenger", "2", 0.9, 1.0, "", "1", 0.1, 0.0)
    store.add_predictions([(name, *rest) for name in "ae"])
    assert store.pairs("fraud", "2", [3]).only_challenger_right == 2


def test_feedback_that_is_not_stored_is_not_acknowledged(catalog, dropped):
    store = Failing(catalog)
    store.down = True

    async def run():
        with pytest.raises(BackendError):
            await make(catalog, dropped, store).feedback([FeedbackRecord("a", 1.0, 1.0, 1.0)])

    asyncio.run(run())


def test_closing_writes_what_is_in_memory(route, catalog, dropped):
    async def run():
        ledger = make(catalog, dropped)
        ledger.start()
        assert ledger.alive
        ledger.answered(answer(route, "last", arm=route.challengers[0]))
        ledger.counted(3, route.champion, seconds=0.001, failed=False)
        await ledger.close()

    asyncio.run(run())
    store = RecordStore(catalog)
    assert store.pairs("fraud", "2", [3]).predictions == 1
    assert store.counts("fraud", [3])[0].requests == 1


def test_closing_writes_to_the_catalog_what_the_recorder_does_not_take(route, catalog, dropped):
    async def dead(_parcel):
        raise ConnectionError("dead")

    async def run():
        ledger = make(catalog, dropped, outbox=Outbox(dead, replica="r1", dropped=dropped.append))
        ledger.start()
        for i in range(3):
            ledger.answered(answer(route, f"r{i}", arm=route.challengers[0]))
        await ledger.close()

    asyncio.run(run())
    assert RecordStore(catalog).pairs("fraud", "2", [3]).predictions == 3


def test_with_a_recorder_records_go_to_it_and_not_to_the_catalog(route, catalog, dropped):
    parcels = []

    async def take(parcel):
        parcels.append(parcel)
        return Receipt(parcel.first + len(parcel.payloads), parcel.first + len(parcel.payloads))

    async def run():
        ledger = make(catalog, dropped, outbox=Outbox(take, replica="r1", dropped=dropped.append))
        ledger.start()
        ledger.answered(answer(route, "one", arm=route.challengers[0]))
        ledger.counted(3, route.challengers[0], seconds=0.001, failed=False)
        await ledger.close()

    asyncio.run(run())
    assert sum(len(parcel.payloads) for parcel in parcels) == 1
    store = RecordStore(catalog)
    assert store.pairs("fraud", "2", [3]).predictions == 0
    assert store.counts("fraud", [3])[0].requests == 1


def test_a_flusher_that_has_died_is_seen(route, catalog, dropped, monkeypatch):
    async def run():
        ledger = make(catalog, dropped, each_flush=lambda: 1 / 0)
        monkeypatch.setattr(ledger_module, "FLUSH_SECONDS", 0.01)
        ledger.start()
        await asyncio.sleep(0.2)
        assert not ledger.alive

    asyncio.run(run())


def test_feedback_that_comes_while_a_slow_catalog_is_written_to_takes_no_further_thread(catalog, dropped):
    let_go, under_way, most = threading.Event(), [0], [0]

    class Slow(RecordStore):
        def add_feedback(self, endpoint, rows):
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
            let_go.wait(20)
            under_way[0] -= 1
            return super().add_feedback(endpoint, rows)

    async def run():
        ledger = make(catalog, dropped, Slow(catalog))
        told = []
        for number in range(6):
            told.append(asyncio.ensure_future(ledger.feedback([FeedbackRecord(f"x{number}", 1, 1.0, 1.0)])))
            await asyncio.sleep(2 * ledger_module.FEEDBACK_GATHER_SECONDS)
        let_go.set()
        assert await asyncio.gather(*told) == [1] * 6

    asyncio.run(run())
    assert most == [1]

"""What replicas write: records, pairs, counts, feedback; and what happens where the catalog does not take them."""

import asyncio
import time

import pytest

from serving_models import examples, train_small
from sluiceway.catalog.records import FeedbackRecord, RecordStore
from sluiceway.core.errors import BackendError
from sluiceway.core.traffic import LATENCY_BOUNDS_SECONDS, TrafficDocument
from sluiceway.serving import ledger as ledger_module
from sluiceway.serving.ledger import Answer, Ledger, prediction_records
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
        if self.down:
            raise BackendError("down")
        super().add_predictions(rows)

    def add_feedback(self, rows):
        if self.down:
            raise BackendError("down")
        super().add_feedback(rows)


@pytest.fixture
def dropped():
    return []


def make(catalog, dropped, store=None):
    store = store or RecordStore(catalog)
    return Ledger(store, endpoint="fraud", replica="r1", dropped=dropped.append)


def test_a_challengers_rows_are_scored_by_the_champion_too(route):
    challenger = route.challengers[0]
    answers = [
        answer(route, "one", arm=challenger, seed=1),
        answer(route, "by the champion", arm=route.champion, seed=2),
        answer(route, "many", arm=challenger, rows=3, seed=3),
    ]
    records = {record.request_id: record for record in prediction_records(answers, endpoint="fraud")}
    assert sorted(records) == ["by the champion", "many/0", "many/1", "many/2", "one"]
    assert records["by the champion"].champion_score is None
    expected = route.champion.scorer.score_matrix(answers[2].matrix)
    for row in range(3):
        record = records[f"many/{row}"]
        assert (record.arm, record.version, record.champion_version) == ("challenger", "2", "1")
        assert record.champion_score == pytest.approx(expected[row])
        assert record.champion_decision == float(expected[row] >= 0.5)
        assert record.score == pytest.approx(answers[2].scores[row])
    assert records["many/0"].key_hash != records["many/1"].key_hash


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


def test_a_latency_beyond_all_bounds_is_counted(route, catalog, dropped):
    async def run():
        ledger = make(catalog, dropped)
        ledger.counted(3, route.champion, seconds=1e6, failed=False)
        await ledger.flush()

    asyncio.run(run())
    assert RecordStore(catalog).counts("fraud", [3])[0].latency[-1] == 1


def test_records_wait_for_a_catalog_that_is_away(route, catalog, dropped, monkeypatch):
    monkeypatch.setattr(ledger_module, "ANSWERS_IN_MEMORY", 3)
    store = Failing(catalog)

    async def run():
        ledger = make(catalog, dropped, store)
        store.down = True
        for i in range(2):
            ledger.answered(answer(route, f"a{i}", arm=route.challengers[0]))
        await ledger.flush()
        for i in range(2):
            ledger.answered(answer(route, f"b{i}", arm=route.challengers[0]))
        assert dropped == [1]
        store.down = False
        await ledger.flush()

    asyncio.run(run())
    assert store.pairs("fraud", "2", [3]).predictions == 3


def test_feedback_returns_when_it_is_durable(catalog, dropped):
    async def run():
        ledger = make(catalog, dropped)
        begun = time.perf_counter()
        await asyncio.gather(*(ledger.feedback([FeedbackRecord(str(i), 1.0, 1.0, 1.0)]) for i in range(50)))
        assert RecordStore(catalog).pairs("fraud", "2", [3]).outcomes == 50
        assert time.perf_counter() - begun < 2

    asyncio.run(run())


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
        ledger.answered(answer(route, "last", arm=route.challengers[0]))
        ledger.counted(3, route.champion, seconds=0.001, failed=False)
        await ledger.close()

    asyncio.run(run())
    store = RecordStore(catalog)
    assert store.pairs("fraud", "2", [3]).predictions == 1
    assert store.counts("fraud", [3])[0].requests == 1

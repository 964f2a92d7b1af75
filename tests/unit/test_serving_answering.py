"""Who answers a request: pinned versions, failover within the deadline, the breaker, shadows."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import sqlalchemy as sa

from serving_models import as_rows, examples, train_small
from sluiceway.catalog.records import RecordStore
from sluiceway.catalog.schema import predictions
from sluiceway.catalog.shadows import ShadowStore
from sluiceway.config.serving import BreakerSection, ServingSection
from sluiceway.core.calibrator import Calibrator
from sluiceway.core.errors import ArmError, NotReadyError, RequestError
from sluiceway.core.traffic import TrafficDocument
from sluiceway.registry.bundle import Bundle, write
from sluiceway.serving import answering, shadow
from sluiceway.serving.answering import Answerer, Asked
from sluiceway.serving.challenger import Challenger
from sluiceway.serving.inputs import RowsInput
from sluiceway.serving.ledger import Ledger
from sluiceway.serving.route import load_route, load_scorer
from sluiceway.serving.scorer import BundleScorer
from sluiceway.serving.specs import ChallengerSpec
from sluiceway.serving.turns import TurnCaller
from sluiceway.telemetry.metrics import ServingMetrics


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [train_small(folder, seed=seed) for seed in (1, 2, 3)]


@pytest.fixture
def document(models):
    """Everything goes to a challenger in process."""
    return TrafficDocument("flights", 3, models[0].arm("1", 0.0), (models[1].arm("2", 1.0),), salt="r1")


class Replica:
    """What a replica has around its answerer, with a real catalog."""

    def __init__(self, catalog, **limits):
        self.limits = ServingSection(**limits)
        self.metrics, self.records, self.opened = ServingMetrics("flights"), RecordStore(catalog), []
        self.catalog = catalog
        self.ledger = Ledger(self.records, endpoint="flights", replica="r", dropped=lambda rows: None)
        self.answerer = Answerer(
            "flights",
            ledger=self.ledger,
            metrics=self.metrics,
            limits=self.limits,
            opened=lambda *told: self.opened.append(told),
        )

    def follow(self, document, loaded=None):
        route, self.loaded = load_route(document, loaded or {}, load=load_scorer, breaker=self.limits.breaker)
        self.answerer.open(route)
        return route

    async def ask(self, route, n=1, *, seed=5, **asked):
        """Requests of one row, one after the other."""
        matrix, _ = examples(n, seed=seed)
        answers = []
        for i, row in enumerate(as_rows(matrix)):
            request = Asked(f"q{i}", **{"started": time.perf_counter(), **asked})
            answers.append(await self.answerer.answer(route, request, RowsInput([row])))
        return answers, matrix

    def counts(self, generation):
        """Requests and errors by arm and version, of arms that were asked."""
        counts = self.records.counts("flights", [generation])
        return {(c.arm, c.version): (c.requests, c.errors) for c in counts if c.requests}

    def recorded(self):
        """The records as they are in the catalog."""
        with self.catalog.connect() as connection:
            query = sa.select(predictions).order_by(predictions.c.request_id)
            return [dict(row) for row in connection.execute(query).mappings()]

    def series(self, name):
        """A series' values by the labels version and arm."""
        return {
            (sample.labels.get("version"), sample.labels.get("arm")): sample.value
            for family in self.metrics.registry.collect()
            for sample in family.samples
            if sample.name == name
        }


def broken(route, version="2", error=RuntimeError("broken")):
    """Let a model of the route raise, in this process."""

    def fail(matrix):
        raise error

    arm = next(arm for arm in route.arms if arm.arm.version == version)
    arm.scorer.score_matrix = fail


def expected(model, matrix):
    return BundleScorer(model.bundle, threads=1).score_matrix(matrix)


def test_a_challenger_in_process_answers_and_its_rows_are_paired(models, document, catalog):
    replica = Replica(catalog)
    route = replica.follow(document)

    async def run():
        answers, matrix = await replica.ask(route, 5)
        await replica.ledger.flush()
        return answers, matrix

    answers, matrix = asyncio.run(run())
    np.testing.assert_allclose([a.scores[0] for a in answers], expected(models[1], matrix), atol=1e-6)
    assert {(a.arm.name, a.arm.arm.version, a.failover) for a in answers} == {("challenger", "2", False)}
    assert replica.counts(3) == {("challenger", "2"): (5, 0)}
    champions = [record["champion_score"] for record in replica.recorded()]
    np.testing.assert_allclose(champions, expected(models[0], matrix), atol=1e-6)


def test_a_challenger_in_process_that_raises_is_answered_for_counted_and_asked_no_more(models, document, catalog):
    replica = Replica(catalog, breaker=BreakerSection(errors_in_row=3))
    route = replica.follow(document)
    broken(route)
    assert replica.series("breaker_open") == {("2", None): 0}

    async def run():
        answers, matrix = await replica.ask(route, 10)
        await replica.ledger.flush()
        return answers, matrix

    answers, matrix = asyncio.run(run())
    np.testing.assert_allclose([a.scores[0] for a in answers], expected(models[0], matrix), atol=1e-6)
    assert [a.failover for a in answers] == [True] * 3 + [False] * 7
    assert {a.arm.name for a in answers} == {"champion"}
    assert replica.counts(3) == {("challenger", "2"): (3, 3), ("champion", "1"): (7, 0)}
    assert replica.opened == [(3, "2", "3 errors in a row")]
    assert replica.series("breaker_open") == {("2", None): 1}
    assert replica.series("model_errors_total")["2", "challenger"] == 3
    replica.follow(TrafficDocument("flights", 4, models[0].arm("1", 1.0)), replica.loaded)
    assert replica.series("breaker_open") == {("2", None): 0}


@pytest.mark.parametrize("scores", [[np.nan], [0.5, 0.5], []], ids=["not finite", "too many", "too few"])
def test_a_challenger_that_answers_nonsense_is_answered_for(models, document, catalog, scores):
    replica = Replica(catalog)
    route = replica.follow(document)
    route.challengers[0].scorer.score_matrix = lambda matrix: np.array(scores, dtype=np.float64)
    (answer,), matrix = asyncio.run(replica.ask(route))
    assert (answer.failover, answer.arm.arm.version) == (True, "1")
    assert answer.scores == pytest.approx(expected(models[0], matrix), abs=1e-6)


def test_a_champion_that_fails_is_nobody_s_failover(document, catalog):
    replica = Replica(catalog)
    route = replica.follow(document)
    broken(route, "1")
    broken(route, "2")

    async def run():
        with pytest.raises(ArmError, match="champion 1 failed: RuntimeError: broken"):
            await replica.ask(route)
        await replica.ledger.flush()

    asyncio.run(run())
    assert replica.counts(3) == {("challenger", "2"): (1, 1)}


class Handle:
    """The handle of a challenger's deployment, as Serve gives it to a replica; what it does is the test's choice."""

    def __init__(self, score):
        self.calls, self.cancelled, self._score = [], 0, score
        self.score = self

    def remote(self, matrix, requests):
        self.calls.append(requests)
        return Response(self, matrix, requests)


class RawHandle(Handle):
    """Of a calibrated challenger: its raw scores can be asked for alone."""

    def __init__(self, score):
        super().__init__(score)
        self.raw_scores, self.score = self, None


class Response:
    def __init__(self, handle, matrix, requests):
        self._handle, self._given = handle, (matrix, requests)

    def __await__(self):
        return self._handle._score(*self._given).__await__()

    def cancel(self):
        self._handle.cancelled += 1


async def hanging(matrix, requests):
    await asyncio.Event().wait()


@pytest.fixture
def elsewhere(monkeypatch, models):
    """A document whose challenger has an application, and the handle that leads to it."""

    def make(score, weight=1.0):
        handle = Handle(score)
        monkeypatch.setattr(answering.serve, "get_deployment_handle", lambda *args, **kwargs: handle)
        arm = models[1].arm("2", weight, "app")
        return TrafficDocument("flights", 3, models[0].arm("1", 1 - weight), (arm,), salt="r1"), handle

    return make


class Sleeper:
    """The handle of a deployment that is called before it is asked; how often it was."""

    def __init__(self):
        self.calls, self.ready, self.score = 0, self, self

    def remote(self):
        self.calls += 1
        return asyncio.sleep(0)


def test_a_challenger_is_woken_before_a_generation_that_asks_it_again(models, catalog, monkeypatch):
    """Its deployment may have gone to zero while it had no weight."""
    handle = Sleeper()
    monkeypatch.setattr(answering.serve, "get_deployment_handle", lambda *args, **kwargs: handle)
    replica, woken = Replica(catalog), []
    champion, third = models[0], models[2].arm("3", 0.0, "beside")

    def follow(generation, weight, share=0.0):
        arm = models[1].arm("2", weight, "app")
        shadows = (replace(third, weight=share),)
        document = TrafficDocument("flights", generation, champion.arm("1", 1 - weight), (arm,), shadows=shadows)
        before = handle.calls
        asyncio.run(replica.answerer.warm(replica.follow(document)))
        woken.append(handle.calls - before)

    for generation, weight in enumerate((0.0, 0.0, 0.5, 0.6, 0.0, 0.1), start=1):
        follow(generation, weight)
    assert woken == [0, 0, 1, 0, 0, 1]
    follow(7, 0.1, share=1.0)
    follow(8, 0.1, share=0.5)
    assert woken[6:] == [1, 0]


def calibrated(model, folder):
    """A model with a calibrator, and what that does."""
    table = Calibrator([0.0, 0.5, 1.0], [0.1, 0.2, 0.9])
    made = Bundle(model.bundle.model, model.bundle.schema, {**model.bundle.decision, "calibrator": table.to_dict()}, {})
    return type(model)(model.booster, made, write(made, folder)), table


def test_raw_scores_of_a_challenger_are_asked_of_its_deployment(models, catalog, monkeypatch, tmp_path):
    """MLflow's protocol wants them; the challenger's model is run by nobody else for it."""
    model, table = calibrated(models[1], tmp_path / "calibrated")
    arm = model.arm("2", 1.0, "app")
    challenger = Challenger(ChallengerSpec("flights", "2", str(model.folder), arm.digest, None, ServingSection()))
    handle = RawHandle(challenger.raw_scores)
    monkeypatch.setattr(answering.serve, "get_deployment_handle", lambda *args, **kwargs: handle)
    replica = Replica(catalog)
    route = replica.follow(TrafficDocument("flights", 3, models[0].arm("1", 0.0), (arm,), salt="r1"))
    forbidden = AssertionError("the challenger's model runs in the endpoint")
    for name in ("raw_scores", "score_matrix"):
        monkeypatch.setattr(route.challengers[0].scorer, name, lambda matrix: (_ for _ in ()).throw(forbidden))

    async def run():
        (answer,), matrix = await replica.ask(route, raw=True)
        (pinned,), _ = await replica.ask(route, raw=True, version="2")
        await replica.ledger.flush()
        return answer, pinned, matrix

    answer, pinned, matrix = asyncio.run(run())
    raw = expected(models[1], matrix)
    for one in (answer, pinned):
        assert not one.failover
        np.testing.assert_array_equal(one.raw, raw)
        np.testing.assert_array_equal(one.scores, table(raw))
    assert handle.calls == [1, 1]
    assert [record["score"] for record in replica.recorded()] == pytest.approx(table(raw).tolist())


def raising(raw):
    raise RuntimeError("broken")


@pytest.mark.parametrize("calibrate", [raising, lambda raw: raw * np.nan, lambda raw: raw[:0]])
def test_a_challenger_whose_calibrator_fails_is_answered_for_where_raw_scores_are_asked(
    models, catalog, tmp_path, monkeypatch, calibrate
):
    model, _ = calibrated(models[1], tmp_path / "calibrated")
    replica = Replica(catalog, breaker=BreakerSection(errors_in_row=3))
    route = replica.follow(
        TrafficDocument("flights", 3, models[0].arm("1", 0.0), (model.arm("2", 1.0),), salt="r1"),
    )
    monkeypatch.setattr(route.challengers[0].scorer, "calibrate", calibrate)

    async def run():
        with pytest.raises(NotReadyError):
            await replica.ask(route, raw=True, version="2")
        answers, matrix = await replica.ask(route, 10, raw=True)
        await replica.ledger.flush()
        return answers, matrix

    answers, matrix = asyncio.run(run())
    np.testing.assert_allclose([a.scores[0] for a in answers], expected(models[0], matrix), atol=1e-6)
    assert {answer.raw is None for answer in answers} == {True}
    counted = {("challenger", "2"): (3, 3), ("pinned", "2"): (1, 1), ("champion", "1"): (7, 0)}
    assert replica.counts(3) == counted
    assert len(replica.opened) == 1


def test_who_has_no_calibrator_answers_raw_scores_as_it_is(models, document, catalog):
    replica = Replica(catalog)
    route = replica.follow(document)
    (answer,), matrix = asyncio.run(replica.ask(route, raw=True))
    assert answer.raw is None
    np.testing.assert_allclose(answer.scores, expected(models[1], matrix), atol=1e-6)


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [
        ({"challenger_timeout_seconds": 0.1, "request_timeout_seconds": 30}, (0.1, 22.5)),
        ({"challenger_timeout_seconds": 30, "request_timeout_seconds": 3}, (2.25, 3)),
    ],
    ids=["its own limit", "the request's limit"],
)
def test_a_challenger_that_hangs_leaves_the_champion_time(models, catalog, elsewhere, limits, seconds):
    document, handle = elsewhere(hanging)
    replica = Replica(catalog, **limits)
    route = replica.follow(document)

    async def run():
        begun = time.perf_counter()
        (answer,), matrix = await replica.ask(route, started=begun)
        took = time.perf_counter() - begun
        await replica.ledger.flush()
        return answer, matrix, took

    answer, matrix, took = asyncio.run(run())
    assert (answer.failover, answer.arm.name) == (True, "champion")
    assert answer.scores == pytest.approx(expected(models[0], matrix), abs=1e-6)
    assert seconds[0] <= took + 0.005 < seconds[1]
    assert handle.calls == [1]
    assert replica.counts(3) == {("challenger", "2"): (1, 1)}


@pytest.mark.parametrize(
    ("limits", "waited"),
    [
        ({"request_timeout_seconds": 10}, 7.6),
        ({"request_timeout_seconds": 10, "challenger_timeout_seconds": 1}, 6.6),  # its client sent slowly
        ({"request_timeout_seconds": 10, "challenger_timeout_seconds": 30}, 3.9),
    ],
    ids=["none", "less than its limit", "less than half"],
)
def test_a_request_with_too_little_time_left_is_the_champions_and_no_failure_of_the_challenger(
    models, catalog, elsewhere, limits, waited
):
    document, handle = elsewhere(hanging)
    replica = Replica(catalog, **limits)
    route = replica.follow(document)

    async def run():
        (answer,), _ = await replica.ask(route, started=time.perf_counter() - waited)
        await replica.ledger.flush()
        return answer

    answer = asyncio.run(run())
    assert (answer.failover, answer.arm.name) == (True, "champion")
    assert handle.calls == []
    assert replica.counts(3) == {("champion", "1"): (1, 0)}
    assert replica.opened == []


def test_requests_of_one_turn_are_one_call_and_one_bad_request_fails_alone(models, catalog, elsewhere):
    scorer = BundleScorer(models[1].bundle, threads=1)

    async def picky(matrix, requests):
        rows = np.frombuffer(matrix, dtype=np.float32).reshape(-1, 3)
        if (rows[:, 0] == 99).any():
            raise ValueError("not this one")
        return scorer.score_matrix(rows).tobytes()

    document, handle = elsewhere(picky)
    replica = Replica(catalog)
    route = replica.follow(document)
    matrix, _ = examples(8, seed=5)
    matrix[3, 0] = 99

    async def together(rows):
        asked = [Asked(f"q{i}", time.perf_counter()) for i in range(len(rows))]
        answer = replica.answerer.answer
        return await asyncio.gather(
            *(answer(route, one, RowsInput([row])) for one, row in zip(asked, rows, strict=True))
        )

    answers = asyncio.run(together(as_rows(matrix)))
    assert handle.calls == [8] + [1] * 8
    assert [a.failover for a in answers] == [i == 3 for i in range(8)]
    scores = [a.scores[0] for a in answers]
    wanted = expected(models[1], matrix)
    wanted[3] = expected(models[0], matrix[3:4])[0]
    np.testing.assert_allclose(scores, wanted, atol=1e-6)
    assert replica.opened == []


def test_what_is_repeated_has_only_the_time_that_is_left():
    left = []

    async def call(matrix, requests, seconds):
        left.append((requests, seconds))
        await asyncio.sleep(0.2)
        raise ValueError("broken")

    async def run():
        caller = TurnCaller(call, seconds=10)
        return await asyncio.gather(
            *(caller.score(np.zeros((1, 3), np.float32)) for _ in range(3)), return_exceptions=True
        )

    results = asyncio.run(run())
    assert [type(result) for result in results] == [ValueError] * 3
    assert [requests for requests, _ in left] == [3, 1, 1, 1]
    assert left[0][1] > 9.9
    assert all(seconds < left[0][1] - 0.19 for _, seconds in left[1:])


def test_a_drill_lets_exactly_every_third_request_fail_however_they_come(models):
    model = models[1]
    drill = Challenger(ChallengerSpec("flights", "2", str(model.folder), model.bundle.digest, 3, ServingSection()))

    async def call(matrix, requests, seconds):
        return np.frombuffer(await drill.score(matrix.tobytes(), requests), dtype=np.float64)

    async def run():
        caller, failed = TurnCaller(call, seconds=60), 0
        for together in (1, 5, 2, 4, 3) * 6:
            rows = [np.zeros((1, 3), np.float32) for _ in range(together)]
            told = await asyncio.gather(*(caller.score(row) for row in rows), return_exceptions=True)
            failed += sum(isinstance(one, RuntimeError) for one in told)
        return failed

    assert asyncio.run(run()) == 30


def test_a_version_that_is_asked_for_answers_under_an_arm_of_its_own(models, catalog):
    document = TrafficDocument(
        "flights",
        3,
        models[0].arm("1", 1.0),
        shadows=(models[1].arm("2", 1.0),),
        warm=(models[2].arm("3", 0.0),),
    )
    replica = Replica(catalog)
    route = replica.follow(document)

    async def run():
        found = [await replica.ask(route, 4, version=version) for version in ("1", "2", "3")]
        await replica.answerer.settled()
        await replica.ledger.flush()
        return found

    for model, version, (answers, matrix) in zip(models, ("1", "2", "3"), asyncio.run(run()), strict=True):
        np.testing.assert_allclose([a.scores[0] for a in answers], expected(model, matrix), atol=1e-6)
        assert {(a.arm.name, a.arm.arm.version) for a in answers} == {("pinned", version)}
    assert replica.counts(3) == {("pinned", version): (4, 0) for version in ("1", "2", "3")}
    assert replica.series("model_requests_total")["3", "pinned"] == 4
    assert {record["arm"] for record in replica.recorded()} == {"pinned"}


def test_a_version_that_is_no_arm_is_404_and_names_those_that_are(document, catalog):
    replica = Replica(catalog)
    route = replica.follow(document)
    with pytest.raises(RequestError, match="version 9 is not served here") as caught:
        asyncio.run(replica.ask(route, version="9"))
    assert caught.value.status == 404
    assert caught.value.hint == "there are 1 (champion), 2 (challenger)"


def test_a_version_that_is_asked_for_and_fails_is_answered_by_nobody_else(document, catalog):
    replica = Replica(catalog, breaker=BreakerSection(errors_in_row=1))
    route = replica.follow(document)
    broken(route, error=RuntimeError("secret"))

    async def run():
        with pytest.raises(NotReadyError) as caught:
            await replica.ask(route, version="2")
        await replica.ledger.flush()
        return caught.value

    assert asyncio.run(run()).message == "version 2 did not answer"
    assert replica.counts(3) == {("pinned", "2"): (1, 1)}
    assert replica.opened == []


def test_the_routing_field_of_the_first_row_is_a_key_and_the_header_wins(models, catalog):
    document = TrafficDocument("flights", 3, models[0].arm("1", 0.5), (models[1].arm("2", 0.5),), salt="r1")
    replica = Replica(catalog, routing_field="carrier")
    route = replica.follow(document)
    rows = as_rows(examples(60, seed=9)[0])

    async def run(**asked):
        answer = replica.answerer.answer
        return [
            (await answer(route, Asked("q", time.perf_counter(), **asked), RowsInput([row]))).arm.name for row in rows
        ]

    assert asyncio.run(run()) == [route.draw(row["carrier"]).name for row in rows]
    assert len(set(asyncio.run(run()))) == 2
    assert set(asyncio.run(run(key="somebody"))) == {route.draw("somebody").name}


def shadowed(models, share=1.0, weight=0.0):
    challengers = (models[1].arm("2", weight),) if weight else ()
    return TrafficDocument(
        "flights", 3, models[0].arm("1", 1 - weight), challengers, shadows=(models[2].arm("3", share),), salt="r1"
    )


def test_a_shadow_is_recorded_beside_the_champion_and_answers_nobody(models, catalog):
    replica = Replica(catalog)
    route = replica.follow(shadowed(models, weight=0.5))

    async def run():
        answers, matrix = await replica.ask(route, 40)
        await replica.answerer.settled()
        await replica.ledger.flush()
        return answers, matrix

    answers, matrix = asyncio.run(run())
    assert {a.arm.name for a in answers} == {"champion", "challenger"}
    records = {r["request_id"]: r for r in replica.recorded() if r["arm"] == "shadow"}
    assert sorted(records) == sorted(f"q{i}#3" for i in range(40))
    mine, theirs = expected(models[2], matrix), expected(models[0], matrix)
    for i in range(40):
        record = records[f"q{i}#3"]
        assert (record["version"], record["champion_version"]) == ("3", "1")
        assert record["score"] == pytest.approx(mine[i], abs=1e-6)
        assert record["champion_score"] == pytest.approx(theirs[i], abs=1e-6)
    assert replica.counts(3)["shadow", "3"] == (40, 0)
    assert replica.series("model_requests_total")["3", "shadow"] == 40
    assert replica.series("model_latency_seconds_count")["3", "shadow"] == 40
    (compared,) = ShadowStore(catalog).compare("flights")
    assert (compared.version, compared.champion_version, compared.rows) == ("3", "1", 40)
    assert compared.mean_difference == pytest.approx(np.abs(mine - theirs).mean(), abs=1e-6)
    assert compared.other_decisions == pytest.approx(((mine >= 0.5) != (theirs >= 0.5)).mean())
    assert ShadowStore(catalog).compare("flights", since_generation=4) == []


def test_a_shadow_sees_its_share_by_the_key(models, catalog):
    replica = Replica(catalog)
    route = replica.follow(shadowed(models, share=0.3))

    async def run():
        for i in range(60):
            await replica.ask(route, key=f"user-{i}")
        await replica.answerer.settled()
        await replica.ledger.flush()

    asyncio.run(run())
    seen = sum(bool(route.shadowing(f"user-{i}")) for i in range(60))
    assert 0 < seen < 60
    assert replica.counts(3) == {("champion", "1"): (60, 0), ("shadow", "3"): (seen, 0)}


def test_a_shadow_that_raises_is_counted_and_touches_nobody(models, catalog):
    replica = Replica(catalog)
    route = replica.follow(shadowed(models))
    broken(route, "3")

    async def run():
        answers, _ = await replica.ask(route, 6)
        await replica.answerer.settled()
        await replica.ledger.flush()
        return answers

    assert {(a.arm.name, a.failover) for a in asyncio.run(run())} == {("champion", False)}
    assert replica.counts(3) == {("champion", "1"): (6, 0), ("shadow", "3"): (6, 6)}
    assert replica.series("model_errors_total")["3", "shadow"] == 6
    assert replica.opened == []


def test_a_shadow_that_hangs_holds_no_request_and_what_it_has_no_room_for_is_counted(models, catalog, monkeypatch):
    monkeypatch.setattr(shadow, "ROWS_UNDER_WAY", 4)
    replica = Replica(catalog)
    route = replica.follow(shadowed(models))
    go_on, real = threading.Event(), route.shadows[0].scorer.score_matrix

    def hang(matrix):
        assert go_on.wait(30)
        return real(matrix)

    route.shadows[0].scorer.score_matrix = hang

    async def run():
        answers, _ = await replica.ask(route, 10)
        assert not go_on.is_set()
        go_on.set()
        await replica.answerer.settled()
        again, _ = await replica.ask(route, 2)
        await replica.answerer.settled()
        await replica.ledger.flush()
        return answers + again

    assert {a.arm.name for a in asyncio.run(run())} == {"champion"}
    assert replica.series("shadow_requests_dropped_total") == {("3", None): 6}
    assert replica.counts(3) == {("champion", "1"): (12, 0), ("shadow", "3"): (6, 0)}


def test_a_shadow_with_other_categories_sees_the_rows_in_its_own_way(models, tmp_path, catalog):
    turned = train_small(tmp_path, seed=5, carriers=("UA", "AA", "B6"))
    replica = Replica(catalog)
    document = TrafficDocument("flights", 3, models[0].arm("1", 1.0), shadows=(turned.arm("3", 1.0),))
    route = replica.follow(document)

    async def run():
        _, matrix = await replica.ask(route, 12)
        await replica.answerer.settled()
        await replica.ledger.flush()
        return matrix

    matrix = asyncio.run(run())
    own = matrix.copy()
    own[:, 2] = [{0: 1, 1: 2, 2: 0}[int(code)] for code in matrix[:, 2]]
    found = {r["request_id"]: r["score"] for r in replica.recorded() if r["arm"] == "shadow"}
    wanted = expected(turned, own)
    np.testing.assert_allclose([found[f"q{i}#3"] for i in range(12)], wanted, atol=1e-6)

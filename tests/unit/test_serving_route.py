"""Arms are drawn by weight, models stay in memory for going back, waiting requests are scored together."""

import asyncio
import collections
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import xxhash

from serving_models import examples, train_small
from sluiceway.config.serving import BreakerSection
from sluiceway.core.errors import ModelError
from sluiceway.core.traffic import TrafficDocument
from sluiceway.serving.batching import ROWS_IN_TURN, TurnBatcher
from sluiceway.serving.route import CHALLENGER, CHAMPION, load_route, load_scorer


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [train_small(folder, seed=seed) for seed in (1, 2, 3)]


def two_arms(models, weight, generation=1):
    champion, challenger = models[0].arm("1", 1 - weight), models[1].arm("2", weight, "app")
    return TrafficDocument("fraud", generation, champion, (challenger,))


def test_a_key_stays_and_the_salt_is_the_documents(models):
    keys = [f"user-{i}" for i in range(2000)]
    first, second = (
        load_route(replace(two_arms(models, 0.25), salt=salt), {}, load=load_scorer)[0] for salt in ("r1", "r2")
    )
    for route, salt in ((first, "r1"), (second, "r2")):
        expected = [xxhash.xxh64_intdigest(f"{salt}\n{key}".encode()) / 2**64 < 0.25 for key in keys]
        assert [route.draw(key).name == CHALLENGER for key in keys] == expected
    assert [first.draw(key).name for key in keys] != [second.draw(key).name for key in keys]


def test_later_generations_only_add_to_a_cohort(models):
    keys = [f"user-{i}" for i in range(2000)]
    cohort = set()
    for generation, weight in enumerate((0.05, 0.25, 0.5, 1.0), start=1):
        document = replace(two_arms(models, weight, generation), salt="r1")
        route, _ = load_route(document, {}, load=load_scorer)
        now = {key for key in keys if route.draw(key).name == CHALLENGER}
        assert now >= cohort
        cohort = now
    assert cohort == set(keys)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("key", [None, ""])
def test_without_a_key_the_share_of_draws_is_the_weight(models, weight, key):
    route, _ = load_route(two_arms(models, weight), {}, load=load_scorer)
    n = 20_000
    names = collections.Counter(route.draw(key).name for _ in range(n))
    # Six standard errors, once in 500 million runs beyond; 0 and 1 have none.
    assert abs(names[CHALLENGER] / n - weight) <= 6 * math.sqrt(weight * (1 - weight) / n)


def test_an_open_breaker_gives_its_share_to_the_champion_and_a_new_generation_closes_it(models):
    document = TrafficDocument(
        "fraud",
        1,
        models[0].arm("1", 0.2),
        (models[1].arm("2", 0.4, "app"), models[2].arm("3", 0.4, "app3")),
        salt="r1",
    )
    keys = [f"user-{i}" for i in range(500)]
    limits = BreakerSection(errors_in_row=1)
    route, loaded = load_route(document, {}, load=load_scorer, breaker=limits)
    before = {key: route.draw(key) for key in keys}
    assert route.challengers[0].breaker.note(asked=0.0, done=0.1, failed=True)
    for key, arm in before.items():
        expected = route.champion if arm is route.challengers[0] else arm
        assert route.draw(key) is expected
    assert "2" not in {route.draw(None).arm.version for _ in range(200)}
    assert [(a["version"], round(a["weight"], 9), a.get("breaker")) for a in route.described()] == [
        ("1", 0.6, None),
        ("2", 0.0, "1 errors in a row"),
        ("3", 0.4, None),
    ]
    again, _ = load_route(replace(document, generation=2), loaded, load=load_scorer, breaker=limits)
    assert [again.draw(key).arm.version for key in keys] == [before[key].arm.version for key in keys]
    assert again.described()[1] == {"arm": "challenger", "version": "2", "weight": 0.4}


def test_a_challenger_that_is_left_out_moves_no_key_but_its_own(models):
    document = TrafficDocument(
        "fraud", 1, models[0].arm("1", 0.2), (models[1].arm("2", 0.4, "app"), models[2].arm("3", 0.4)), salt="r1"
    )
    whole, _ = load_route(document, {}, load=load_scorer)
    route, loaded = load_route(document, {}, load=load_scorer, absent={"2"})
    for key in [f"user-{i}" for i in range(500)]:
        version = whole.draw(key).arm.version
        assert route.draw(key).arm.version == ("1" if version == "2" else version)
    assert {entry["version"]: entry["weight"] for entry in route.described()} == {"1": 0.6, "3": 0.4}
    assert (list(route.pinned), len(loaded), route.remote) == (["1", "3"], 2, ())


def test_shadows_are_drawn_by_the_key_and_not_by_who_answers(models):
    document = TrafficDocument(
        "fraud",
        1,
        models[0].arm("1", 0.5),
        (models[1].arm("2", 0.5, "app"),),
        shadows=(models[2].arm("3", 0.2, "shadow"),),
        salt="r1",
    )
    route, _ = load_route(document, {}, load=load_scorer)
    keys = [f"user-{i}" for i in range(4000)]
    seen = [bool(route.shadowing(key)) for key in keys]
    assert seen == [xxhash.xxh64_intdigest(f"r1/shadow/3\n{key}".encode()) / 2**64 < 0.2 for key in keys]
    by_challenger = [is_seen for key, is_seen in zip(keys, seen, strict=True) if route.draw(key).name == CHALLENGER]
    assert abs(sum(by_challenger) / len(by_challenger) - 0.2) < 6 * math.sqrt(0.16 / len(by_challenger))
    assert abs(sum(bool(route.shadowing(None)) for _ in keys) / len(keys) - 0.2) < 6 * math.sqrt(0.16 / len(keys))


def test_every_version_can_be_asked_for_and_a_warm_one_is_in_memory(models):
    document = TrafficDocument(
        "fraud",
        1,
        models[0].arm("1", 0.5),
        (models[1].arm("2", 0.5, "app"),),
        warm=(models[2].arm("3", 0.0, "gone"),),
    )
    route, loaded = load_route(document, {}, load=load_scorer)
    assert {version: (arm.name, arm.arm.application) for version, arm in route.pinned.items()} == {
        "1": ("pinned", ""),
        "2": ("pinned", "app"),
        "3": ("pinned", ""),
    }
    assert models[2].bundle.digest in loaded
    assert [arm.arm.version for arm in route.arms] == ["1", "2"]
    assert [arm.arm.version for arm in route.remote] == ["2"]


def test_going_back_loads_nothing(models):
    loads = []

    def load(arm):
        loads.append(arm.version)
        return load_scorer(arm)

    first, loaded = load_route(TrafficDocument("fraud", 1, models[0].arm("1", 1.0)), {}, load=load)
    _, loaded = load_route(two_arms(models, 0.5, 2), loaded, load=load)
    promoted, loaded = load_route(TrafficDocument("fraud", 3, models[1].arm("2", 1.0)), loaded, load=load)
    back, _ = load_route(TrafficDocument("fraud", 4, models[0].arm("1", 1.0)), loaded, load=load)
    assert loads == ["2", "1"] or loads == ["1", "2"]
    assert back.champion.scorer is first.champion.scorer
    assert promoted.champion.name == CHAMPION


def test_memory_holds_a_few_models_only(models):
    loaded = {}
    for generation in range(1, 12):
        arm = models[generation % 3].arm(str(generation), 1.0)
        scorers = {f"{generation}-{i}": object() for i in range(3)}
        _, loaded = load_route(TrafficDocument("fraud", generation, arm), {**scorers, **loaded}, load=load_scorer)
        assert len(loaded) <= 4
        assert arm.digest in loaded


def test_a_bundle_with_another_digest_is_refused(models):
    arm = models[0].arm("1", 1.0)
    wrong = type(arm)(arm.version, arm.weight, arm.bundle, "0" * 64)
    with pytest.raises(ModelError, match="digest"):
        load_route(TrafficDocument("fraud", 1, wrong), {}, load=load_scorer)


def test_another_order_of_categories_is_noticed(models, tmp_path):
    turned = train_small(tmp_path, seed=5, carriers=("AA", "UA", "WN"))
    document = TrafficDocument("fraud", 1, models[0].arm("1", 0.5), (turned.arm("2", 0.5, "app"),))
    route, _ = load_route(document, {}, load=load_scorer)
    assert not route.challengers[0].encoded_like_champion
    same, _ = load_route(two_arms(models, 0.5), {}, load=load_scorer)
    assert same.challengers[0].encoded_like_champion


def test_requests_of_one_turn_are_scored_in_one_call():
    calls = []

    def score(matrix):
        calls.append(len(matrix))
        return matrix[:, 0].astype(np.float64)

    async def run():
        batcher = TurnBatcher()
        matrix, _ = examples(6, seed=1)
        parts = [matrix[:1], matrix[1:4], matrix[4:]]
        found = await asyncio.gather(*(batcher.score(score, part) for part in parts))
        for part, scores in zip(parts, found, strict=True):
            np.testing.assert_array_equal(scores, part[:, 0])
        await batcher.score(score, parts[0])

    asyncio.run(run())
    assert calls == [6, 1]


@pytest.mark.parametrize(("later", "calls"), [(1, [2]), (2, [2]), (3, [1, 1])])
def test_a_request_that_comes_a_turn_or_two_later_is_scored_in_the_same_call(later, calls):
    seen = []

    def score(matrix):
        seen.append(len(matrix))
        return matrix[:, 0].astype(np.float64)

    async def run():
        batcher, (matrix, _) = TurnBatcher(), examples(2, seed=1)
        first = batcher.score(score, matrix[:1])
        for _ in range(later):
            await asyncio.sleep(0)
        found = await asyncio.gather(first, batcher.score(score, matrix[1:]))
        np.testing.assert_array_equal(np.concatenate(found), matrix[:, 0])

    asyncio.run(run())
    assert seen == calls


def test_a_failure_reaches_every_request_of_the_turn():
    def fail(matrix):
        raise ValueError("broken")

    async def run():
        batcher = TurnBatcher()
        matrix, _ = examples(2, seed=1)
        results = await asyncio.gather(
            *(batcher.score(fail, matrix[i : i + 1]) for i in range(2)), return_exceptions=True
        )
        assert [type(result) for result in results] == [ValueError, ValueError]

    asyncio.run(run())


def test_a_large_request_is_scored_while_all_threads_wait_for_the_catalog():
    let_go = threading.Event()

    async def run():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(2))
        waiting = [loop.run_in_executor(None, let_go.wait) for _ in range(2)]
        matrix = np.zeros((ROWS_IN_TURN + 1, 3), np.float32)
        scores = await asyncio.wait_for(TurnBatcher().score(lambda rows: rows[:, 0], matrix), timeout=20)
        assert len(scores) == len(matrix)
        let_go.set()
        await asyncio.gather(*waiting)

    asyncio.run(run())

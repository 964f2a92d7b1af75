"""Arms are drawn by weight, models stay in memory for going back, waiting requests are scored together."""

import asyncio
import collections
import random

import numpy as np
import pytest

from serving_models import examples, train_small
from sluiceway.core.errors import ModelError
from sluiceway.core.traffic import TrafficDocument
from sluiceway.serving.batching import TurnBatcher
from sluiceway.serving.route import CHALLENGER, CHAMPION, load_route, load_scorer


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [train_small(folder, seed=seed) for seed in (1, 2, 3)]


def two_arms(models, weight, generation=1):
    champion, challenger = models[0].arm("1", 1 - weight), models[1].arm("2", weight, "app")
    return TrafficDocument("fraud", generation, champion, (challenger,))


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_the_share_of_draws_is_the_weight(models, weight):
    route, _ = load_route(two_arms(models, weight), {}, load=load_scorer)
    drawn = random.Random(7)
    names = collections.Counter(route.draw(drawn.random()).name for _ in range(20_000))
    # Five standard errors of a share of 1/4 in 20,000 draws; 0 and 1 have no error.
    assert abs(names[CHALLENGER] / 20_000 - weight) <= (0.0153 if 0 < weight < 1 else 0)


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

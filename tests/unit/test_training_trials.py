"""Trials in order of merit, and what the sampler draws from what it was told."""

import json
import math

import numpy as np
import pytest

from sluiceway.config.search import SearchSection
from sluiceway.training.optuna_draws import Draws
from sluiceway.training.trials import Trial, gain, ranked

SEARCH = SearchSection(
    space={
        "max_depth": {"whole": [1, 20]},
        "learning_rate": {"real": [0.001, 1.0], "log": True},
        "grow_policy": {"choice": ["depthwise", "lossguide"]},
    },
    trials=50,
)


def trial(number, *scores, status="finished", params=None, **more) -> Trial:
    return Trial(number, params or {}, scores, status, 1.0, **more)


def test_the_best_first_and_only_equals_are_compared():
    trials = [
        trial(0, 0.8, 0.9),
        trial(1, 0.99, status="stopped"),
        trial(2, status="failed", error="no"),
        trial(3, 0.9, 0.9),
        trial(4, 0.9, 0.9),
        trial(5, 0.7, 0.7),
        trial(6, 0.98, status="stopped"),
    ]
    assert [one.number for one in ranked(trials, maximise=True)] == [3, 4, 0, 5, 1, 6, 2]
    assert [one.number for one in ranked(trials, maximise=False)] == [5, 0, 3, 4, 6, 1, 2]


def test_a_trial_is_measured_against_the_configured_one_on_the_same_folds():
    configured = trial(0, 0.8, 0.6, 0.7)
    assert gain(trial(1, 0.9, status="stopped"), configured) == pytest.approx(0.1)
    assert gain(trial(1, 0.9, 0.7), configured) == pytest.approx(0.1)
    assert math.isnan(gain(trial(1, status="failed"), configured))


def test_a_trial_survives_json():
    one = trial(3, 0.1, 1 / 3, status="stopped", params={"max_depth": 3, "grow_policy": "depthwise"})
    assert Trial.from_dict(json.loads(json.dumps(one.to_dict()))) == one
    assert math.isnan(trial(1).score)


@pytest.mark.parametrize(
    ("given", "settled"),
    [
        (trial(1, 0.5), True),
        (trial(1, 0.5, status="stopped"), True),
        (trial(1, status="failed"), True),
        (trial(1, status="failed", lost=True), False),
        (trial(1, 0.5, status="cut"), False),
        (trial(1, 0.5, status="running"), False),
    ],
)
def test_only_what_another_try_would_find_again_is_settled(given, settled):
    assert given.is_settled is settled


def draws(*, seed=42, configured=None, maximise=True) -> Draws:
    return Draws(SEARCH, configured=configured or {}, seed=seed, maximise=maximise, side_by_side=False)


def scored(number, params) -> Trial:
    """A smooth score with its best at a depth of 12 and a rate of 0.1; every third trial is stopped early."""
    score = 1 - abs(params["max_depth"] - 12) / 20 - abs(math.log10(params["learning_rate"]) + 1) / 3
    if number % 3 == 0:
        return trial(number, score, status="stopped", params=params)
    return trial(number, score, score, params=params)


def searched(source: Draws, count: int, begin: int = 1) -> list[Trial]:
    found = []
    for number in range(begin, begin + count):
        found.append(scored(number, source.draw(number)))
        source.told(found[-1])
    return found


def test_number_0_is_the_configured_model_and_the_others_are_in_the_space():
    source = draws()
    assert source.draw(0) == {}
    for one in searched(source, 20):
        assert 1 <= one.params["max_depth"] <= 20
        assert isinstance(one.params["max_depth"], int)
        assert 0.001 <= one.params["learning_rate"] <= 1
        assert one.params["grow_policy"] in ("depthwise", "lossguide")


def test_a_seed_gives_the_same_draws_and_another_one_others():
    first, second = searched(draws(), 25), searched(draws(), 25)
    assert first == second
    other = searched(draws(seed=43), 25)
    assert all(one.params != two.params for one, two in zip(first, other, strict=True))
    assert len({json.dumps(one.params) for one in first}) == 25


@pytest.mark.parametrize("known", [3, 17])
def test_who_is_told_what_another_process_found_draws_what_it_would_have_drawn(known):
    whole = searched(draws(), 25)
    again = draws()
    for one in whole[:known]:
        again.told(one)
    assert searched(again, 25 - known, begin=known + 1) == whole[known:]


@pytest.mark.parametrize("maximise", [True, False])
def test_it_learns(maximise):
    """Later draws are better than the first ten, which are at random."""
    source = draws(maximise=maximise)
    found = [one.score for one in searched(source, 60)]
    early, late = np.mean(found[:10]), np.mean(found[-20:])
    assert late > early + 0.1 if maximise else late < early - 0.1


def test_the_configured_model_teaches_where_it_lies_in_the_space():
    inside = {"max_depth": 12, "learning_rate": 0.1, "grow_policy": "depthwise"}
    known = [trial(0, 0.9, 0.9)]
    drawn = {}
    for name, configured in (("inside", inside), ("outside", {**inside, "max_depth": 21}), ("untold", inside)):
        source = draws(configured=configured)
        for one in known if name != "untold" else ():
            source.told(one)
        drawn[name] = searched(source, 14)[-1].params  # the sampler leaves chance after ten trials
    assert drawn["inside"] != drawn["untold"]
    assert drawn["outside"] == drawn["untold"]


def test_a_trial_that_failed_teaches_nothing_and_harms_nothing():
    source = draws()
    source.told(trial(1, status="failed", params=source.draw(1), error="no"))
    assert set(source.draw(2)) == set(SEARCH.space)


def test_a_model_that_ran_away_is_never_the_best():
    away = [trial(0, 1.0), trial(1, math.inf), trial(2, math.nan)]
    assert ranked(away, maximise=False)[0].number == ranked(away, maximise=True)[0].number == 0

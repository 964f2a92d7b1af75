"""What two models said of the same requests, and what answers were worth, as the database adds it up."""

import math

import numpy as np
import pytest

from sluiceway.catalog.comparisons import SPREAD_ROWS, ComparisonStore
from sluiceway.catalog.folded import FoldedRequest, folded_body
from sluiceway.catalog.records import FeedbackRecord, PredictionRecord, RecordStore
from sluiceway.core.moments import Moments
from sluiceway.core.pairs import Scores

SEEN = ("fares", "2", (4, 5))


def pair(number, score, champion, *, decision=0.0, decided=0.0, **changes):
    record = PredictionRecord(
        f"r{number}", 1.0, "fares", 4, "challenger", "2", score, decision, "", "1", champion, decided
    )
    return record._replace(**changes)


def outcome(number, known, value=None):
    return FeedbackRecord(f"r{number}", known, 1.0, 1.0, value)


def same(found, values):
    values = np.asarray(values, dtype=float)
    assert found.n == len(values)
    assert (found.total, found.squares) == pytest.approx((values.sum(), np.square(values).sum()))


@pytest.fixture
def kept(catalog):
    """Nothing but pairs of the challenger in these generations is compared."""
    store = RecordStore(catalog)
    store.add_predictions(
        [
            pair(90, 0.9, 0.1, generation=3),
            pair(91, 0.9, 0.1, version="3"),
            pair(92, 0.9, 0.1, endpoint="fraud"),
            pair(93, 0.9, None, champion_version=None, champion_decision=None),
            pair(94, 0.9, 0.1, arm="shadow", request_id="r1#2"),
        ]
    )
    store.add_feedback("fares", [outcome(i, 1.0) for i in range(90, 95)])
    return store


def test_without_pairs_there_is_nothing(catalog, kept):
    store = ComparisonStore(catalog)
    assert store.score_shift(*SEEN, scores=Scores()) == {}
    assert store.loss(*SEEN, scores=Scores()) == {}
    assert store.values("fares", (4, 5), low=0, high=1) == {}
    assert store.spread("fares", "1") == (0, 0.0)


def test_of_two_classes_probabilities_and_their_log_loss_are_compared(catalog, kept):
    store = ComparisonStore(catalog)
    kept.add_predictions([pair(1, 0.7, 0.6), pair(2, 0.2, 0.5), pair(3, 0.9999, 0.5, generation=5), pair(4, 0.4, 0.4)])
    kept.add_feedback("fares", [outcome(1, 1.0), outcome(2, 1.0), outcome(3, 0.0)])
    shift = store.score_shift(*SEEN, scores=Scores())
    same(shift[4], [0.1, 0.3, 0.0])
    same(shift[5], [0.4999])
    loss = store.loss(*SEEN, scores=Scores())
    same(loss[4], [math.log(0.6 / 0.7), math.log(0.5 / 0.2)])
    same(loss[5], [math.log(0.5 / 0.01)])  # a certainty counts as 99 %
    assert loss[5].total <= Scores().largest_loss


def test_of_several_classes_the_decided_one_and_its_probability_are_compared(catalog, kept):
    store, scores = ComparisonStore(catalog), Scores("multiclass")
    kept.add_predictions(
        [
            pair(1, 0.7, 0.6, decision=3.0, decided=3.0),
            pair(2, 0.8, 0.8, decision=3.0, decided=7.0),
        ]
    )
    kept.add_feedback("fares", [outcome(1, 5.0), outcome(2, 7.0)])
    same(store.score_shift(*SEEN, scores=scores)[4], [0.1, 1.0])
    same(store.loss(*SEEN, scores=scores)[4], [math.log(0.4 / 0.3), math.log(0.8 / 0.2)])


def test_of_regressions_differences_are_in_spreads_and_bounded(catalog, kept):
    store, scores = ComparisonStore(catalog), Scores("regression", 10.0)
    kept.add_predictions([pair(1, 30.0, 25.0), pair(2, 500.0, 25.0), pair(3, 25.0, -500.0)])
    kept.add_feedback("fares", [outcome(i, 20.0) for i in (1, 2, 3)])
    same(store.score_shift(*SEEN, scores=scores)[4], [0.5, 4.0, 4.0])
    same(store.loss(*SEEN, scores=scores)[4], [0.5, 4.0, -4.0])


def test_values_are_brought_into_their_bounds_and_those_beyond_counted(catalog, kept):
    store = ComparisonStore(catalog)
    of_champion = {"arm": "champion", "version": "1", "champion_score": None}
    kept.add_predictions([pair(i, 0.5, 0.5, **({} if i < 3 else of_champion)) for i in range(6)])
    kept.add_predictions([pair(7, 0.5, 0.5, generation=5)])
    given = {0: 2.0, 1: -1.0, 2: None, 3: 5.0, 4: 50.0, 5: 10.0, 7: 0.0}
    kept.add_feedback("fares", [outcome(i, 1.0, value) for i, value in given.items()])
    found = store.values("fares", (4, 5), low=0.0, high=10.0)
    assert set(found) == {(4, "challenger", "2"), (4, "champion", "1"), (5, "challenger", "2")}
    same(found[4, "challenger", "2"].moments, [2.0, 0.0])
    same(found[4, "champion", "1"].moments, [5.0, 10.0, 10.0])
    assert [one.clipped for one in found.values()].count(0) == 1
    assert (found[4, "challenger", "2"].clipped, found[4, "champion", "1"].clipped) == (1, 1)
    assert found[5, "challenger", "2"].moments == Moments(1, 0.0, 0.0)


def test_of_two_values_of_a_request_the_first_stays(catalog, kept):
    kept.add_predictions([pair(1, 0.5, 0.5)])
    assert kept.add_feedback("fares", [outcome(1, 1.0, 3.0)]) == {"r1"}
    assert kept.add_feedback("fares", [outcome(1, 1.0, 9.0)]) == set()
    found = ComparisonStore(catalog).values("fares", (4,), low=0.0, high=10.0)
    assert found[4, "challenger", "2"].moments == Moments(1, 3.0, 9.0)


def test_the_spread_is_the_champion_s_own(catalog, kept):
    scores = np.random.default_rng(1).normal(5e6, 12.0, 500)
    kept.add_predictions([pair(i, score, None, arm="champion", version="1") for i, score in enumerate(scores, 100)])
    n, spread = ComparisonStore(catalog).spread("fares", "1")
    assert n == 500
    assert spread == pytest.approx(scores.std(), rel=1e-6)


def test_the_spread_counts_the_newest_rows_of_large_requests_too(catalog, kept):
    drawn = np.random.default_rng(2)

    def folded(number, scores, **changes):
        body = folded_body(scores, scores)
        request = FoldedRequest(f"q{number}", float(number), "fares", 4, "champion", "1", "", len(scores), body)
        return request._replace(**changes)

    large = [drawn.normal(5e6, 20.0, 1000) for _ in range(60)]
    kept.add_folded(
        [
            *(folded(i, scores) for i, scores in enumerate(large)),
            folded(100, large[0] * 9, version="2"),
            folded(101, large[0] * 9, endpoint="fraud"),
        ]
    )
    n, spread = ComparisonStore(catalog).spread("fares", "1")
    assert n == SPREAD_ROWS
    assert spread == pytest.approx(np.concatenate(large[-20:]).std(), rel=1e-6)
    single = drawn.normal(5e6 + 50, 12.0, 5000)
    kept.add_predictions([pair(i, score, None, arm="champion", version="1") for i, score in enumerate(single, 100)])
    n, spread = ComparisonStore(catalog).spread("fares", "1")
    assert n == SPREAD_ROWS + 5000
    assert spread == pytest.approx(np.concatenate([single, *large[-20:]]).std(), rel=1e-6)


def test_one_request_larger_than_the_sample_is_enough_for_the_spread(catalog, kept):
    scores = np.random.default_rng(3).normal(100.0, 20.0, 3 * SPREAD_ROWS + 7)
    kept.add_folded(
        [FoldedRequest("q", 1.0, "fares", 4, "champion", "1", "", len(scores), folded_body(scores, scores))]
    )
    n, spread = ComparisonStore(catalog).spread("fares", "1")
    assert SPREAD_ROWS / 2 < n <= SPREAD_ROWS
    assert spread == pytest.approx(20.0, rel=0.05)

"""Rows in time order against scikit-learn's TimeSeriesSplit, and columns that say the fold."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError
from sklearn.model_selection import TimeSeriesSplit

from sluiceway.config.experiment import DataSection, SplitSection
from sluiceway.core.errors import DataError
from sluiceway.data.given_folds import given_folds
from sluiceway.data.time_order import (
    LEFT_OUT,
    NO_FOLD,
    TimeCuts,
    check_cuts,
    fold_ranks,
    gap_ticks,
    part_ranks,
    place_in_time,
    ticks_of,
)

SPLIT = SplitSection(by="time", train=0.6, validation=0.2, test=0.2)


def cuts_of(ticks, folds, gap=0):
    ordered = np.sort(ticks)
    ranks = fold_ranks(len(ticks) * SPLIT.train, folds) + part_ranks(len(ticks), SPLIT)
    *starts, validation, test = (int(ordered[rank]) for rank in ranks)
    return TimeCuts(validation, test, tuple(starts), gap)


@pytest.mark.parametrize("gap", [0, 3])
@pytest.mark.parametrize("folds", [2, 4])
def test_folds_are_those_of_scikit_learn(folds, gap):
    ticks = np.arange(1000) * 1  # of the training part, 600 rows
    part, fold, since = place_in_time(ticks, cuts_of(ticks, folds, gap))
    train = np.flatnonzero(ticks < 600)
    peer = TimeSeriesSplit(n_splits=folds, test_size=600 // (folds + 1), gap=gap)
    for number, (seen, own) in enumerate(peer.split(train)):
        np.testing.assert_array_equal(np.flatnonzero((fold == number) & (ticks < 600)), own)
        mine = np.flatnonzero((since <= number) & (fold != number) & (ticks < 600))
        np.testing.assert_array_equal(mine, seen)
    assert (part[: 600 - gap] == 0).all()
    assert (part[600 - gap : 600] == (LEFT_OUT if gap else 0)).all()
    assert (part[800:] == 2).all()


def test_the_future_is_never_trained_on():
    random = np.random.default_rng(0)
    ticks = random.integers(0, 500, 3000)
    cuts = cuts_of(ticks, 5, gap=7)
    part, fold, since = place_in_time(ticks, cuts)
    assert ticks[part == 0].max() < cuts.validation - 7
    assert ticks[part == 1].min() >= cuts.validation
    assert ticks[part == 1].max() < cuts.test - 7
    assert ticks[part == 2].min() >= cuts.test
    for number in range(5):
        own = ticks[(fold == number) & (part == 0)]
        seen = ticks[(since <= number) & (fold != number) & (part == 0)]
        assert seen.max() < own.min() - 7
    assert set(np.unique(fold)) == {0, 1, 2, 3, 4, NO_FOLD}


def test_times_of_any_type_are_ticks():
    start = datetime(2024, 1, 1, tzinfo=UTC)
    times = [start + timedelta(hours=i) for i in range(3)]
    micros = [int(time.timestamp() * 1e6) for time in times]
    for unit in ("s", "ms", "us", "ns"):
        for zone in (None, "UTC", "Europe/Berlin"):
            values = [time.replace(tzinfo=None) for time in times] if zone is None else times
            assert ticks_of(pa.chunked_array([pa.array(values, pa.timestamp(unit, zone))]), "t").tolist() == micros
    days = pa.chunked_array([pa.array([date(1970, 1, 2), date(1969, 12, 31)])])
    assert ticks_of(days, "t").tolist() == [86_400_000_000, -86_400_000_000]
    assert ticks_of(pa.chunked_array([pa.array([3, -1], pa.int16())]), "t").tolist() == [3, -1]


@pytest.mark.parametrize(
    ("column", "told"),
    [
        (pa.array(["2024-01-01"]), "has type string"),
        (pa.array([1.5]), "has type double"),
        (pa.array([1, None]), "missing in 1 rows"),
    ],
)
def test_columns_that_are_no_time(column, told):
    with pytest.raises(DataError, match=told):
        ticks_of(pa.chunked_array([column]), "t")


def test_gaps():
    day = 86_400_000_000
    assert gap_ticks("7d", pa.timestamp("us"), "t") == 7 * day
    assert gap_ticks("1.5h", pa.date32(), "t") == day // 16
    assert gap_ticks("30m", pa.timestamp("s", "UTC"), "t") == 1_800_000_000
    assert gap_ticks(5, pa.int64(), "t") == 5
    assert gap_ticks(0, pa.timestamp("us"), "t") == 0
    with pytest.raises(DataError, match="holds times"):
        gap_ticks(5, pa.timestamp("us"), "t")
    with pytest.raises(DataError, match="holds numbers"):
        gap_ticks("5d", pa.int32(), "t")


def test_too_few_times():
    with pytest.raises(DataError, match="too few different values"):
        check_cuts(cuts_of(np.repeat([1, 2, 3], 100), 5), "t")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"split": {"by": "time"}}, "data.time has to be given"),
        ({"split": {"by": "group"}}, "data.group has to be given"),
        ({"split": {"gap": "3d"}}, "belongs to data.split.by: time"),
        ({"time": "t", "split": {"by": "time", "gap": "3 days"}}, "a time such as 7d"),
        ({"time": "t", "split": {"by": "time", "gap": -1}}, "at least 0"),
    ],
)
def test_sections_that_do_not_fit(given, told):
    with pytest.raises(ValidationError, match=told):
        DataSection(path="x", features=("a",), target="y", **given)


def test_given_folds():
    column = pa.chunked_array([pa.array([0, 1, None, -1, 2], pa.int8())])
    assert given_folds(column, "f", 3).tolist() == [0, 1, NO_FOLD, NO_FOLD, 2]
    with pytest.raises(DataError, match="holds 2; there are 2 folds"):
        given_folds(column, "f", 2)
    with pytest.raises(DataError, match="has type double"):
        given_folds(pa.chunked_array([pa.array([0.0])]), "f", 2)

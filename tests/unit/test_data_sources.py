"""The two sources of the demo: flights that are real, transactions whose truth is known."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sklearn.metrics import roc_auc_score

from sluiceway.core.errors import DataError
from sluiceway.data import source_flights
from sluiceway.data.fraud_rows import BLOCK_ROWS, DRIFTED, ORDINARY, SCHEMA, blocks
from sluiceway.data.generate_fraud import attainable


@pytest.fixture(scope="module")
def february() -> pa.Table:
    return source_flights.flights_month(2)


def test_flights_of_a_month(february):
    assert february.schema == source_flights.SCHEMA
    assert february.num_rows == 23_611
    assert set(february["month"].to_pylist()) == {2}
    counted = february.group_by(list(source_flights.KEY)).aggregate([([], "count_all")])
    assert counted.num_rows == february.num_rows
    assert 0.2 < pc.mean(february["late"]).as_py() < 0.25
    assert february["dep_delay"].null_count == 0
    first = february.filter(pc.equal(february["day"], 1))
    assert set(first["weekday"].to_pylist()) == {4}  # 2013-02-01 was a Friday
    assert pc.min_max(february["sched_air_minutes"]).as_py()["min"] >= 0
    assert february["temp"].null_count < 100 < february["wind_gust"].null_count


def test_a_flight_by_hand():
    january = source_flights.flights_month(1)
    flight = january.slice(0, 1).to_pylist()[0]
    # UA1545 on 1 January: scheduled 05:15, left 2 minutes late, scheduled at 08:19 and there at 08:30, 11 minutes late.
    expected = {"carrier": "UA", "flight": 1545, "origin": "EWR", "dest": "IAH", "sched_dep_minutes": 315}
    expected |= {"sched_air_minutes": 184, "dep_delay": 2, "distance": 1400, "weekday": 1, "late": 0, "temp": 39.02}
    assert {name: flight[name] for name in expected} == expected


def test_flights_that_do_not_exist(monkeypatch):
    with pytest.raises(DataError, match="no month 13"):
        source_flights.flights_month(13)
    monkeypatch.setattr(source_flights, "SOURCE", "a_package_that_nobody_has")
    with pytest.raises(DataError, match=r"sluiceway\[demo\]"):
        source_flights.flights_month(1)


def test_corruption_keeps_the_distribution_and_breaks_the_row():
    table = pa.table({"id": range(1000), "x": pa.array(range(1000), pa.int32())})
    broken = source_flights.corrupt(table, column="x", share=0.5, seed=3)
    assert broken.schema == table.schema
    assert broken["id"].equals(table["id"])
    assert sorted(broken["x"].to_pylist()) == list(range(1000))
    moved = sum(a != b for a, b in zip(broken["x"].to_pylist(), table["x"].to_pylist(), strict=True))
    assert 490 <= moved <= 500
    assert broken.equals(source_flights.corrupt(table, column="x", share=0.5, seed=3))
    assert not broken.equals(source_flights.corrupt(table, column="x", share=0.5, seed=4))
    with pytest.raises(DataError, match="no column 'y'"):
        source_flights.corrupt(table, column="y", share=0.5, seed=3)


def transactions(rows: int, *, seed: int = 42, behaviour=ORDINARY) -> tuple[pa.Table, np.ndarray]:
    made = list(blocks(rows=rows, seed=seed, behaviour=behaviour))
    return pa.Table.from_batches([batch for batch, _ in made], SCHEMA), np.concatenate([chance for _, chance in made])


def test_transactions_are_the_same_for_a_seed():
    rows, chances = transactions(BLOCK_ROWS + 100)
    again, same = transactions(BLOCK_ROWS + 100)
    assert rows.equals(again)
    np.testing.assert_array_equal(chances, same)
    assert not rows.equals(transactions(BLOCK_ROWS + 100, seed=43)[0])
    assert len(pc.unique(rows["transaction_id"])) == rows.num_rows
    assert pc.all(pc.less_equal(rows["event_time"][:-1], rows["event_time"][1:])).as_py()


def test_transactions_have_the_promised_shape():
    rows, chances = transactions(200_000)
    assert 0.01 < pc.mean(rows["is_fraud"]).as_py() < 0.025
    assert pc.mean(rows["is_fraud"]).as_py() == pytest.approx(chances.mean(), abs=4 * np.sqrt(0.02 / 200_000))
    assert 0 < rows["time_since_last_transaction"].null_count < 2_000
    assert len(pc.unique(rows["merchant_category"])) == 15
    hours = np.bincount(pc.hour(rows["event_time"]).to_numpy(), minlength=24)
    assert hours[18] > 5 * hours[3]
    months = np.bincount(pc.month(rows["event_time"]).to_numpy(), minlength=13)
    assert months[12] > 1.3 * months[1]


def test_attainable_numbers():
    rows, chances = transactions(200_000)
    labels = rows["is_fraud"].to_numpy()
    best = attainable(chances)
    assert best["best_auc"] == pytest.approx(roc_auc_score(labels, chances), abs=0.01)
    taken = chances >= best["best_threshold"]
    assert best["best_precision"] == pytest.approx(labels[taken].mean(), abs=0.02)
    assert best["best_recall"] == pytest.approx(labels[taken].sum() / labels.sum(), abs=0.02)
    # Two levels by hand: the AUC of expectations is (0.9 * 0.9 + 0.5 * (0.9 * 0.1 + 0.1 * 0.9)) with equal groups.
    assert attainable(np.array([0.9, 0.9, 0.1, 0.1]))["best_auc"] == pytest.approx(0.9)


def test_ordinary_transactions_pass_the_thresholds_of_users_and_drifted_ones_do_not():
    limits = {"best_auc": 0.95, "best_precision": 0.90, "best_recall": 0.85}
    ordinary = attainable(transactions(200_000)[1])
    drifted = attainable(transactions(200_000, behaviour=DRIFTED)[1])
    assert all(limit < ordinary[name] for name, limit in limits.items())
    assert all(limit > drifted[name] + 0.01 for name, limit in limits.items())

"""``sluiceway monitor archive``: between rollouts nobody else takes records out of the catalog."""

import json
import time

import pytest

from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.records import FeedbackRecord, PredictionRecord, RecordStore
from sluiceway.catalog.rollouts import JournalRow, RolloutStore
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.cli.main import run_command
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.data.tables import open_table
from sluiceway.rollout.state import Phase, RolloutState

SETTINGS = "experiment: {name: x}\ndata: {path: t, features: [fare], target: late}\n"


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".sluiceway"


@pytest.fixture
def two_endpoints(state):
    engine, then = open_catalog(f"sqlite:///{state / 'catalog.db'}"), time.time() - 60
    records = RecordStore(engine)
    for endpoint, judged in (("fares", 2), ("fraud", 3)):
        TrafficStore(engine).publish(TrafficDocument(endpoint, 1, Arm("1", 1.0, "x", "d")))
        ids = [f"r{i}" for i in range(5)]
        records.add_predictions(PredictionRecord(one, then, endpoint, 1, "champion", "1", 0.7, 1.0) for one in ids)
        records.add_feedback(endpoint, [FeedbackRecord(one, 1.0, then, then) for one in ids[:judged]])
    engine.dispose()


def archived(capsys, *arguments):
    assert run_command(["monitor", "archive", *arguments, "--json"]) == 0
    return {row["endpoint"]: row["rows"] for row in json.loads(capsys.readouterr().out)}


def test_all_endpoints_or_one(state, two_endpoints, capsys):
    assert archived(capsys, "fraud") == {"fraud": 3}
    assert not (state / "records" / "fares").exists()
    assert archived(capsys) == {"fares": 2, "fraud": 0}
    assert open_table(str(state / "records" / "fares")).to_pyarrow_table().num_rows == 2


def test_the_status_is_a_table_for_people_and_numbers_for_programs(state, two_endpoints, capsys):
    assert run_command(["monitor", "status", "--json"]) == 0
    fares, _ = json.loads(capsys.readouterr().out)
    low, high = fares.pop("interval")
    assert 0 < low < high == pytest.approx(1)
    assert fares == {
        "endpoint": "fares",
        "version": "1",
        "arm": "champion",
        "predictions": 5,
        "with_outcome": 2,
        "accuracy": 1.0,
    }
    assert run_command(["monitor", "status"]) == 0
    assert "with outcome" in (printed := capsys.readouterr().out)
    assert f"1.0000    [{low:.4f}, 1.0000]" in printed


def test_how_long_a_prediction_waits_is_a_key_of_the_configuration(state, two_endpoints, tmp_path, capsys):
    config = tmp_path / "sluiceway.yaml"
    config.write_text(SETTINGS + "platform: {serving: {wait_for_outcome_days: 0.0001}}\n")
    assert archived(capsys, "--config", str(config)) == {"fares": 5, "fraud": 5}
    engine = open_catalog(f"sqlite:///{state / 'catalog.db'}")
    came = time.time() - 3_600
    RecordStore(engine).add_feedback("fares", [FeedbackRecord(name, 1.0, came, came) for name in ("r4", "nobody")])
    engine.dispose()
    assert run_command(["monitor", "archive", "fares", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    told = {"rows": 0, "late_outcomes": 1, "unmatched_outcomes": 0, "kept_for_rollout": ""}
    assert told == {name: row[name] for name in told}
    assert run_command(["monitor", "archive", "fares", "--config", str(config), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["late_outcomes"], row["unmatched_outcomes"]) == (0, 1)
    assert run_command(["monitor", "archive", "fares"]) == 0
    assert "unmatched outcomes" in capsys.readouterr().out
    config.write_text(SETTINGS + "platform: {serving: {wait_for_outcome_days: 0}}\n")
    assert run_command(["monitor", "archive", "--config", str(config)]) == 2
    assert "wait_for_outcome_days" in capsys.readouterr().err


def test_records_that_a_rollout_is_judged_by_stay(state, two_endpoints, capsys):
    engine = open_catalog(f"sqlite:///{state / 'catalog.db'}")
    rollouts = RolloutStore(engine)
    for endpoint in ("fares", "fraud"):
        rollouts.create(f"of-{endpoint}", endpoint=endpoint, plan="{}", now=time.time() - 90)
        state_of = RolloutState(Phase.ROLLED_BACK if endpoint == "fraud" else Phase.STEP)
        rollouts.append(f"of-{endpoint}", JournalRow(1, state_of.to_json(), "begins", "{}", time.time()))
    engine.dispose()
    assert run_command(["monitor", "archive", "--json"]) == 0
    told = {row["endpoint"]: (row["rows"], row["kept_for_rollout"]) for row in json.loads(capsys.readouterr().out)}
    assert told == {"fares": (0, "of-fares"), "fraud": (3, "")}


def test_outcomes_that_a_rollout_counts_as_lost_are_not_set_aside(state, two_endpoints, tmp_path, capsys):
    config, came = tmp_path / "sluiceway.yaml", time.time() - 1_000
    config.write_text(SETTINGS + "platform: {serving: {wait_for_outcome_days: 0.0001}}\n")
    archived(capsys)
    engine = open_catalog(f"sqlite:///{state / 'catalog.db'}")
    RolloutStore(engine).create("now", endpoint="fares", plan="{}", now=came - 10)
    RolloutStore(engine).append("now", JournalRow(1, RolloutState(Phase.STEP).to_json(), "begins", "{}", came))
    for endpoint in ("fares", "fraud"):
        RecordStore(engine).add_feedback(endpoint, [FeedbackRecord("nobody", 1.0, came, came)])
    engine.dispose()
    assert run_command(["monitor", "archive", "--config", str(config), "--json"]) == 0
    told = {row["endpoint"]: row["unmatched_outcomes"] for row in json.loads(capsys.readouterr().out)}
    assert told == {"fares": 0, "fraud": 1}


def test_an_unknown_endpoint_is_one_error(two_endpoints, capsys):
    assert run_command(["monitor", "archive", "frauds"]) == 2
    assert "there are fares, fraud" in capsys.readouterr().err


def test_where_there_is_no_catalog_none_is_made(state, capsys):
    assert archived(capsys) == {}
    assert not state.exists()

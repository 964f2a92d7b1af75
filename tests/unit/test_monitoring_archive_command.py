"""``sluiceway monitor archive``: between rollouts nobody else takes records out of the catalog."""

import json
import time

import pytest

from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.records import FeedbackRecord, PredictionRecord, RecordStore
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.cli.main import run_command
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.data.tables import open_table


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


def test_an_unknown_endpoint_is_one_error(two_endpoints, capsys):
    assert run_command(["monitor", "archive", "frauds"]) == 2
    assert "there are fares, fraud" in capsys.readouterr().err


def test_where_there_is_no_catalog_none_is_made(state, capsys):
    assert archived(capsys) == {}
    assert not state.exists()

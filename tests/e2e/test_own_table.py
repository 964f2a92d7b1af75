"""A table of one's own: `sluiceway init` drafts a configuration, and it runs as it was drafted."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import yaml

from command_line import sluiceway
from sluiceway.data.commit import append

ROWS = 8_000

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("on_the_sessions_ray")]


def flats(seed: int) -> pa.Table:
    """Rents of flats, known to 120 of their currency: R2 of the best model is about 0.86."""
    rng = np.random.default_rng(seed)
    area, floor = rng.gamma(9.0, 8.0, ROWS), rng.integers(0, 12, ROWS)
    place = rng.choice(["centre", "north", "south"], ROWS)
    rent = 200 + 11 * area + 9 * floor + np.where(place == "centre", 300, 0) + rng.normal(0, 120, ROWS)
    return pa.table(
        {
            "flat_id": np.arange(ROWS) + seed * ROWS,
            "area": pa.array(area, mask=rng.random(ROWS) < 0.02),
            "floor": floor,
            "place": place,
            "described": [f"flat {i}" for i in range(ROWS)],
            "seen": pa.array(np.arange(ROWS) * 1_000_000).cast(pa.timestamp("us")),
            "rent": rent,
        }
    )


@pytest.fixture(scope="module")
def rents(tmp_path_factory, on_the_sessions_ray):
    """Drafted for a number: a regression."""
    folder = tmp_path_factory.mktemp("rents")
    append(str(folder / "flats"), flats(1), message="first", source="test")
    return folder, sluiceway(folder, "init", "--table", "flats", "--target", "rent")


def test_a_draft_says_what_it_left_out(rents):
    _, said = rents
    assert set(said["left_out"]) == {"flat_id", "described", "seen"}
    assert said["config"]["data"]["features"] == ["area", "floor", "place"]
    assert said["config"]["data"]["key"] == ["flat_id"]
    assert said["config"]["model"]["type"] == "XGBRegressor"
    assert said["config"]["evaluation"]["data_quality"]["allow_null"] == ["area"]


def test_a_draft_is_checked_without_touching_anything(rents):
    folder, _ = rents
    before = sorted(path.name for path in folder.iterdir())
    plan = sluiceway(folder, "run", "sluiceway.yaml", "--dry-run")
    assert plan["parameters"]["objective"] == "reg:squarederror"
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_second_draft_does_not_write_over_the_first(rents):
    folder, _ = rents
    assert "exists" in sluiceway(folder, "init", "--table", "flats", "--target", "rent", expect=2)["message"]


@pytest.mark.soak
def test_a_drafted_regression_runs_to_its_end(rents):
    folder, _ = rents
    summary = sluiceway(folder, "run", "sluiceway.yaml")
    steps = {step["name"].rpartition(": ")[2]: step for step in summary["steps"]}
    assert summary["exit_code"] == 0
    assert steps["production"]["headline"].startswith("promoted")
    assert any(line.startswith("performance r2 0.8") for line in steps["gates"]["details"])


@pytest.mark.soak
def test_a_second_regression_is_promoted_by_its_error_and_not_by_an_accuracy_that_it_cannot_have(rents):
    folder, said = rents
    assert said["config"]["deployment"]["margins"] == {"loss": 0.05, "scale": pytest.approx(324, abs=30)}
    sluiceway(folder, "run", "sluiceway.yaml")  # the first one; it is only told again where it ran before
    append(str(folder / "flats"), flats(2), message="second", source="test")
    steps = "deployment.steps=[{weight: 0.5, max_seconds: 15}, {weight: 1.0, max_seconds: 15}]"
    latency = "deployment.margins.latency_p99_seconds=0.5"
    more = ("--set", steps, "--set", latency)
    refused = sluiceway(folder, "run", "sluiceway.yaml", *more, "--set", "deployment.margins.loss=null", expect=2)
    assert "have no accuracy to be judged by" in refused["message"]
    summary = sluiceway(folder, "run", "sluiceway.yaml", *more)
    last = summary["steps"][-1]
    assert last["headline"].startswith("promoted")
    assert any(line.strip().startswith("canary loss") for line in last["details"]), last


def test_a_draft_for_text_takes_classes_and_what_cannot_be_learnt_is_refused(tmp_path, on_the_sessions_ray):
    rows = flats(1).set_column(0, "shop_id", pa.array(np.arange(ROWS) % 30))
    rows = rows.append_column("class", pa.array(np.array(["low", "mid", "high"])[np.arange(ROWS) % 3]))
    rows = rows.append_column("furnished", pa.array(np.array(["yes", "no"])[np.arange(ROWS) % 2]))
    rows = rows.append_column("country", pa.array(["AT"] * ROWS))
    append(str(tmp_path / "flats"), rows, message="first", source="test")
    config = sluiceway(tmp_path, "init", "--table", "flats", "--target", "class")
    assert config["config"]["model"]["type"] == "XGBClassifier"
    assert config["config"]["evaluation"]["metrics"] == ["auc_roc", "accuracy", "log_loss", "f1_macro"]
    assert config["left_out"]["country"] == "it has one value"
    assert "key" not in config["config"]["data"]  # a shop has many flats
    assert sluiceway(tmp_path, "run", "sluiceway.yaml", "--dry-run")["parameters"]["eval_metric"] == "auc"
    for target, told in (("furnished", "two classes that are not 0 and 1"), ("country", "one class, AT")):
        refused = sluiceway(tmp_path, "init", "--table", "flats", "--target", target, "--out", "x.yaml", expect=2)
        assert told in refused["message"]
    assert not (tmp_path / "x.yaml").exists()


@pytest.fixture(scope="module")
def transactions(tmp_path_factory, on_the_sessions_ray):
    """Drafted for a class."""
    folder = tmp_path_factory.mktemp("transactions")
    sluiceway(folder, "data", "generate", "fraud", "--rows", "30000", "--seed", "7")
    return folder, sluiceway(folder, "init", "--table", "data/fraud@v2.1", "--target", "is_fraud")


def test_a_draft_for_transactions_is_one_that_can_be_run(transactions):
    folder, said = transactions
    assert said["config"]["model"]["type"] == "XGBClassifier"
    assert said["config"]["data"]["version"] == "v2.1"
    assert "event_time" in said["left_out"]
    assert yaml.safe_load((folder / "sluiceway.yaml").read_text()) == said["config"]
    plan = sluiceway(folder, "run", "sluiceway.yaml", "--dry-run")
    assert plan["parameters"]["objective"] == "binary:logistic"
    assert "30,000 rows" in plan["table"]


@pytest.mark.soak
def test_a_draft_for_transactions_runs_to_its_end(transactions):
    summary = sluiceway(transactions[0], "run", "sluiceway.yaml")
    assert [step["status"] for step in summary["steps"]] == ["PASS"] * 4

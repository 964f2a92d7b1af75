"""Accuracy as a recorder shows it: by outcomes that came lately, of the arms that serve."""

import shutil

import pytest

from serving_models import train_minutes, train_small
from sluiceway.catalog.outcomes import JudgedPrediction, OutcomeStore
from sluiceway.catalog.records import FeedbackRecord, PredictionRecord, RecordStore
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.core.traffic import TrafficDocument
from sluiceway.monitoring.archive import archive
from sluiceway.serving import judging as judging_module
from sluiceway.serving.judging import Judging
from sluiceway.serving.rolling_accuracy import AGAIN_SECONDS, RollingAccuracy

NOW = 1_000_000_000.0


class World:
    """A catalog with one endpoint's records."""

    def __init__(self, catalog):
        self.records, self.outcomes, self.traffic = RecordStore(catalog), OutcomeStore(catalog), TrafficStore(catalog)

    def predicted(self, name, decision=1.0, *, arm="champion", version="1", endpoint="fraud", time=NOW):
        self.records.add_predictions([PredictionRecord(name, time, endpoint, 1, arm, version, 0.7, decision)])

    def came(self, name, outcome=1.0, *, endpoint="fraud", at=NOW):
        self.records.add_feedback(endpoint, [FeedbackRecord(name, outcome, at, at)])


@pytest.fixture
def world(catalog):
    return World(catalog)


def rolling(world, window=3600.0):
    return RollingAccuracy(lambda since: world.outcomes.judged_since("fraud", since), window=window)


def test_outcomes_are_counted_once_by_version_and_arm(world):
    for i in range(6):
        world.predicted(f"r{i}", float(i % 2))
        world.came(f"r{i}")
    world.predicted("c", 1.0, arm="challenger", version="2")
    world.came("c")
    world.predicted("elsewhere", 1.0, endpoint="flights")
    world.came("elsewhere", endpoint="flights")
    world.came("elsewhere")
    # One id at two endpoints: each outcome is its own endpoint's.
    for endpoint, outcome in (("fraud", 0.0), ("flights", 1.0)):
        world.predicted("both", 1.0, endpoint=endpoint)
        world.came("both", outcome, endpoint=endpoint)
    world.predicted("no outcome")
    world.came("no prediction")
    accuracy = rolling(world)
    for second in range(3):
        accuracy.refresh(NOW + second)
        assert accuracy.counts() == {("1", "champion"): (7, 3), ("2", "challenger"): (1, 1)}


def test_a_prediction_that_is_written_after_its_outcome_is_counted(world):
    accuracy = rolling(world)
    world.came("late")
    accuracy.refresh(NOW + 1)
    assert accuracy.counts() == {}
    world.predicted("late")
    accuracy.refresh(NOW + 5)
    assert accuracy.counts() == {("1", "champion"): (1, 1)}


def test_what_is_archived_stays_counted_and_what_is_old_goes(world, catalog, tmp_path):
    accuracy = rolling(world)
    world.predicted("a")
    world.came("a")
    accuracy.refresh(NOW + 1)
    assert archive(world.outcomes, tmp_path, endpoint="fraud", cutoff=NOW + 10, wait=86_400.0) == 1
    accuracy.refresh(NOW + AGAIN_SECONDS * 2)
    assert accuracy.counts() == {("1", "champion"): (1, 1)}
    accuracy.refresh(NOW + 3700)
    assert accuracy.counts() == {}


def test_a_new_recorder_begins_with_what_the_catalog_has_of_the_window(world):
    for name, at in (("old", NOW - 4000), ("new", NOW - 3000)):
        world.predicted(name)
        world.came(name, at=at)
    accuracy = rolling(world)
    accuracy.refresh(NOW)
    assert accuracy.counts() == {("1", "champion"): (1, 1)}


def test_what_is_remembered_does_not_grow():
    one = [JudgedPrediction(f"r{i}", NOW + i, "1", "champion", True) for i in range(20_000)]
    accuracy = RollingAccuracy(lambda since: [judged for judged in one if since <= judged.received <= now])
    for second in range(0, 20_000, 50):
        now = NOW + second
        accuracy.refresh(now)
    assert len(accuracy._counted) <= AGAIN_SECONDS + 1
    assert len(accuracy._buckets) <= 362
    assert accuracy.counts()[("1", "champion")][0] == pytest.approx(3600, abs=10)


def test_arms_that_serve_are_there_before_their_first_outcome(world, tmp_path, monkeypatch):
    models = {version: train_small(tmp_path, seed=int(version)) for version in ("1", "2", "3")}
    document = TrafficDocument(
        "fraud", 1, models["1"].arm("1", 0.9), (models["2"].arm("2", 0.1),), shadows=(models["3"].arm("3", 1.0),)
    )
    judging = Judging("fraud", outcomes=world.outcomes, traffic=world.traffic)
    assert judging.judged(NOW) == {}
    world.traffic.publish(document)
    nothing = {("1", "champion"): (0, 0), ("2", "challenger"): (0, 0), ("3", "shadow"): (0, 0)}
    assert judging.judged(NOW) == nothing
    world.predicted("r/0")
    world.predicted("r/0#3", 0.0, arm="shadow", version="3")
    world.came("r/0", 0.0)
    assert judging.judged(NOW + 5) == nothing | {("1", "champion"): (1, 0), ("3", "shadow"): (1, 1)}
    monkeypatch.setattr(judging_module, "REGRESSION", "binary")
    assert set(judging.judged(NOW + 9).values()) == {None}


def test_a_regression_has_no_accuracy_when_it_serves_no_more_either(world, tmp_path):
    models = {version: train_minutes(tmp_path, seed=int(version)) for version in ("1", "2", "3")}
    world.traffic.publish(TrafficDocument("fraud", 1, models["1"].arm("1", 1.0)))
    world.predicted("a", 12.3)
    world.came("a", 12.9)
    judging = Judging("fraud", outcomes=world.outcomes, traffic=world.traffic)
    assert judging.judged(NOW) == {("1", "champion"): None}
    # The second one comes and goes between two looks; another recorder has seen none of them serve.
    for generation, version in ((2, "2"), (3, "3")):
        world.traffic.publish(TrafficDocument("fraud", generation, models[version].arm(version, 1.0)))
    world.predicted("b", 12.3, version="2")
    world.came("b", 12.9)
    nothing = {("1", "champion"): None, ("2", "champion"): None, ("3", "champion"): None}
    assert judging.judged(NOW + 5) == nothing
    assert Judging("fraud", outcomes=world.outcomes, traffic=world.traffic).judged(NOW + 5) == nothing


def test_what_has_classes_keeps_its_accuracy_when_it_serves_no_more(world, tmp_path):
    for generation in (1, 2):
        arm = train_small(tmp_path, seed=generation).arm(str(generation), 1.0)
        world.traffic.publish(TrafficDocument("fraud", generation, arm))
    world.predicted("a")
    world.came("a")
    world.predicted("of nobody", version="77")
    world.came("of nobody")
    judging = Judging("fraud", outcomes=world.outcomes, traffic=world.traffic)
    found = {("1", "champion"): (1, 1), ("2", "champion"): (0, 0), ("77", "champion"): None}
    assert judging.judged(NOW) == judging.judged(NOW + 5) == found


def test_an_arm_whose_bundle_is_gone_costs_nobody_else_the_accuracy(world, tmp_path, caplog):
    champion, seeing = (train_small(tmp_path, seed=seed) for seed in (1, 2))
    world.traffic.publish(TrafficDocument("fraud", 1, champion.arm("1", 1.0), shadows=(seeing.arm("2", 1.0),)))
    world.predicted("a")
    world.came("a")
    aside = seeing.folder.rename(tmp_path / "aside")
    judging = Judging("fraud", outcomes=world.outcomes, traffic=world.traffic)
    for second in range(3):
        assert judging.judged(NOW + second) == {("1", "champion"): (1, 1), ("2", "shadow"): None}
    (record,) = caplog.records
    assert "fraud: the accuracy of version 2 is not known: " in record.getMessage()
    shutil.copytree(aside, seeing.folder)
    assert judging.judged(NOW + 3) == {("1", "champion"): (1, 1), ("2", "shadow"): (0, 0)}

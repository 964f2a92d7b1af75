"""A regression is neither right nor wrong: its outcomes are counted, and no accuracy is told."""

from __future__ import annotations

import shutil

import pytest

from serving_models import train_small
from sluiceway.catalog.outcomes import OutcomeStore
from sluiceway.catalog.records import FeedbackRecord, PredictionRecord, RecordStore
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.monitoring.accuracy import observed_accuracy
from sluiceway.monitoring.regressions import Regressions
from sluiceway.registry.bundle import Bundle
from sluiceway.registry.store import BundleStore

NOW = 1_900_000_000.0


def served(catalog, folder, *, kind):
    """Version 1 of an endpoint, with an outcome that its decision is not."""
    small = train_small(folder, seed=1).bundle
    decision = {"kind": "regression"} if kind == "regression" else small.decision
    made = Bundle(small.model, small.schema, decision, small.lineage)
    place = BundleStore(folder / "bundles").put(made)
    TrafficStore(catalog).publish(TrafficDocument("e", 1, Arm("1", 1.0, place, made.digest)))
    records = RecordStore(catalog)
    records.add_predictions([PredictionRecord("r1", NOW, "e", 1, "champion", "1", 10.3, 10.3)])
    records.add_feedback("e", [FeedbackRecord("r1", 10.0, NOW, NOW)])
    return place


@pytest.mark.parametrize(("kind", "accuracy"), [("regression", None), ("binary", 0.0)])
def test_a_regression_has_no_accuracy(catalog, tmp_path, kind, accuracy):
    place = served(catalog, tmp_path, kind=kind)
    kinds = Regressions(TrafficStore(catalog))
    (found,) = observed_accuracy(OutcomeStore(catalog), tmp_path / "none", regression=kinds)
    assert (found.predictions, found.with_outcome, found.accuracy) == (1, 1, accuracy)
    assert (found.low is None) == (accuracy is None)
    assert kinds("e", "of an archive") == (kind == "regression")
    shutil.rmtree(place.removeprefix("file://"))
    assert not Regressions(TrafficStore(catalog))("e", "1")
    assert not kinds("nobody", "1")

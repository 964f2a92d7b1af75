"""What a release leaves in MLflow when it is tried again: the verdicts of the last try."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xgboost as xgb
from mlflow.tracking import MlflowClient

from sluiceway.config.lifecycle import ReleaseStep
from sluiceway.config.settings import Settings
from sluiceway.core.doors import SilentProgress
from sluiceway.core.errors import ModelError
from sluiceway.core.references import TableVersion
from sluiceway.core.verdict import Direction, GateResult, Measurement, Status, Threshold, Verdict
from sluiceway.lifecycle import registration
from sluiceway.lifecycle.candidate import Candidate
from sluiceway.lifecycle.retirement import refuse_retired
from sluiceway.registry.bundle import Bundle
from sluiceway.registry.mlflow_registry import Registry
from sluiceway.registry.versions import RETIRED_REASON_TAG, RETIRED_TAG

pytestmark = pytest.mark.integration

SETTINGS = Settings.model_validate(
    {"experiment": {"name": "m"}, "data": {"path": "t", "features": ["a"], "target": "y"}}
)
FACTS = ({"name": "a"},)
TRAINING = {
    "metric": "auc",
    "folds": [{"metric": 0.9, "rounds": 3}, {"metric": 0.8, "rounds": 3}],
    "histories": [],
    "rows": {},
    "row_digest": "r",
    "environment": {"libraries": {}},
    "rounds": 3,
    "restarts": 0,
    "seconds": {},
    "example": (),
    "model_digest": "m",
    "code": {"commit": "", "dirty": True, "digest": ""},
}


BUNDLE = Bundle(
    model=bytes(xgb.train({}, xgb.DMatrix(np.eye(2)[:, :1], label=[0, 1]), 1).save_raw(raw_format="ubj")),
    schema={"version": 1, "missing": "NaN", "features": [{"name": "a", "kind": "numeric"}]},
    decision={"kind": "binary", "threshold": 0.5, "target": "y"},
    lineage={},
)


@pytest.fixture
def release(tmp_path, monkeypatch):
    """Logs a release whose only gate has measured so much; gives the run's id."""
    registry = Registry(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "artifacts")
    context = SimpleNamespace(
        registry=registry,
        progress=SilentProgress(),
        experiment=SETTINGS.experiment,
        data=SETTINGS.data,
        model=SETTINGS.model,
        training=SETTINGS.training,
        config_text="x",
        config_digest="c",
        bundles=SimpleNamespace(get=lambda uri, digest: BUNDLE),
    )
    training = {**TRAINING, "plots": str(tmp_path / "none")}
    candidate = Candidate(TableVersion("/t", 1, "d", 5, "1"), "u", BUNDLE.digest, training)
    report = tmp_path / "report.html"
    report.with_suffix(".json").write_text("{}")
    monkeypatch.setattr(registration, "environment_tags", lambda _: {})

    def registered(status: Status, value: float | None, *, facts=FACTS, seconds=1.0, cached=False, name="first"):
        report.write_text(str(status))
        limit = Threshold(0.2, Direction.AT_MOST)
        verdict = Verdict("data_quality", status, Measurement("drift", value, 5), limit)
        result = GateResult("data_quality", (verdict,), seconds=seconds, cached=cached)
        step, evaluation = ReleaseStep(step="release", name=name), SimpleNamespace(facts=facts)
        return registration.register(context, step, candidate, evaluation, (result,), report)

    def log(status: Status, value: float | None, **changes) -> str:
        return registered(status, value, **changes)["run_id"]

    registry.check()
    log.registered, log.registry = registered, registry
    log.client = MlflowClient(registry.tracking_uri, registry.tracking_uri)
    log.read = lambda run, name: Path(log.client.download_artifacts(run, name, str(tmp_path))).read_text()
    return log


def test_another_verdict_is_another_run_with_its_own_words(release):
    first = release(Status.ERROR, None, facts=())
    second = release(Status.PASS, 0.1)
    assert first != second
    run = release.client.get_run(second)
    assert (run.data.tags["gate_data_quality"], run.data.metrics["data_quality.drift"]) == ("PASS", 0.1)
    assert json.loads(release.read(second, "column_facts.json")) == [{"name": "a"}]
    assert [result["status"] for result in json.loads(release.read(second, "gates.json"))] == ["PASS"]
    assert release.read(second, "report.html") == "PASS"
    assert release.client.get_run(first).data.tags["gate_data_quality"] == "ERROR"


def test_the_same_verdict_is_the_same_run_however_long_it_took(release):
    assert release(Status.PASS, 0.1) == release(Status.PASS, 0.1, seconds=9.0, cached=True)


def retire(registry: Registry, version: str) -> None:
    registry.tag("m", version, {RETIRED_TAG: "2026-01-01", RETIRED_REASON_TAG: "it burns"})


def test_what_is_retired_is_the_same_version_whatever_the_gates_say_now_and_no_rollout_takes_it(release):
    registry, first = release.registry, release.registered(Status.PASS, 0.1)
    retire(registry, "1")
    registry.delete_model("m", "1")
    again = release.registered(Status.PASS, 0.15)
    assert again == first
    with pytest.raises(ModelError, match="version 1 of m is retired since 2026-01-01: it burns") as refused:
        refuse_retired(registry, "m", again["version"])
    assert "models retire m@1 --undo" in refused.value.hint
    assert registry.version("m", "1").deleted is None  # its files are there again, for that
    assert registry.bundle("m", "1")[1].digest == BUNDLE.digest


def test_another_release_of_a_retired_bundle_and_one_that_still_serves_are_versions_of_their_own(release):
    registry = release.registry
    release.registered(Status.PASS, 0.1, name="drill")
    retire(registry, "1")
    assert release.registered(Status.PASS, 0.1)["version"] == "2"
    assert release.registered(Status.PASS, 0.15)["version"] == "3"
    retire(registry, "2")  # an older version of a bundle that serves
    assert release.registered(Status.PASS, 0.19)["version"] == "4"

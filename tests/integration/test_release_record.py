"""What a release leaves in MLflow when it is tried again: the verdicts of the last try."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.tracking import MlflowClient

from sluiceway.config.lifecycle import ReleaseStep
from sluiceway.config.settings import Settings
from sluiceway.core.references import TableVersion
from sluiceway.core.verdict import Direction, GateResult, Measurement, Status, Threshold, Verdict
from sluiceway.lifecycle import registration
from sluiceway.lifecycle.candidate import Candidate
from sluiceway.registry.mlflow_registry import Registry

pytestmark = pytest.mark.integration

SETTINGS = Settings.model_validate(
    {"experiment": {"name": "m"}, "data": {"path": "t", "features": ["a"], "target": "y"}}
)
TRAINING = {
    "metric": "auc",
    "folds": [{"metric": 0.9, "rounds": 3}, {"metric": 0.8, "rounds": 3}],
    "histories": [],
    "rows": {},
    "row_digest": "r",
    "environment": {},
    "rounds": 3,
    "restarts": 0,
    "seconds": {},
    "model_digest": "m",
    "code": {"commit": "", "dirty": True, "digest": ""},
}


@pytest.fixture
def release(tmp_path, monkeypatch):
    """Logs a release whose only gate has measured so much; gives the run's id."""
    registry = Registry(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "artifacts")
    schema = {"features": [{"name": "a", "kind": "numeric"}]}
    bundle = SimpleNamespace(lineage={}, schema=schema, decision={"target": "y"})
    context = SimpleNamespace(
        experiment=SETTINGS.experiment,
        data=SETTINGS.data,
        model=SETTINGS.model,
        training=SETTINGS.training,
        config_text="x",
        config_digest="c",
        bundles=SimpleNamespace(get=lambda uri, digest: bundle),
    )
    candidate = Candidate(TableVersion("/t", 1, "d", 5, "1"), "u", "b", {**TRAINING, "plots": str(tmp_path / "none")})
    report = tmp_path / "report.html"
    report.with_suffix(".json").write_text("{}")
    monkeypatch.setattr(registration, "environment_tags", lambda _: {})

    def log(status: Status, value: float | None, *, facts=({"name": "a"},), seconds=1.0, cached=False) -> str:
        report.write_text(str(status))
        limit = Threshold(0.2, Direction.AT_MOST)
        verdict = Verdict("data_quality", status, Measurement("drift", value, 5), limit)
        result = GateResult("data_quality", (verdict,), seconds=seconds, cached=cached)
        step, evaluation = ReleaseStep(step="release", name="first"), SimpleNamespace(facts=facts)
        return registry.log_run(registration._record(context, step, candidate, evaluation, (result,), report))

    registry.check()
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

"""What a release leaves in MLflow, and `sluiceway train --reproduce`: the same again, told apart, or refused."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from deltalake import DeltaTable
from mlflow.tracking import MlflowClient

from command_line import sluiceway
from sluiceway.cli.main import run_command
from sluiceway.config.lifecycle import ReleaseStep
from sluiceway.config.load import load_settings
from sluiceway.data.commit import append
from sluiceway.lifecycle.candidate import Candidate, build_candidate
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.evaluation import bench_of, evaluate, settle
from sluiceway.lifecycle.gate_report import write_report
from sluiceway.lifecycle.registration import register
from sluiceway.lifecycle.subject import subject_of
from sluiceway.wiring.context import build_context

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("on_the_sessions_ray")]

ROWS = 4_000


@pytest.fixture(scope="module")
def on_the_sessions_ray(ray_cluster: None):
    """The command runs in this process and leaves the session's Ray to the others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.import_module("sluiceway.cli.train_reproduce"), "disconnect", lambda: None)
        yield


def flights(seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    distance, delay = random.gamma(4, 200, ROWS), random.normal(10, 20, ROWS)
    carrier = random.choice(["AA", "B6", "UA"], ROWS)
    minutes = delay + distance / 100 + np.where(carrier == "B6", 9, 0) + random.normal(0, 8, ROWS)
    return pa.table(
        {
            "flight": np.arange(ROWS) + seed * ROWS,
            "distance": pa.array(distance, mask=random.random(ROWS) < 0.05),
            "dep_delay": delay,
            "carrier": carrier,
            "minutes": minutes,
            "late": (minutes > 20).astype(np.int8),
            "arrival": np.array(["early", "on time", "late"])[np.digitize(minutes, [5, 20])],
        }
    )


def configuration(folder: Path, name: str, **model: Any) -> Path:
    """A classifier of late flights, with ``type`` a regressor of minutes whose metrics nobody names."""
    regressor = model.get("type") == "XGBRegressor"
    target = "arrival" if name == "arrival" else "minutes" if regressor else "late"
    document = {
        "experiment": {"name": name, "seed": 7},
        "data": {
            "path": str(folder / "flights"),
            "features": ["distance", "dep_delay", "carrier"],
            "target": target,
            "key": ["flight"],
        },
        "model": {"params": {"n_estimators": 30, "max_depth": 3, "subsample": 0.8}, **model},
        "training": {"folds": 3, "early_stopping_rounds": 5}
        | ({"eval_metric": "mlogloss"} if name == "arrival" else {}),
        "evaluation": {"thresholds": {"r2": 0.9999}}
        if regressor
        else {"thresholds": {"auc_roc": 0.6}, "metrics": ["auc_roc"]},
        "platform": {"state": str(folder / "state"), "ray": {"num_cpus": 2, "object_store_mb": 200}},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@dataclass(frozen=True)
class Logged:
    """A run that was trained, judged and written down."""

    context: Context
    config: Path
    candidate: Candidate
    run_id: str
    version: str | None

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.context.registry.tracking_uri, self.context.registry.tracking_uri)

    def artifact(self, name: str) -> Path:
        return Path(self.client.get_run(self.run_id).info.artifact_uri.removeprefix("file://")) / name


def logged(config: Path, *, blocked: bool = False) -> Logged:
    context = build_context(load_settings(config))
    candidate = build_candidate(context, context.version())
    subject = subject_of(context, candidate, champion=None)
    evaluation = evaluate(context, subject, bench_of(context, subject))
    step = ReleaseStep(step="release", name="first")
    results = settle(context, evaluation)
    assert any(result.blocks for result in results) == blocked, [
        v.line() for r in results for v in r.verdicts if v.blocks
    ]
    report = write_report(context, subject, evaluation, results, candidate.training)
    done = register(context, step, candidate, evaluation, results, report)
    again = register(context, step, candidate, evaluation, results, report)
    assert again == done, "a retried write is another run"
    return Logged(context, config, candidate, done["run_id"], done["version"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory, on_the_sessions_ray) -> Path:
    found = tmp_path_factory.mktemp("reproduce")
    append(str(found / "flights"), flights(1), message="first", source="test")
    return found


@pytest.fixture(scope="module")
def late(folder) -> Logged:
    found = logged(configuration(folder, "late"))
    append(str(folder / "flights"), flights(2), message="second", source="test")  # what the run has not seen
    return found


def test_a_run_keeps_rounds_data_environment_and_pictures(late):
    run = late.client.get_run(late.run_id)
    training = late.candidate.training
    for fold, history in zip(training["folds"], training["histories"], strict=True):
        kept = late.client.get_metric_history(late.run_id, f"fold_{fold['fold'] + 1}.auc")
        assert [(m.step, m.value) for m in kept] == list(zip(history["round"], history["value"], strict=True))
        assert len(kept) == fold["rounds"]
    mean = {m.step: m.value for m in late.client.get_metric_history(late.run_id, "cv.auc")}
    assert mean[0] == pytest.approx(np.mean([one["value"][0] for one in training["histories"]]))
    assert set(mean) == {m.step for m in late.client.get_metric_history(late.run_id, "cv.auc_std")}
    assert run.data.metrics["cv_auc"] == pytest.approx(np.mean([fold["metric"] for fold in training["folds"]]))
    assert run.data.params["subsample"] == "0.8"
    assert run.data.params["training.early_stopping_rounds"] == "5"
    tags = run.data.tags
    pinned = late.candidate.version
    assert (tags["data_version"], tags["data_digest"]) == (str(pinned.version), pinned.digest)
    assert tags["data_row_digest"] == training["row_digest"]
    assert tags["env_xgboost"] == version("xgboost")
    assert tags["env_lock"].startswith("requirements.lock sha256:")
    assert {"code_commit", "code_dirty", "config_digest", "model_digest", "env_cpu", "env_memory_gb"} <= set(tags)
    (data,) = run.inputs.dataset_inputs
    assert json.loads(data.dataset.source) == {"path": pinned.uri, "delta_table_version": pinned.version}
    assert json.loads(data.dataset.profile)["num_rows"] == ROWS
    pictures = {file.path for file in late.client.list_artifacts(late.run_id, "plots")}
    names = ("learning_curves", "roc", "precision_recall", "calibration", "importance_gain", "importance_shap")
    assert pictures == {f"plots/{name}.png" for name in names}
    environment = json.loads(late.artifact("environment.json").read_text())
    assert environment["libraries"]["ray"] == version("ray")


def test_a_model_is_registered_with_an_example(late):
    (entry,) = late.context.registry.versions("late")
    example = json.loads((late.artifact(entry.tags["sluiceway.bundle_path"]) / "request_example.json").read_text())
    assert [set(row) for row in example["rows"]] == [{"distance", "dep_delay", "carrier"}] * 2
    assert example["rows"][0]["carrier"] in ("AA", "B6", "UA")
    assert example["rows"][1]["distance"] is None


def test_the_pictures_are_no_part_of_the_model(late):
    again = build_candidate(late.context, late.candidate.version)
    assert again.digest == late.candidate.digest


def test_the_same_run_again_is_byte_identical_twice(late, folder):
    before = sorted((folder / "state" / "bundles").iterdir())
    oof = DeltaTable(late.candidate.training["oof_uri"]).version()
    for run in (late.run_id, "late@1"):
        found = sluiceway(folder, "train", str(late.config), "--reproduce", run)
        assert (found["same"], found["results"]) == (True, [])
        assert found["prediction_difference"] == 0
        assert found["rows"] > 300
        assert found["model_digest"] == late.candidate.training["model_digest"]
        assert found["surroundings"] == []
    assert sorted((folder / "state" / "bundles").iterdir()) == before
    assert DeltaTable(late.candidate.training["oof_uri"]).version() == oof, "it wrote out-of-fold predictions"


def test_a_column_that_is_hidden_from_the_log_since_stops_nobody(late, folder):
    hidden = ("--set", "platform.serving.log.drop=[a_column_of_later_versions]")
    assert sluiceway(folder, "train", str(late.config), "--reproduce", late.run_id, *hidden)["same"] is True


def test_a_person_reads_that_it_is_the_same(late, folder):
    out = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out):
        assert run_command(["train", late.config.name, "--reproduce", late.run_id]) == 0
    assert "nothing: code, lock, libraries, machine and cluster are the same" in out.getvalue()
    assert f"the model is byte-identical, SHA-256 {late.candidate.training['model_digest']}" in out.getvalue()


@contextlib.contextmanager
def tampered(file: Path, old: str, new: str):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    try:
        yield
    finally:
        file.write_text(text)


def test_another_seed_gives_another_model_and_exit_code_1(late, folder):
    with tampered(late.artifact("config.yaml"), "seed: 7", "seed: 8"):
        found = sluiceway(folder, "train", str(late.config), "--reproduce", late.run_id, expect=1)
    assert found["same"] is False
    assert found["prediction_difference"] > 0
    told = [one["what"] for one in found["results"]]
    assert "model, SHA-256" in told
    assert any(what.startswith("fold 1 ") for what in told)
    (config,) = found["surroundings"]
    assert config["what"] == "config.yaml, changed since it was logged"


def test_a_model_of_another_library_is_told_although_it_is_the_same(late, folder):
    line = f'"xgboost": "{version("xgboost")}"'
    with tampered(late.artifact("environment.json"), line, '"xgboost": "1.7.6"'):
        found = sluiceway(folder, "train", str(late.config), "--reproduce", late.run_id)
    assert found["same"] is True
    assert found["surroundings"] == [{"what": "libraries xgboost", "then": "1.7.6", "now": version("xgboost")}]


def test_a_metric_that_was_otherwise_then_is_told_and_exit_code_1(late, folder):
    metric = late.candidate.training["folds"][1]["metric"]
    with tampered(late.artifact("training.json"), f'"metric": {metric!r}', '"metric": 0.5'):
        found = sluiceway(folder, "train", str(late.config), "--reproduce", late.run_id, expect=1)
    assert found["results"] == [{"what": "fold 2 auc", "then": "0.5", "now": repr(metric)}]
    assert found["prediction_difference"] == 0


@pytest.fixture(scope="module")
def minutes(folder, late) -> Logged:
    """A regressor that the gates block; its metrics follow from its type and are nowhere in the configuration."""
    return logged(configuration(folder, "minutes", type="XGBRegressor"), blocked=True)


def test_a_run_that_the_gates_blocked_is_compared_with_the_bundle_that_is_kept(minutes, folder):
    assert minutes.version is None
    found = sluiceway(folder, "train", str(minutes.config), "--reproduce", minutes.run_id)
    assert (found["same"], found["prediction_difference"]) == (True, 0)
    kept = Path(minutes.candidate.uri)
    away = kept.rename(kept.with_name("away"))
    try:
        found = sluiceway(folder, "train", str(minutes.config), "--reproduce", minutes.run_id)
    finally:
        away.rename(kept)
    assert (found["same"], found["prediction_difference"]) == (True, None)


def test_a_regressor_has_pictures_of_its_own(minutes):
    pictures = {file.path for file in minutes.client.list_artifacts(minutes.run_id, "plots")}
    assert {"plots/predicted_actual.png", "plots/residuals.png"} <= pictures
    assert "plots/roc.png" not in pictures


def test_several_classes_have_a_model_with_their_names_and_a_picture_of_their_confusion(folder, late):
    context = build_context(load_settings(configuration(folder, "arrival")))
    candidate = build_candidate(context, context.version(late.candidate.version.version))
    bundle = context.bundles.get(candidate.uri, candidate.digest)
    assert bundle.decision == {
        "kind": "multiclass",
        "threshold": None,
        "target": "arrival",
        "classes": ["early", "late", "on time"],
    }
    drawn = {file.name for file in Path(candidate.training["plots"]).iterdir()}
    assert {"roc.png", "confusion.png", "learning_curves.png", "importance_shap.png"} <= drawn
    assert candidate == Candidate.from_dict(json.loads(json.dumps(candidate.to_dict())))


def test_rows_that_are_no_longer_those_are_refused(minutes, folder):
    table, away = folder / "flights", folder / "away"
    table.rename(away)
    try:
        gone = sluiceway(folder, "train", str(minutes.config), "--reproduce", minutes.run_id, expect=2)
        assert "flights" in gone["message"]
        append(str(table), flights(3), message="made anew", source="test")
        missing = sluiceway(folder, "train", str(minutes.config), "--reproduce", minutes.run_id, expect=2)
        assert "version" in missing["message"]
        append(str(table), flights(4), message="second", source="test")
        other = sluiceway(folder, "train", str(minutes.config), "--reproduce", minutes.run_id, expect=2)
        assert "its digest is" in other["message"]
    finally:
        shutil.rmtree(table, ignore_errors=True)
        away.rename(table)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--reproduce", "0" * 32), "look up the run"),
        (("--reproduce", "late@77"), "no version or alias '77'"),
        (("--reproduce", "x", "--set", "experiment.seed=3"), "from the run"),
        (("--reproduce", "x", "--version", "0"), "from the run"),
        (("--reproduce", "x", "--search"), "from the run"),
    ],
)
def test_what_cannot_be_done_again_is_said(late, folder, arguments, told):
    assert told in sluiceway(folder, "train", str(late.config), *arguments, expect=2)["message"]


def test_without_a_configuration_there_is_nothing_to_train(folder):
    assert "a configuration is needed" in sluiceway(folder, "train", expect=2)["message"]


def test_without_a_configuration_the_state_is_where_the_environment_says(late, folder, monkeypatch):
    monkeypatch.setenv("SLUICEWAY_PLATFORM__STATE", str(folder / "state"))
    assert sluiceway(folder, "train", "--reproduce", late.run_id)["same"] is True

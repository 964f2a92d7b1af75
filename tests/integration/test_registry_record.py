"""What a run keeps in MLflow of its rounds and its data, and models of every kind that strangers load."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import textwrap
from pathlib import Path

import mlflow.data
import numpy as np
import pytest
import xgboost as xgb
from mlflow.tracking import MlflowClient

from sluiceway.core.errors import ModelError
from sluiceway.features.encode import encode_rows
from sluiceway.features.schema import FeatureSchema
from sluiceway.registry import search_runs
from sluiceway.registry.bundle import Bundle
from sluiceway.registry.data_input import DataInput
from sluiceway.registry.mlflow_registry import CHAMPION, Registry, RunRecord

pytestmark = pytest.mark.integration

CARRIERS = ["AA", "B6", "UA"]
SCHEMA = {
    "version": 1,
    "missing": "NaN",
    "features": [
        {"name": "delay", "kind": "numeric"},
        {"name": "carrier", "kind": "category", "categories": CARRIERS},
    ],
}
EXAMPLE = (
    {"delay": 0.1, "carrier": "B6"},
    {"delay": None, "carrier": "UA"},
    {"delay": 7.0, "carrier": None},
)
DATA = DataInput(
    name="flights",
    uri="/tables/flights",
    version=3,
    digest="ab" * 32,
    columns={"delay": "numeric", "carrier": "category", "late": "numeric"},
    profile={"num_rows": 300, "digest": "ab" * 32},
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="module")
def registry(store: Path) -> Registry:
    return Registry(f"sqlite:///{store / 'mlflow.db'}", store / "artifacts")


@pytest.fixture(scope="module")
def client(registry: Registry) -> MlflowClient:
    registry.check()
    return MlflowClient(registry.tracking_uri, registry.tracking_uri)


def test_rounds_are_written_a_thousand_values_a_call(registry, client, monkeypatch):
    calls: list[int] = []
    real = MlflowClient.log_batch

    def counted(self, run_id, metrics=(), **others):
        calls.append(len(metrics))
        real(self, run_id, metrics=metrics, **others)

    for single in ("log_metric", "log_param", "set_tag"):
        monkeypatch.setattr(MlflowClient, single, lambda *_, **__: pytest.fail("one value a call"))
    monkeypatch.setattr(MlflowClient, "log_batch", counted)
    series = {f"fold_{f}.auc": [(step, f + step / 1000) for step in range(700)] for f in range(1, 6)}
    series["odd"] = [(0, math.inf), (1, math.nan), (2, 0.5)]
    run_id = registry.log_run(RunRecord("rounds", "a run", metrics={"cv_auc": 0.9}, series=series))
    assert sum(calls) == 5 * 700 + 1 + 2
    assert max(calls) == 1000
    assert len(calls) == math.ceil(sum(calls) / 1000)
    assert [(m.step, m.value) for m in client.get_metric_history(run_id, "fold_3.auc")] == series["fold_3.auc"]
    odd = {m.step: m.value for m in client.get_metric_history(run_id, "odd")}
    assert set(odd) == {1, 2}
    assert math.isnan(odd[1])


def test_a_search_that_was_killed_before_its_run_was_written_has_it_written_by_the_next(registry, client, monkeypatch):
    record = RunRecord(
        "searches",
        "a search",
        params={"space.max_depth": "1 to 8"},
        tags={"data_version": "3"},
        artifacts={"config.yaml": b"x"},
        key="search",
    )
    runs = registry.search_runs("searches")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(search_runs, "write_run", killed)
        with pytest.raises(KeyboardInterrupt):
            runs.open(record)
    run_id = runs.open(record)
    assert runs.open(record) == run_id
    run = client.get_run(run_id)
    assert (run.info.status, run.data.params, run.data.tags["data_version"]) == ("RUNNING", dict(record.params), "3")
    assert [entry.path for entry in client.list_artifacts(run_id)] == ["config.yaml"]
    (experiment,) = client.search_experiments(filter_string="name = 'searches'")
    assert len(client.search_runs([experiment.experiment_id])) == 1


def test_the_data_of_a_run_is_an_input_of_it(registry, client):
    run_id = registry.log_run(RunRecord("inputs", "a run", inputs=(DATA,)))
    (kept,) = client.get_run(run_id).inputs.dataset_inputs
    assert [(tag.key, tag.value) for tag in kept.tags] == [("mlflow.data.context", "training")]
    assert (kept.dataset.name, kept.dataset.digest) == ("flights", ("ab" * 32)[:36])
    assert json.loads(kept.dataset.profile)["num_rows"] == 300
    columns = json.loads(kept.dataset.schema)["mlflow_colspec"]
    assert [(c["name"], c["type"]) for c in columns] == [("delay", "double"), ("carrier", "string"), ("late", "double")]
    source = mlflow.data.get_source(kept)
    assert (source.path, source.delta_table_version) == ("/tables/flights", 3)


def test_a_run_of_somebody_else_cannot_be_done_again(registry):
    run_id = registry.log_run(RunRecord("strange", "a run", artifacts={"config.yaml": b""}))
    with pytest.raises(ModelError, match=r"has no training.json, environment.json, bundle_digest"):
        registry.recorded(run_id)
    with pytest.raises(ModelError, match="look up the run"):
        registry.recorded("0" * 32)
    with pytest.raises(ModelError, match="no registered model 'nobody'"):
        registry.recorded("nobody@1")


def bundle_of(kind: str) -> tuple[Bundle, xgb.Booster]:
    random = np.random.default_rng(7)
    x = np.column_stack([random.random(400), random.integers(0, 3, 400)]).astype(np.float32)
    x[:20, 0], x[20:40, 1] = np.nan, np.nan
    signal = np.nan_to_num(x[:, 0]) + np.nan_to_num(x[:, 1])
    targets = {
        "binary": ("binary:logistic", signal > 1.5, {"threshold": 0.4, "classes": [0, 1]}),
        "multiclass": ("multi:softprob", np.digitize(signal, [0.8, 1.8]), {"classes": ["early", "in time", "late"]}),
        "regression": ("reg:squarederror", signal, {"threshold": None}),
    }
    objective, labels, decision = targets[kind]
    data = xgb.DMatrix(x, labels, feature_names=["delay", "carrier"], feature_types=["q", "c"])
    classes = {"num_class": 3} if kind == "multiclass" else {}
    booster = xgb.train({"objective": objective, "nthread": 1, **classes}, data, 5)
    decision = {"kind": kind, "target": "late", "threshold": None, **decision}
    return Bundle(bytes(booster.save_raw(raw_format="ubj")), SCHEMA, decision, {}), booster


@pytest.fixture(scope="module")
def strangers(registry: Registry, store: Path) -> dict[str, tuple[Bundle, np.ndarray]]:
    """Registered models of every kind, each with its scores of the example rows."""
    found = {}
    for kind in ("binary", "multiclass", "regression"):
        bundle, booster = bundle_of(kind)
        run_id = registry.log_run(RunRecord("strangers", kind))
        registry.set_alias(kind, CHAMPION, registry.register(kind, bundle, run_id, example=EXAMPLE))
        encoded, _ = encode_rows(EXAMPLE, FeatureSchema.from_dict(SCHEMA))
        scores = booster.inplace_predict(encoded, missing=np.nan, validate_features=False)
        np.save(store / f"{kind}.npy", scores)
        found[kind] = (bundle, scores)
    return found


STRANGER = """
    import sys
    sys.modules["sluiceway"] = None  # importing it raises ImportError
    import json, mlflow, numpy as np, xgboost
    mlflow.set_tracking_uri({uri!r})
    for kind in ("binary", "multiclass", "regression"):
        scores = np.load({folder!r} + f"/{{kind}}.npy")
        model = mlflow.pyfunc.load_model(f"models:/{{kind}}@champion")
        example = model.input_example
        assert np.array_equal(model.predict(example), scores), kind
        (shape,) = [entry.shape for entry in model.metadata.signature.outputs.inputs]
        assert len(shape) == scores.ndim and shape[1:] == scores.shape[1:], shape
        folder = mlflow.artifacts.download_artifacts(f"models:/{{kind}}@champion")
        served = json.loads(model.metadata.get_serving_input(folder))["dataframe_split"]
        assert served["data"][1][0] is None and served["columns"] == ["delay", "carrier"], served
        booster = mlflow.xgboost.load_model(f"models:/{{kind}}@champion")
        rows = xgboost.DMatrix(example.to_numpy(dtype=float), feature_names=list(example), feature_types=["q", "c"])
        assert np.array_equal(booster.predict(rows), scores), kind
    try:
        import sluiceway
    except ImportError:
        print("loaded without it")
"""


def test_without_this_package_mlflow_loads_every_kind_and_scores_its_example(registry, strangers, store):
    code = textwrap.dedent(STRANGER.format(uri=registry.tracking_uri, folder=str(store)))
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=240, cwd=store)
    assert done.returncode == 0, done.stderr
    assert "loaded without it" in done.stdout


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_an_endpoint_s_example_is_the_loader_s_example(registry, client, strangers, kind, tmp_path):
    (version,) = registry.versions(kind)
    folder = Path(client.download_artifacts(version.run_id, version.tags["sluiceway.bundle_path"], str(tmp_path)))
    rows = json.loads((folder / "request_example.json").read_text())["rows"]
    assert rows == list(EXAMPLE)
    encoded, unseen = encode_rows(rows, FeatureSchema.from_dict(SCHEMA))
    assert unseen == 0
    plain = np.array(json.loads((folder / "input_example.json").read_text())["data"], dtype=np.float32)
    np.testing.assert_array_equal(encoded, plain)
    assert registry.bundle(kind, CHAMPION)[1] == strangers[kind][0], "the example changed the model"


def test_the_card_tells_the_classes(registry, client, strangers):
    text = client.get_model_version("multiclass", "1").description
    assert "the scores' order is `early`, `in time`, `late`" in text


def test_a_multiclass_model_names_its_classes():
    bundle, _ = bundle_of("multiclass")
    with pytest.raises(ModelError, match="names all of them"):
        Bundle(bundle.model, bundle.schema, {**bundle.decision, "classes": ["early"]}, {})

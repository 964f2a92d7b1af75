"""Models that others have logged with plain MLflow, or saved to a file, become versions, or one error refuses them."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import xgboost
import yaml
from mlflow.tracking import MlflowClient

import plain_mlflow
from command_line import sluiceway
from serving_models import CARRIERS, as_rows, examples, predicted, train_grades, train_small
from sluiceway.features.encode import encode_rows
from sluiceway.features.schema import FeatureSchema
from sluiceway.registry.mlflow_registry import Registry
from sluiceway.serving.scorer import BundleScorer

pytestmark = pytest.mark.integration

SCHEMA = {
    "target": "late",
    "threshold": 0.4,
    "features": ["delay", "distance", {"name": "carrier", "kind": "category", "categories": list(CARRIERS)}],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project whose MLflow has models of others in it."""
    folder = tmp_path_factory.mktemp("import")
    (folder / ".sluiceway").mkdir()
    return folder


@pytest.fixture(scope="module")
def plain(folder):
    return plain_mlflow.logged(folder / ".sluiceway")


@pytest.fixture(scope="module")
def registry(folder):
    state = folder / ".sluiceway"
    return Registry(f"sqlite:///{state / 'mlflow.db'}", state / "artifacts")


def saved(folder, name, booster, schema=None):
    """A booster's file and the file of its schema."""
    booster.save_model(folder / name)
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(schema or SCHEMA))
    return name, f"{name}.yaml"


def scores(bundle, rows):
    matrix, unknown = encode_rows(rows, FeatureSchema.from_dict(bundle.schema))
    assert unknown == 0
    return BundleScorer(bundle, threads=1).score_matrix(matrix)


def everything(folder):
    """What the registry holds, whoever made it: models, versions, aliases, tags; and runs."""
    uri = f"sqlite:///{folder / '.sluiceway' / 'mlflow.db'}"
    client = MlflowClient(uri, uri)
    models = {model.name: dict(model.aliases) for model in client.search_registered_models()}
    versions = {(v.name, v.version): dict(v.tags) for v in client.search_model_versions()}
    experiments = {e.name: len(client.search_runs([e.experiment_id])) for e in client.search_experiments()}
    return models, versions, experiments


@pytest.mark.parametrize("address", ["models:/plain_late/1", "models:/plain_late@live", "a run"])
def test_a_model_that_plain_mlflow_has_logged_scores_as_its_estimator(folder, plain, registry, address):
    address = plain["estimator"] if address == "a run" else address
    told = sluiceway(folder, "models", "import", address, "late", "--target", "is_late")
    assert (told["version"], told["objective"], told["rows_checked"]) == ("1", "binary:logistic", 500)
    # The estimator stopped early, and answers with the rounds to its best one.
    assert told["rounds"] == plain["rounds"]
    assert told["left_out_rounds"] == plain["all_rounds"] - plain["rounds"] > 0
    version, bundle = registry.bundle("late", told["version"])
    assert bundle.digest == told["digest"]
    assert scores(bundle, plain["rows"]) == pytest.approx(plain["late"], abs=0)
    assert bundle.decision == {"kind": "binary", "threshold": 0.5, "target": "is_late"}
    tags = registry.version("late", version).tags
    assert (tags["imported_digest"], bundle.lineage["imported"]["digest"]) == (told["source_digest"],) * 2


def test_boosters_of_other_kinds_score_as_their_predict(folder, plain, registry):
    told = sluiceway(folder, "models", "import", plain["bare"], "minutes", "--target", "minutes")
    bundle = registry.bundle("minutes", told["version"])[1]
    rows = [{name: row[name] for name in ("delay", "distance")} for row in plain["rows"]]
    assert scores(bundle, rows) == pytest.approx(plain["minutes"], abs=0)
    assert bundle.decision == {"kind": "regression", "threshold": None, "target": "minutes"}

    wanted = {"target": "grade", "features": ["delay", "distance"], "classes": ["early", "ok", "late"]}
    (folder / "grades.json").write_text(json.dumps(wanted))
    assert "which classes" in refused(folder, plain["several"], "grades", "--target", "grade")
    told = sluiceway(folder, "models", "import", plain["several"], "grades", "--schema", "grades.json")
    bundle = registry.bundle("grades", told["version"])[1]
    assert np.array_equal(scores(bundle, rows), np.array(plain["grades"]))


@pytest.mark.parametrize("name", ["a.ubj", "a.json"])
def test_a_file_with_a_schema_is_imported_once(folder, registry, name, tmp_path):
    small = train_small(tmp_path, seed=5)
    file, schema = saved(folder, name, small.booster)
    model = f"file_{name.replace('.', '_')}"
    first = sluiceway(folder, "models", "import", file, model, "--schema", schema)
    again = sluiceway(folder, "models", "import", file, model, "--schema", schema)
    assert (first["version"], first["known"], again["version"], again["known"]) == ("1", False, "1", True)
    matrix, _ = examples(200, seed=6)
    bundle = registry.bundle(model, "1")[1]
    assert np.array_equal(scores(bundle, as_rows(matrix)), predicted(small, matrix).astype(float))
    other, schema = saved(folder, f"other_{name}", train_small(tmp_path, seed=6).booster)
    assert sluiceway(folder, "models", "import", other, model, "--schema", schema)["version"] == "2"


def test_a_column_that_somebody_has_numbered_himself_may_be_a_category(folder, registry):
    matrix, labels = examples(400, seed=8)
    params = {"objective": "binary:logistic", "max_depth": 3, "nthread": 1}
    booster = xgboost.train(params, xgboost.DMatrix(matrix, labels), 12)  # no names, no types: carriers are 0, 1, 2
    file, schema = saved(folder, "numbered.ubj", booster)
    sluiceway(folder, "models", "import", file, "numbered", "--schema", schema)
    found = scores(registry.bundle("numbered", "1")[1], as_rows(matrix))
    assert np.array_equal(found, booster.predict(xgboost.DMatrix(matrix)).astype(float))


def refused(folder, *words):
    before = everything(folder)
    told = sluiceway(folder, "models", "import", *words, expect=2)
    assert everything(folder) == before
    assert told["hint"]
    return " ".join([told["message"], *told.get("problems", [])])


def test_what_is_no_booster_is_refused_and_nothing_is_registered(folder, plain, tmp_path):
    booster = train_small(tmp_path, seed=1).booster
    _, schema = saved(folder, "good.ubj", booster)
    content = (folder / "good.ubj").read_bytes()
    trace = folder / "was here"

    class Payload:
        def __reduce__(self):
            return type(trace).touch, (trace,)

    files = {
        "m.pkl": content,
        "attack.ubj": pickle.dumps(Payload()),
        "text.json": b"a,b,c\n1,2,3\n",
        "empty.ubj": b"",
        "half.ubj": content[: len(content) // 2],
        "other.json": b'{"a": 1}',
        "old.json": pickle.dumps(Payload(), protocol=0),
    }
    for name, bad in files.items():
        (folder / name).write_bytes(bad)
        message = refused(folder, name, "bad", "--schema", schema)
        assert ("is a pickle" if name in ("m.pkl", "attack.ubj") else "is no booster") in message, name
    assert not trace.exists()
    assert "flavours are" in refused(folder, plain["pickled"], "bad", "--target", "late")
    for address in ("nothing.ubj", ".", "models:/plain_late/9", "models:/nobody/1", "models:/plain_late@nope"):
        refused(folder, address, "bad", "--schema", schema)
    for address in ("runs:/" + "0" * 32 + "/model", plain["bare"] + "s", "models:/plain_late", "models:/m-00"):
        refused(folder, address, "bad", "--schema", schema)


def test_what_cannot_be_served_is_refused(folder, tmp_path):
    matrix, labels = examples(100, seed=1)
    rows = xgboost.DMatrix(matrix, labels)

    def trained(**params):
        return xgboost.train({"nthread": 1, **params}, rows, 2)

    cases = {
        "hinge": (trained(objective="binary:hinge"), "trained for binary:hinge"),
        "ranks": (trained(objective="rank:pairwise"), "trained for rank:pairwise"),
        "softmax": (trained(objective="multi:softmax", num_class=3), "trained for multi:softmax"),
        "linear": (trained(booster="gblinear"), "of the form gblinear"),
        "dart": (trained(booster="dart"), "of the form dart"),
    }
    for name, (booster, message) in cases.items():
        file, schema = saved(folder, f"{name}.ubj", booster)
        assert message in refused(folder, file, "bad", "--schema", schema), name


def test_a_schema_that_does_not_fit_is_refused(folder, plain, tmp_path):
    booster = train_small(tmp_path, seed=1).booster  # of three features, the third one a category, without names
    named = xgboost.train(
        {"nthread": 1, "objective": "binary:logistic"},
        xgboost.DMatrix(examples(100, seed=1)[0], examples(100, seed=1)[1], feature_names=["a", "b", "c"]),
        2,
    )
    carrier = SCHEMA["features"][2]
    matrix, _ = examples(100, seed=1)
    types = {"feature_types": ["q", "q", "c"], "enable_categorical": True}
    asks = xgboost.train(
        {"nthread": 1, "objective": "binary:logistic"}, xgboost.DMatrix(matrix, matrix[:, 2] == 2, **types), 2
    )
    cases = [
        (booster, {"features": ["delay", carrier]}, "has 3 features, the schema names 2"),
        (booster, {"features": ["delay", "distance", "carrier"]}, "carrier is a category of the booster"),
        (asks, {"features": ["delay", "distance", {**carrier, "categories": ["AA"]}]}, "asks for category 2, from 0"),
        (booster, {"objective": "reg:squarederror"}, "the booster was trained for binary:logistic"),
        (booster, {"classes": ["a", "b", "c"]}, "classes are of a model of several"),
        (booster, {"treshold": 0.3}, "did you mean 'threshold'"),
        (booster, {"threshold": 3}, "threshold"),
        (booster, {"target": "delay"}, "is among the features"),
        (named, {"features": ["b", "a", "c"]}, "in the order a, b, c"),
        (named, {"features": ["a", "b", "d"]}, "the booster's c are not in the schema, which has d"),
    ]
    for number, (model, change, message) in enumerate(cases):
        file, schema = saved(folder, f"case{number}.ubj", model, {**SCHEMA, **change})
        assert message in refused(folder, file, "bad", "--schema", schema), change
    file, schema = saved(folder, "good.ubj", booster)
    for words in ((), ("--schema", "none.yaml"), ("--schema", schema, "--target", "late")):
        refused(folder, file, "bad", *words)
    assert "--target" in sluiceway(folder, "models", "import", plain["bare"], "bad", expect=2)["hint"]
    assert "no signature" in refused(folder, plain["unsigned"], "bad", "--target", "minutes")
    assert "is among the features" in refused(folder, plain["bare"], "bad", "--target", "delay")
    _, others = saved(folder, "others.ubj", named, {**SCHEMA, "features": ["a", "b", "c"]})
    assert "and the model's signature delay" in refused(folder, plain["estimator"], "bad", "--schema", others)


def test_the_name_of_another_model_is_refused(folder, plain, tmp_path):
    file, schema = saved(folder, "good.ubj", train_small(tmp_path, seed=1).booster)
    sluiceway(folder, "models", "import", file, "taken", "--schema", schema)
    assert "is somebody else's" in refused(folder, file, "plain_late", "--schema", schema)
    assert "no name for a model" in refused(folder, file, "a/b", "--schema", schema)
    other = saved(folder, "other.ubj", train_small(tmp_path, seed=1).booster, {**SCHEMA, "target": "early"})
    assert "target of the model 'taken' is late" in refused(folder, other[0], "taken", "--schema", other[1])
    grades = {**SCHEMA, "target": "late", "classes": ["x", "y", "z"]}
    grades.pop("threshold")
    several = saved(folder, "several.ubj", train_grades(tmp_path, seed=1).booster, grades)
    assert "kind of the model 'taken' is binary" in refused(folder, several[0], "taken", "--schema", several[1])


def test_people_are_told_what_comes_next(folder, tmp_path, capsys):
    from sluiceway.cli.main import run_command  # noqa: PLC0415 (only here)

    file, schema = saved(folder, "told.ubj", train_small(tmp_path, seed=9).booster)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run_command(["models", "import", file, "told", "--schema", schema]) == 0
        out = capsys.readouterr().out
        assert "told@1 is" in out
        assert "rollout start told@1 -c CONFIG --ungated" in out
        assert run_command(["models", "list"]) == 0
    assert "imported from" in capsys.readouterr().out

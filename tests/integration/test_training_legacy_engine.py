"""The engine xgboost_ray in its own environment against ours, on the same rows."""

import time

import numpy as np
import pyarrow as pa
import pytest
import ray
import xgboost
from deltalake import DeltaTable

from sluiceway.config.experiment import DataSection, ModelSection, TrainingSection
from sluiceway.core.errors import BackendError, ConfigError
from sluiceway.features.schema import Feature, FeatureSchema
from sluiceway.training import ray_legacy
from sluiceway.training.ray_run import train_dataset
from sluiceway.training.recipe import Recipe

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_cluster")]

SCHEMA = FeatureSchema((Feature("a", "numeric"), Feature("b", "numeric"), Feature("c", "category", ("x", "y", "z"))))
DATA = DataSection(path="made here", features=("a", "b", "c"), target="late", weight="weight")
MODEL = ModelSection(params={"n_estimators": 60, "max_depth": 4, "learning_rate": 0.2})
TRAINING = TrainingSection(folds=3, early_stopping_rounds=8)


class Heard:
    """A progress that remembers."""

    def __init__(self):
        self.lines = []

    def stage(self, name, detail=""):
        self.lines.append(name)

    def advance(self, text, fraction=None):
        self.lines.append(text)


def rows(n=6000, *, seed=1, classes=2):
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(2, n))
    c = random.choice(["x", "y", "z"], n)
    signal = a + (c == "y") * 1.5 - 0.7 + random.normal(size=n)
    return pa.table(
        {
            "a": pa.array(a, mask=random.random(n) < 0.1),
            "b": b,
            "c": pa.array(c, mask=random.random(n) < 0.05),
            "late": np.digitize(signal, [0, 1][: classes - 1]).astype(np.int8),
            "weight": random.choice([0.5, 1.0, 2.0], n),
            "__part__": random.choice(3, n, p=[0.7, 0.2, 0.1]).astype(np.uint8),
            "__fold__": random.integers(0, 3, n).astype(np.uint8),
            "__key__": random.integers(0, 2**64, n, dtype=np.uint64),
        }
    )


def fit(table, *, training=TRAINING, classes=(0, 1), oof_uri="", progress=None, **given):
    training = training.model_copy(update={"engine": "xgboost_ray", **given})
    recipe = Recipe(DATA, MODEL, training, 42, SCHEMA, classes)
    return train_dataset(
        lambda: ray.data.from_arrow([table]), recipe, oof_uri=str(oof_uri), progress=progress or Heard()
    )


def fit_or_skip(*given, **named):
    try:
        return fit(*given, **named)
    except BackendError as error:
        if "cannot be built" in str(error):
            pytest.skip(f"no package registry that has the old versions: {error}")
        raise


def test_what_it_cannot_do_is_refused_before_anything_is_read():
    def unread():
        raise AssertionError("it was read")

    training = TrainingSection(engine="xgboost_ray", final="average")
    with pytest.raises(ConfigError, match="it has refit only"):
        train_dataset(unread, Recipe(DATA, MODEL, training, 1, SCHEMA, (0, 1)), oof_uri="", progress=Heard())


@pytest.mark.soak
def test_both_engines_find_the_same(tmp_path):
    table, heard = rows(), Heard()
    legacy = fit_or_skip(table, oof_uri=tmp_path / "legacy", progress=heard)
    ours = fit(table, engine="xgboost", oof_uri=tmp_path / "ours")
    assert (legacy.engine, ours.engine) == ("xgboost_ray", "task")
    assert legacy.rows == ours.rows
    for one, other in zip(legacy.folds, ours.folds, strict=True):
        assert one.rows == other.rows
        assert one.metric == pytest.approx(other.metric, abs=0.01)
        assert one.metric == one.history[one.best_iteration]
        assert len(one.history) == one.rounds
    assert legacy.seconds.keys() == ours.seconds.keys()
    assert any(line.startswith("fold 3/3") for line in heard.lines)

    # xgboost 2.0.3 wrote it, and ours reads it.
    model = xgboost.Booster(model_file=bytearray(legacy.model))
    assert (model.feature_names, model.feature_types) == (["a", "b", "c"], ["q", "q", "c"])
    assert model.num_boosted_rounds() == legacy.rounds
    sample = legacy.validation.sample
    scores = model.inplace_predict(sample, validate_features=False)
    np.testing.assert_allclose(scores, legacy.validation.scores[: len(sample)], atol=1e-6)
    np.testing.assert_array_equal(sample, ours.validation.sample)
    assert np.abs(legacy.validation.scores - ours.validation.scores).mean() < 0.05

    kept = [DeltaTable(str(tmp_path / name)).to_pyarrow_table().sort_by("key_hash") for name in ("legacy", "ours")]
    for column in ("key_hash", "fold", "label", "weight"):
        assert kept[0][column].equals(kept[1][column])


@pytest.mark.soak
def test_two_actors_and_three_classes():
    training = TRAINING.model_copy(update={"eval_metric": "mlogloss"})
    legacy = fit_or_skip(rows(classes=3), training=training, classes=(0, 1, 2), workers=2)
    ours = fit(rows(classes=3), training=training, classes=(0, 1, 2), engine="xgboost")
    assert [fold.rows for fold in legacy.folds] == [fold.rows for fold in ours.folds]
    assert legacy.metric == pytest.approx(ours.metric, abs=0.01)
    assert legacy.validation.scores.shape == ours.validation.scores.shape


@pytest.mark.soak
def test_a_driver_that_gives_up_frees_the_cpus():
    class Impatient(Heard):
        def advance(self, text, fraction=None):
            if text.startswith("fold 2/3"):
                raise KeyboardInterrupt

    before = ray.cluster_resources()["CPU"]
    with pytest.raises(KeyboardInterrupt):
        fit_or_skip(rows(1000), progress=Impatient())
    deadline = time.monotonic() + 60
    while ray.available_resources().get("CPU", 0) < before and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ray.available_resources().get("CPU", 0) == before


@pytest.mark.soak
def test_an_environment_that_cannot_be_built_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(ray_legacy, "PACKAGES", ("xgboost==0.0.0",))
    with pytest.raises(BackendError, match=r"cannot be built.*xgboost==0\.0\.0") as caught:
        fit(rows(200))
    assert "docs/training/legacy.md" in caught.value.hint
    assert ray.get(ray.remote(num_cpus=2)(lambda: 1).remote(), timeout=60) == 1
